//! What was asked and what came of it, in the order in which it was seen. Knows no rule and no server.

use std::cell::{Ref, RefCell};
use std::rc::Rc;

/// What somebody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// A user logs in at a client, which begins a family.
    Login { user: String, client: String },
    /// A refresh token is presented, by its owner for the first time, again after a lost answer, or by a thief.
    Refresh { token: String },
    /// An operator ends the family that this token is of.
    RevokeFamily { token: String },
    /// An operator ends all families of a user.
    RevokeUser { user: String },
    /// An operator switches a user.
    SwitchUser { user: String, to: Switch },
    /// An operator switches a client.
    SwitchClient { client: String, to: Switch },
}

/// The two positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Switch {
    Off,
    On,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// 200, with this refresh token.
    Granted(String),
    /// An operator's command ended with exit status 0.
    Done,
    /// Refused for good with this error code: it changed nothing but what a refusal may change.
    Refused(String),
    /// The connection died, time ran out, or the answer was 5xx: it may have happened, or may yet happen, or never.
    Unknown,
}

/// One act from its beginning to its end, by the number of the moment.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) act: Act,
    pub(crate) invoked: u64,
    /// When its outcome was seen.
    pub(crate) ended: u64,
    pub(crate) outcome: Outcome,
}

impl Operation {
    /// The last moment at which it can have taken effect.
    pub(crate) fn latest(&self) -> u64 {
        if self.outcome == Outcome::Unknown { u64::MAX } else { self.ended }
    }

    /// Whether it took effect for certain, and did so before `other` began.
    pub(crate) fn was_over_before(&self, other: &Self) -> bool {
        self.took_effect() && self.ended < other.invoked
    }

    /// Whether it took effect for certain.
    pub(crate) fn took_effect(&self) -> bool {
        matches!(self.outcome, Outcome::Granted(_) | Outcome::Done)
    }

    /// Whether it may have taken effect before `other` did.
    pub(crate) fn may_precede(&self, other: &Self) -> bool {
        !self.was_refused() && self.invoked < other.latest()
    }

    /// Whether it was refused for good.
    pub(crate) fn was_refused(&self) -> bool {
        matches!(self.outcome, Outcome::Refused(_))
    }
}

/// A history that several write at the same time; one that is handed on is the same.
#[derive(Clone, Default)]
pub(crate) struct History(Rc<RefCell<Record>>);

#[derive(Default)]
struct Record {
    operations: Vec<Operation>,
    moment: u64,
}

/// An operation whose outcome is not known yet.
#[must_use]
pub(crate) struct Invoked(usize);

impl History {
    /// Notes that somebody is about to act. What never ends stays unknown.
    pub(crate) fn invoke(&self, act: Act) -> Invoked {
        let mut record = self.0.borrow_mut();
        record.moment += 1;
        let invoked = record.moment;
        record.operations.push(Operation { act, invoked, ended: u64::MAX, outcome: Outcome::Unknown });
        Invoked(record.operations.len() - 1)
    }

    /// Notes what came of it.
    pub(crate) fn end(&self, invoked: Invoked, outcome: &Outcome) {
        let mut record = self.0.borrow_mut();
        record.moment += 1;
        let ended = record.moment;
        let operation = &mut record.operations[invoked.0];
        operation.ended = ended;
        operation.outcome = outcome.clone();
    }

    /// Everything so far.
    pub(crate) fn operations(&self) -> Ref<'_, [Operation]> {
        Ref::map(self.0.borrow(), |record| record.operations.as_slice())
    }

    /// How many refreshes were answered 200, refused, and not answered.
    pub(crate) fn refreshes(&self) -> [usize; 3] {
        let mut counts = [0; 3];
        for operation in self.operations().iter().filter(|o| matches!(o.act, Act::Refresh { .. })) {
            counts[match operation.outcome {
                Outcome::Granted(_) | Outcome::Done => 0,
                Outcome::Refused(_) => 1,
                Outcome::Unknown => 2,
            }] += 1;
        }
        counts
    }
}
