//! Who runs where: the server on one core, the load on another.
//!
//! Knows nothing of what is run. A process inherits the cores of the thread that starts it, so that pinning is done by
//! the thread that starts, for as long as it starts.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The cores of this machine that we may use.
pub(crate) struct Cores {
    all: Vec<usize>,
}

impl Cores {
    /// Finds out, and puts this thread on the core of the load.
    pub(crate) fn take() -> Self {
        let all = sched_getaffinity(None).map_or_else(
            |_| vec![0],
            |allowed| (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect(),
        );
        let cores = Self { all };
        stand_on(&[cores.of_load()]);
        cores
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.all.len()
    }

    /// Runs something on the server's core.
    pub(crate) fn on_server<T>(&self, run: impl FnOnce() -> T) -> T {
        self.on(&self.all[..1], run)
    }

    /// Runs something on the first so many cores; the load's is the last.
    pub(crate) fn on_first<T>(&self, count: usize, run: impl FnOnce() -> T) -> T {
        self.on(&self.all[..count], run)
    }

    /// Runs something on whatever core the system likes.
    pub(crate) fn on_any<T>(&self, run: impl FnOnce() -> T) -> T {
        self.on(&self.all, run)
    }

    fn on<T>(&self, cores: &[usize], run: impl FnOnce() -> T) -> T {
        stand_on(cores);
        let outcome = run();
        stand_on(&[self.of_load()]);
        outcome
    }

    fn of_load(&self) -> usize {
        self.all.last().copied().unwrap_or_default()
    }
}

fn stand_on(cores: &[usize]) {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core);
    }
    sched_setaffinity(None, &set).expect("cores that we were allowed to use a moment ago");
}
