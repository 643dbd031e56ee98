//! What is said of each operation: a line for people, and whether its target is reached.

use super::quiet::Quiet;

/// What a figure is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
}

/// One figure against its target.
pub(crate) struct Line {
    pub(crate) name: String,
    /// What was measured on both sides, in words: `28,100/s`.
    pub(crate) grantd: String,
    pub(crate) ceiling: String,
    pub(crate) figure: f64,
    /// `x` of a ratio, `ms`, `MiB`.
    pub(crate) unit: &'static str,
    pub(crate) target: Target,
    pub(crate) quiet: Quiet,
    /// Why the figure is worth nothing, if so.
    pub(crate) fault: Option<String>,
}

/// What a line comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Holds,
    Misses,
    Noisy,
    Faulty,
}

impl Line {
    pub(crate) fn verdict(&self) -> Verdict {
        let reached = match self.target {
            Target::AtLeast(least) => self.figure >= least,
            Target::AtMost(most) => self.figure <= most,
        };
        match (&self.fault, reached, self.quiet.enough()) {
            (Some(_), ..) => Verdict::Faulty,
            (None, _, false) => Verdict::Noisy,
            (None, true, true) => Verdict::Holds,
            (None, false, true) => Verdict::Misses,
        }
    }

    fn target_text(&self) -> String {
        match self.target {
            Target::AtLeast(least) => format!(">= {least}"),
            Target::AtMost(most) => format!("<= {most}"),
        }
    }

    fn print(&self) {
        let verdict = match (self.verdict(), self.figure_reaches()) {
            (Verdict::Holds, _) => "holds",
            (Verdict::Misses, _) => "MISSES",
            (Verdict::Noisy, true) => "too noisy to tell (holds this time)",
            (Verdict::Noisy, false) => "too noisy to tell (misses this time)",
            (Verdict::Faulty, _) => "FAULTY",
        };
        println!(
            "{:<38} {:>11} {:>11} {:>8.2} {:<3} {:>8} {:>6.0} % {:>5.0} %  {verdict}",
            self.name,
            self.grantd,
            self.ceiling,
            self.figure,
            self.unit,
            self.target_text(),
            100.0 * self.quiet.spread,
            100.0 * self.quiet.others,
        );
        if let Some(fault) = &self.fault {
            println!("    {fault}");
        }
    }

    fn figure_reaches(&self) -> bool {
        match self.target {
            Target::AtLeast(least) => self.figure >= least,
            Target::AtMost(most) => self.figure <= most,
        }
    }
}

pub(crate) fn print_head() {
    println!(
        "{:<38} {:>11} {:>11} {:>8} {:<3} {:>8} {:>8} {:>7}",
        "", "grantd", "ceiling", "figure", "", "target", "spread", "others"
    );
}

/// Prints a line as soon as it is known, so that a run that is broken off has said something.
pub(crate) fn tell(lines: &mut Vec<Line>, line: Line) {
    line.print();
    lines.push(line);
}

/// A number of requests per second, as people write it.
pub(crate) fn per_second(rate: f64) -> String {
    let digits = format!("{rate:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if rate < 1000.0 { format!("{rate:.1}/s") } else { format!("{text}/s") }
}
