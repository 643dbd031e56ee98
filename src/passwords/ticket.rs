//! Where one job of the pool stands, as its caller, the threads and a stop agree on it.
//!
//! Must not know what a job is: this is one atomic number and its one move.

use std::sync::atomic::{AtomicU8, Ordering};

/// Where a job stands. It leaves the queue once, for one reason, whoever is first.
#[derive(Default)]
pub(super) struct Ticket(AtomicU8);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Place {
    Queued = 0,
    Running,
    Expired,
    Abandoned,
    Stopped,
}

impl Ticket {
    /// Whether it was still in the queue, and so the move was ours.
    pub(super) fn leave_queue(&self, to: Place) -> bool {
        self.0.compare_exchange(Place::Queued as u8, to as u8, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    pub(super) fn place(&self) -> Place {
        let place = self.0.load(Ordering::Acquire);
        [Place::Running, Place::Expired, Place::Abandoned, Place::Stopped]
            .into_iter()
            .find(|known| *known as u8 == place)
            .unwrap_or(Place::Queued)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_leaves_the_queue_once_whoever_is_first() {
        for first in [Place::Running, Place::Expired, Place::Abandoned, Place::Stopped] {
            let ticket = Ticket::default();
            assert_eq!(ticket.place(), Place::Queued);

            assert!(ticket.leave_queue(first));

            assert!(!ticket.leave_queue(Place::Running));
            assert!(!ticket.leave_queue(Place::Abandoned));
            assert_eq!(ticket.place(), first);
        }
    }
}
