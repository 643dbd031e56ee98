//! What many samples come to: percentiles, ratios, and the lines in which people read them.

use std::time::Duration;

use super::neighbours::{Kind, Sample};
use super::timeline::{Scene, Timeline};

/// A set of durations.
#[derive(Default)]
pub(crate) struct Durations(Vec<Duration>);

impl FromIterator<Duration> for Durations {
    fn from_iter<I: IntoIterator<Item = Duration>>(durations: I) -> Self {
        let mut durations: Vec<Duration> = durations.into_iter().collect();
        durations.sort_unstable();
        Self(durations)
    }
}

impl Durations {
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The value that this share of all is not above; zero if there are none.
    pub(crate) fn percentile(&self, percent: f64) -> Duration {
        let rank = (self.0.len() as f64 * percent / 100.0).ceil() as usize;
        self.0.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }

    pub(crate) fn max(&self) -> Duration {
        self.0.last().copied().unwrap_or_default()
    }
}

/// All that neighbours saw in a run.
pub(crate) struct Neighbourhood<'a> {
    pub(crate) timeline: &'a Timeline,
    pub(crate) samples: &'a [Sample],
}

impl Neighbourhood<'_> {
    /// What one kind of request took while one thing was going on.
    pub(crate) fn took(&self, kind: Kind, scene: Scene) -> Durations {
        let of_scene = |sample: &&Sample| self.timeline.windows()[sample.window].scene == scene;
        self.of(kind).filter(of_scene).map(|sample| sample.took).collect()
    }

    /// Prints a line for each kind of request, `before` on the left; gives the worst ratio of p99 and the number of
    /// errors.
    pub(crate) fn print_panel(&self, before: Scene, trouble: Scene) -> (f64, usize) {
        println!(
            "{:<19}|{:>7} {:>8} {:>8} {:>8} |{:>7} {:>8} {:>8} {:>8} |{:>6} {:>6} {:>7}",
            "ms", "n", "p50", "p99", "max", "n", "p50", "p99", "max", "x p50", "x p99", "errors"
        );
        let (mut worst, mut all_errors) = (0.0_f64, 0);
        for kind in Kind::ALL {
            let (calm, during) = (self.took(kind, before), self.took(kind, trouble));
            let [half, most] =
                [50.0, 99.0].map(|percent| ratio(during.percentile(percent), calm.percentile(percent)));
            let errors = self.of(kind).filter(|sample| sample.status != Some(200)).count();
            println!(
                "{:<19}|{}|{}|{half:>6.2} {most:>6.2} {errors:>7}",
                kind.name(),
                line(&calm),
                line(&during)
            );
            worst = worst.max(most);
            all_errors += errors;
        }
        (worst, all_errors)
    }

    /// Prints p50 and p99 of each window, in which a single bad moment of the machine shows itself.
    pub(crate) fn print_windows(&self, names: &[&str]) {
        println!("\nwindow by window, p50/p99 in ms:");
        for kind in Kind::ALL {
            print!("{:<19}", kind.name());
            for (number, window) in self.timeline.windows().iter().enumerate() {
                let of_window = self.of(kind).filter(|sample| sample.window == number);
                let took: Durations = of_window.map(|sample| sample.took).collect();
                let name = match window.scene {
                    Scene::Calm => "calm",
                    Scene::Trouble(trouble) => names[trouble],
                };
                print!("  {name} {:.2}/{:.2}", ms(took.percentile(50.0)), ms(took.percentile(99.0)));
            }
            println!();
        }
        for (name, calm) in [("calm", true), ("trouble", false)] {
            let of_scene =
                |sample: &&Sample| (self.timeline.windows()[sample.window].scene == Scene::Calm) == calm;
            let late: Durations = self.samples.iter().filter(of_scene).map(|sample| sample.late).collect();
            println!(
                "the generator itself was late ({name}), p50 {:.2} p99 {:.2} ms",
                ms(late.percentile(50.0)),
                ms(late.percentile(99.0))
            );
        }
    }

    fn of(&self, kind: Kind) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(move |sample| sample.kind == kind)
    }
}

fn line(durations: &Durations) -> String {
    let [half, most] = [50.0, 99.0].map(|percent| ms(durations.percentile(percent)));
    format!("{:>7} {half:>8.2} {most:>8.2} {:>8.2} ", durations.count(), ms(durations.max()))
}

/// Prints whether a promise holds and with which figure; gives whether it does.
pub(crate) fn verdict(promise: &str, holds: bool, figure: &str) -> bool {
    println!("{:<14} {promise}: {figure}", if holds { "holds" } else { "does not hold" });
    holds
}

pub(crate) fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn ratio(during: Duration, calm: Duration) -> f64 {
    during.as_secs_f64() / calm.as_secs_f64()
}
