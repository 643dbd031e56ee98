//! The history checker: what several clients, thieves and operators did at the same time, against the rules of
//! refresh-token families; and the traffic that makes such histories. This file proves the checker itself: each rule
//! refuses a history made for it, and what only looks wrong is let through.
//!
//! The tests of crashes, outages and restarts stand on it. They are short; `GRANTD_TEST_ROUNDS=500` makes them long
//! (`support/figures.rs`).

pub(crate) mod check;
pub(crate) mod record;
pub(crate) mod rest;
pub(crate) mod traffic;

use check::violations;
use record::{Act, Operation, Outcome, Switch};

use crate::support::runner::trials;

trials! {
    plain: [
        a_history_in_good_order_is_accepted,
        what_only_looks_wrong_is_accepted,
        two_successors_of_one_token_are_refused,
        one_successor_of_two_tokens_is_refused,
        a_dead_predecessor_that_works_is_refused,
        a_token_that_works_after_an_acknowledged_end_is_refused,
        a_login_of_somebody_who_is_switched_off_is_refused,
        a_received_token_that_is_lost_is_refused,
        a_refused_login_that_nothing_explains_is_refused,
    ],
}

/// An operation that nothing else overlapped.
fn alone(at: u64, act: Act, outcome: Outcome) -> Operation {
    during(at * 10, at * 10 + 5, act, outcome)
}

fn during(invoked: u64, ended: u64, act: Act, outcome: Outcome) -> Operation {
    Operation { act, invoked, ended, outcome }
}

fn login() -> Act {
    Act::Login { user: "u".into(), client: "c".into() }
}

fn present(token: &str) -> Act {
    Act::Refresh { token: token.into() }
}

fn granted(token: &str) -> Outcome {
    Outcome::Granted(token.into())
}

fn refused() -> Outcome {
    Outcome::Refused("invalid_grant".into())
}

fn switch(to: Switch) -> Act {
    Act::SwitchUser { user: "u".into(), to }
}

/// A family that is at its token `c`, whose `b` was used.
fn family() -> Vec<Operation> {
    vec![
        alone(1, login(), granted("a")),
        alone(2, present("a"), granted("b")),
        alone(3, present("b"), granted("c")),
    ]
}

fn after_family(more: impl IntoIterator<Item = Operation>) -> Vec<Operation> {
    family().into_iter().chain(more).collect()
}

#[track_caller]
fn assert_refused_by(rule: u32, history: &[Operation]) {
    let found = violations(history);
    assert!(found.iter().all(|found| found.starts_with(&format!("rule {rule}:"))), "{found:#?}");
    assert!(!found.is_empty(), "rule {rule} lets this through: {history:#?}");
}

#[track_caller]
fn assert_accepted(history: &[Operation]) {
    let found = violations(history);
    assert!(found.is_empty(), "{found:#?}");
}

fn a_history_in_good_order_is_accepted() {
    assert_accepted(&[]);
    assert_accepted(&after_family([
        alone(4, present("c"), Outcome::Unknown),
        alone(5, present("c"), granted("d")),
        alone(6, present("c"), granted("d")),
        alone(7, present("b"), refused()),
        alone(8, present("d"), refused()),
        alone(9, login(), granted("x")),
        alone(10, switch(Switch::Off), Outcome::Done),
        alone(11, present("x"), refused()),
        alone(12, login(), refused()),
        alone(13, switch(Switch::On), Outcome::Done),
        alone(14, present("x"), refused()),
        alone(15, login(), granted("y")),
        alone(16, Act::RevokeFamily { token: "y".into() }, Outcome::Done),
        alone(17, present("y"), refused()),
    ]));
}

fn what_only_looks_wrong_is_accepted() {
    // A refresh under way while its family was being revoked, and one that was revoked by a command that was killed.
    let revoke = Act::RevokeUser { user: "u".into() };
    assert_accepted(&after_family([
        during(40, 60, revoke.clone(), Outcome::Done),
        during(50, 70, present("c"), granted("d")),
        alone(8, present("d"), refused()),
    ]));
    assert_accepted(&after_family([
        alone(4, revoke.clone(), Outcome::Unknown),
        alone(5, present("c"), granted("d")),
        alone(6, present("d"), refused()),
    ]));
    // A login that was answered after a revocation that began before it.
    assert_accepted(&[
        during(10, 30, login(), granted("a")),
        during(5, 20, revoke, Outcome::Done),
        alone(4, present("a"), granted("b")),
    ]);
    // The predecessor and its successor's use at the same time: either order.
    for predecessor in [granted("c"), refused()] {
        assert_accepted(&[
            alone(1, login(), granted("a")),
            alone(2, present("a"), granted("b")),
            alone(3, present("b"), Outcome::Unknown),
            during(40, 60, present("b"), predecessor),
            during(40, 60, present("b"), granted("c")),
            during(50, 70, present("c"), Outcome::Unknown),
        ]);
    }
    // A client that is off for as long as not every server knows that it is on again: its token is not lost.
    let client = |to| Act::SwitchClient { client: "c".into(), to };
    assert_accepted(&[
        alone(1, client(Switch::Off), Outcome::Done),
        during(20, 90, client(Switch::On), Outcome::Done),
        alone(3, login(), granted("a")),
        alone(4, present("a"), Outcome::Refused("invalid_client".into())),
        alone(10, present("a"), granted("b")),
    ]);
    // Switched on by a command that was killed.
    assert_accepted(&[
        alone(1, switch(Switch::Off), Outcome::Done),
        alone(2, switch(Switch::On), Outcome::Unknown),
        alone(3, login(), refused()),
        alone(4, login(), granted("a")),
    ]);
}

