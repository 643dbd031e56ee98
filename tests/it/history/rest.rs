//! What must hold when all is quiet: every received token is asked about, every ended one as well, and everybody logs
//! in. The questions become part of the history, so that the same rules judge them.

use super::check::violations;
use super::record::{Act, History, Outcome};
use super::traffic::{Device, World};

/// Asks about everything that each device knows. Every question must be answered.
pub(crate) async fn look_at_rest(world: &World, devices: &mut [Device]) {
    world.switch_all_on().await;
    for device in devices {
        let unanswered = ask_about(device).await;
        assert_eq!(unanswered, 0, "a quiet server answers every question: {}", device.unanswered.borrow());
    }
}

/// The number of questions that were not answered.
async fn ask_about(device: &mut Device) -> usize {
    let mut outcomes = Vec::new();
    for ended in device.buried.clone() {
        outcomes.push(device.refresh(&ended).await);
    }
    if let Some(newest) = device.received.last().cloned() {
        // The answer that brought the newest may have been lost, so its predecessor brings it again.
        if device.received.len() > 1 && !device.presented.get() {
            let before = device.received[device.received.len() - 2].clone();
            outcomes.push(device.refresh(&before).await);
        }
        outcomes.push(device.refresh(&newest).await);
        outcomes.push(device.rotate(&newest).await);
    }
    if device.received.is_empty() {
        outcomes.push(device.login().await);
    }
    outcomes.iter().filter(|outcome| **outcome == Outcome::Unknown).count()
}

/// Ends every family by a reuse, and asks once more.
pub(crate) async fn rob_all(devices: &mut [Device]) {
    for device in devices {
        let Some(newest) = device.received.last().cloned() else { continue };
        let Outcome::Granted(_) = device.rotate(&newest).await else { continue };
        let last = device.received.last().cloned().unwrap_or_default();
        device.rotate(&last).await;
        for token in [newest, device.received.last().cloned().unwrap_or_default()] {
            let outcome = device.refresh(&token).await;
            assert!(matches!(outcome, Outcome::Refused(_)), "a thief, and then nobody: {outcome:?}");
        }
        device.bury();
    }
}

/// Nothing in the history breaks a rule.
#[track_caller]
pub(crate) fn assert_in_order(history: &History, when: &str) {
    let operations = history.operations();
    let found = violations(&operations);
    // What operators did explains most of it.
    let by_operators = || {
        let acts = operations.iter().filter(|o| !matches!(o.act, Act::Login { .. } | Act::Refresh { .. }));
        acts.map(|act| format!("{act:?}")).collect::<Vec<_>>().join("\n")
    };
    assert!(
        found.is_empty(),
        "{when}: {} violations\n{}\noperators:\n{}",
        found.len(),
        found.join("\n"),
        by_operators()
    );
}
