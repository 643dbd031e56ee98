//! When there is calm, when there is trouble, and what of it is measured.
//!
//! Calm and trouble alternate, so that a machine that slows down meanwhile slows both down.

use std::thread;
use std::time::{Duration, Instant};

/// What is going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scene {
    /// The neighbours alone.
    Calm,
    /// The neighbours and the trouble of this number.
    Trouble(usize),
}

/// A stretch of the run whose requests are counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) scene: Scene,
    from: Duration,
    until: Duration,
}

/// How long everything takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lengths {
    /// How often each scene is played.
    pub(crate) rounds: usize,
    /// How many kinds of trouble there are.
    pub(crate) troubles: usize,
    /// What is measured of each scene.
    pub(crate) window: Duration,
    /// How long a trouble goes on before it is measured.
    pub(crate) ramp: Duration,
    /// How long the server has to recover before calm is measured again.
    pub(crate) rest: Duration,
}

/// The whole run.
pub(crate) struct Timeline {
    begin: Instant,
    windows: Vec<Window>,
    troubles: Vec<(usize, Duration, Duration)>,
    end: Duration,
}

impl Timeline {
    /// A run that begins now: calm, each trouble, calm, each trouble, with calm before each.
    pub(crate) fn begin_now(lengths: Lengths) -> Self {
        let (mut windows, mut troubles) = (Vec::new(), Vec::new());
        let mut at = lengths.rest;
        for _ in 0..lengths.rounds {
            for trouble in 0..lengths.troubles {
                let calm_ends = at + lengths.window;
                windows.push(Window { scene: Scene::Calm, from: at, until: calm_ends });
                let from = calm_ends + lengths.ramp;
                let until = from + lengths.window;
                windows.push(Window { scene: Scene::Trouble(trouble), from, until });
                troubles.push((trouble, calm_ends, until));
                at = until + lengths.rest;
            }
        }
        Self { begin: Instant::now(), windows, troubles, end: at }
    }

    pub(crate) fn windows(&self) -> &[Window] {
        &self.windows
    }

    /// How long it takes.
    pub(crate) fn length(&self) -> Duration {
        self.end
    }

    /// The moment that is so long after the beginning.
    pub(crate) fn moment(&self, after: Duration) -> Instant {
        self.begin + after
    }

    /// How long ago it began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }

    /// The number of the window in which something was due, if it counts.
    pub(crate) fn window_at(&self, at: Duration) -> Option<usize> {
        self.windows.iter().position(|window| (window.from..window.until).contains(&at))
    }

    /// The troubles in their order: which, from when, until when.
    pub(crate) fn troubles(&self) -> impl Iterator<Item = (usize, Duration, Duration)> {
        self.troubles.iter().copied()
    }

    /// Sleeps until so long after the beginning.
    pub(crate) fn sleep_until(&self, after: Duration) {
        thread::sleep(self.moment(after).saturating_duration_since(Instant::now()));
    }
}