fn two_successors_of_one_token_are_refused() {
    assert_refused_by(
        1,
        &after_family([alone(4, present("c"), granted("d")), alone(5, present("c"), granted("e"))]),
    );
    assert_refused_by(1, &after_family([alone(4, present("c"), granted("c"))]));
}

fn one_successor_of_two_tokens_is_refused() {
    let other = [alone(4, login(), granted("x")), alone(5, present("x"), granted("c"))];
    assert_refused_by(1, &after_family(other));
    assert_refused_by(1, &[alone(1, login(), granted("a")), alone(2, login(), granted("a"))]);
}

fn a_dead_predecessor_that_works_is_refused() {
    assert_refused_by(2, &after_family([alone(4, present("a"), granted("b"))]));
}

fn a_token_that_works_after_an_acknowledged_end_is_refused() {
    let works = || alone(9, present("c"), granted("d"));
    for end in [
        Act::RevokeFamily { token: "a".into() },
        Act::RevokeUser { user: "u".into() },
        switch(Switch::Off),
        Act::SwitchClient { client: "c".into(), to: Switch::Off },
    ] {
        assert_refused_by(3, &after_family([alone(4, end, Outcome::Done), works()]));
    }
    assert_refused_by(3, &after_family([alone(4, present("a"), refused()), works()]));
    // Switched on again, the old family stays dead; as does one whose login was under way.
    let off_and_on =
        [alone(4, switch(Switch::Off), Outcome::Done), alone(5, switch(Switch::On), Outcome::Done), works()];
    assert_refused_by(3, &after_family(off_and_on));
    assert_refused_by(
        3,
        &[
            during(10, 30, login(), granted("a")),
            during(15, 20, switch(Switch::Off), Outcome::Done),
            alone(5, present("a"), granted("b")),
        ],
    );
}

fn a_login_of_somebody_who_is_switched_off_is_refused() {
    for off in [switch(Switch::Off), Act::SwitchClient { client: "c".into(), to: Switch::Off }] {
        assert_refused_by(4, &[alone(1, off, Outcome::Done), alone(2, login(), granted("a"))]);
    }
    assert_refused_by(
        4,
        &[
            alone(1, switch(Switch::On), Outcome::Done),
            alone(2, switch(Switch::Off), Outcome::Done),
            alone(3, login(), granted("a")),
        ],
    );
}

fn a_received_token_that_is_lost_is_refused() {
    assert_refused_by(5, &after_family([alone(4, present("c"), refused())]));
    // After a lost answer, and after a commit that a crash undid.
    assert_refused_by(
        5,
        &after_family([alone(4, present("c"), Outcome::Unknown), alone(5, present("c"), refused())]),
    );
    // By a server that knows of no client, although all were told that it is on.
    let client = |to| Act::SwitchClient { client: "c".into(), to };
    assert_refused_by(
        5,
        &[
            alone(1, client(Switch::Off), Outcome::Done),
            alone(2, client(Switch::On), Outcome::Done),
            alone(3, login(), granted("a")),
            alone(4, present("a"), Outcome::Refused("invalid_client".into())),
        ],
    );
    // To switch somebody on ends nothing, nor does the end of somebody else's family, or one that began later.
    for end in [
        switch(Switch::On),
        client(Switch::On),
        Act::RevokeFamily { token: "z".into() },
        Act::RevokeUser { user: "other".into() },
        Act::SwitchClient { client: "other".into(), to: Switch::Off },
    ] {
        assert_refused_by(
            5,
            &after_family([alone(4, end, Outcome::Done), alone(5, present("c"), refused())]),
        );
    }
    let later = alone(6, Act::RevokeUser { user: "u".into() }, Outcome::Done);
    assert_refused_by(5, &after_family([alone(5, present("c"), refused()), later]));
    // Nor does a revocation that was refused, or one before the login.
    let earlier = alone(0, Act::RevokeUser { user: "u".into() }, Outcome::Done);
    assert_refused_by(5, &after_family([earlier, alone(5, present("c"), refused())]));
}

fn a_refused_login_that_nothing_explains_is_refused() {
    assert_refused_by(6, &[alone(1, login(), refused())]);
    assert_refused_by(
        6,
        &[
            alone(1, switch(Switch::Off), Outcome::Done),
            alone(2, switch(Switch::On), Outcome::Done),
            alone(3, login(), refused()),
        ],
    );
}
