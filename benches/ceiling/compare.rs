//! One operation on both sides, in turn: A B A B, and the median of the ratios of neighbouring windows.
//!
//! Knows nothing of what the sides are. A machine that slows down slows both down; only what changes within two
//! windows is left, and the spread says how much that is.

use std::time::{Duration, Instant};

use super::load::Driven;
use super::quiet::{Quiet, Watch, median, spread};
use super::report::{Line, Target, per_second};
use crate::rig::figures::ms;

/// How often, and until when at the latest.
pub(crate) struct Rounds {
    pub(crate) count: usize,
    pub(crate) no_later: Instant,
}

/// What the rounds came to.
pub(crate) struct Compared {
    grantd: Vec<f64>,
    ceiling: Vec<f64>,
    p99: Vec<(Duration, Duration)>,
    /// The most that the load needed of its core.
    pub(crate) load_busy: f64,
    others: f64,
    fault: Option<String>,
}

type Side<'a> = &'a mut dyn FnMut() -> Result<Driven, String>;

impl Rounds {
    /// Lets the two sides work in turn.
    pub(crate) fn compare(&self, grantd: Side<'_>, ceiling: Side<'_>) -> Compared {
        let mut compared = Compared {
            grantd: Vec::new(),
            ceiling: Vec::new(),
            p99: Vec::new(),
            load_busy: 0.0,
            others: 0.0,
            fault: None,
        };
        let watch = Watch::start();
        for round in 0..self.count {
            // One round at least, so that every line has a figure.
            if round > 0 && Instant::now() > self.no_later {
                break;
            }
            match (grantd(), ceiling()) {
                (Ok(ours), Ok(theirs)) => compared.add(&ours, &theirs),
                (Err(why), _) | (_, Err(why)) => {
                    compared.fault = Some(why);
                    break;
                }
            }
        }
        compared.others = watch.others();
        compared
    }
}

impl Compared {
    fn add(&mut self, ours: &Driven, theirs: &Driven) {
        self.grantd.push(ours.rate);
        self.ceiling.push(theirs.rate);
        self.p99.push((ours.took.percentile(99.0), theirs.took.percentile(99.0)));
        self.load_busy = self.load_busy.max(ours.busy).max(theirs.busy);
        for (side, driven) in [("grantd", ours), ("the ceiling", theirs)] {
            if let Some(first) = &driven.first_error {
                let first = first.replace("\r\n", " ");
                self.fault = Some(format!("{} errors of {side}, the first: {first}", driven.errors));
            }
        }
    }

    /// The line of the ratio of their rates.
    pub(crate) fn line(&self, name: &str, target: Target) -> Line {
        let ratios: Vec<f64> = self.grantd.iter().zip(&self.ceiling).map(|(a, b)| a / b).collect();
        Line {
            name: name.to_owned(),
            grantd: per_second(median(&self.grantd)),
            ceiling: per_second(median(&self.ceiling)),
            figure: median(&ratios),
            unit: "x",
            target,
            quiet: Quiet { others: self.others, spread: spread(&ratios) },
            fault: self.fault.clone(),
        }
    }

    /// The line of grantd's p99, as quiet as the ratio's.
    pub(crate) fn p99_line(&self, name: &str, most_ms: f64) -> Line {
        let [ours, theirs] = [
            median(&self.p99.iter().map(|(ours, _)| ms(*ours)).collect::<Vec<_>>()),
            median(&self.p99.iter().map(|(_, theirs)| ms(*theirs)).collect::<Vec<_>>()),
        ];
        Line {
            grantd: format!("{ours:.2} ms"),
            ceiling: format!("{theirs:.2} ms"),
            figure: ours,
            unit: "ms",
            ..self.line(name, Target::AtMost(most_ms))
        }
    }
}
