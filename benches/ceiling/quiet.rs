//! Whether the machine was quiet enough to tell: what others did meanwhile, and how much the rounds differ.
//!
//! Ours is this process and everything that it started, also what has ended since. What the kernel does in threads and
//! interrupts of its own is counted for nobody: most of it sends our packets and writes our pages. What is left is
//! others', in containers that we do not see too, and time that the machine's host took away.

use std::collections::HashMap;
use std::fs::{read_dir, read_to_string};

/// Of all cores, what others may use.
const MOST_OTHERS: f64 = 0.05;
/// Between the quarter of the highest and the quarter of the lowest ratios of rounds, relative to the median.
const MOST_SPREAD: f64 = 0.10;

/// kthreadd, which all threads of the kernel are children of.
const KERNEL: u32 = 2;

/// How much a figure can be believed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Quiet {
    /// The share of all cores that others used.
    pub(crate) others: f64,
    /// How far the rounds lie apart.
    pub(crate) spread: f64,
}

impl Quiet {
    pub(crate) fn enough(&self) -> bool {
        self.others <= MOST_OTHERS && self.spread <= MOST_SPREAD
    }
}

/// The work that is done from some moment on.
pub(crate) struct Watch {
    /// Of us and of the kernel's threads.
    accounted: u64,
    busy: u64,
    all: u64,
}

impl Watch {
    pub(crate) fn start() -> Self {
        let stat = read_to_string("/proc/stat").unwrap_or_default();
        let fields = stat.lines().next().unwrap_or_default().split_whitespace().skip(1).take(8);
        let fields: Vec<u64> = fields.filter_map(|ticks| ticks.parse().ok()).collect();
        let all: u64 = fields.iter().sum();
        // proc(5): the fourth and the fifth are idle time, without and with a disk to wait for.
        let idle: u64 = fields.iter().skip(3).take(2).sum();
        // The sixth and the seventh: interrupts, which no process is charged with.
        let interrupts: u64 = fields.iter().skip(5).take(2).sum();
        Self { accounted: accounted(), busy: all - idle - interrupts, all }
    }

    /// The share of all cores that others used since.
    pub(crate) fn others(&self) -> f64 {
        let now = Self::start();
        let accounted = now.accounted.saturating_sub(self.accounted);
        now.busy.saturating_sub(self.busy).saturating_sub(accounted) as f64
            / (now.all - self.all).max(1) as f64
    }
}

fn accounted() -> u64 {
    let processes = read_dir("/proc").into_iter().flatten().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let stats: HashMap<u32, (u32, u64)> = ids.filter_map(|id| Some((id, stat(id)?))).collect();
    let own = std::process::id();
    let descends = |id: &u32| {
        let mut ancestors = std::iter::successors(Some(*id), |id| Some(stats.get(id)?.0));
        // The depth is bounded in case parents changed while we read.
        ancestors.by_ref().take(64).any(|id| id == own || id == KERNEL)
    };
    stats.iter().filter(|(id, _)| descends(id)).map(|(_, (_, ticks))| ticks).sum()
}

/// The parent of a process, and its processor time with that of its children that have ended.
fn stat(id: u32) -> Option<(u32, u64)> {
    let stat = read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The second field is a name, which may hold spaces; behind it come the 3rd (state), the 4th (parent) and, from
    // the 14th to the 17th, utime, stime, cutime and cstime.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11..15)?.iter().filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Some((fields.get(1)?.parse().ok()?, ticks))
}

/// The middle of these, or of the two in the middle; not a number if there are none.
pub(crate) fn median(figures: &[f64]) -> f64 {
    quantile(figures, 0.5)
}

/// How far the middle half of these is apart, relative to their median.
pub(crate) fn spread(figures: &[f64]) -> f64 {
    (quantile(figures, 0.75) - quantile(figures, 0.25)) / median(figures).abs().max(f64::MIN_POSITIVE)
}

fn quantile(figures: &[f64], share: f64) -> f64 {
    if figures.is_empty() {
        return f64::NAN;
    }
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = share * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    below + (above - below) * at.fract()
}
