//! Lets guesses be judged and counts those that fail. A guess takes its place in the database before its password is
//! looked at, so that parallel guesses gain nothing at however many instances, and gives it back when it ends, so that
//! parallel logins with the right password lose nothing.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use tokio::time::Instant;

use crate::model::audit::Act;
use crate::model::id::{ClientId, UserId};
use crate::model::login_attempts::{Counter, CounterKey, CounterKind};
use crate::model::time::Timestamp;
use crate::passwords::Admission;
use crate::protocol::error::TokenError;
use crate::protocol::throttle::{
    Judgement, ThrottleRules, add_failure, forget, give_back, judge, reaches_limit, settle, take_place,
};
use crate::storage::login_attempts::{self, Counted};
use crate::storage::{StorageError, Tx};

use super::App;
use super::login::pool_error;
use super::to_its_end::Caller;

/// Turns a login name into what is stored of it. People type passwords into the wrong field.
pub(crate) struct AccountHasher(hmac::Key);

impl AccountHasher {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    pub(super) fn hash(&self, name: &str) -> [u8; 32] {
        hmac::sign(&self.0, name.as_bytes()).as_ref().try_into().expect("HMAC-SHA-256 has 32 bytes")
    }
}

/// What a guess counts for beside its account and source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing: the source is a client that an operator registered, and nobody makes themselves more of those; or the
    /// account is a client's, whose owner is known nowhere. The same whether there is such an account or not.
    Alone,
    /// Nothing: the account has lately logged in from there. The others neither count it nor hold it up, so that who
    /// guesses from elsewhere locks nobody out.
    Known,
    /// The account over all such sources, and the source over all accounts.
    Unknown,
}

/// A guess before it is judged.
#[derive(Clone, Debug)]
pub(super) struct Guess {
    pub(super) account: [u8; 32],
    pub(super) source: String,
    pub(super) standing: Standing,
}

impl Guess {
    /// Its counters, in the order of their kinds.
    fn counters(&self) -> Vec<CounterKey> {
        let own = |kind| CounterKey { kind, account: Some(self.account), source: self.source.clone() };
        match self.standing {
            Standing::Alone => vec![own(CounterKind::Pair)],
            // As many rows as for `Unknown`, which count as those do, but are its own and without meaning: what differs in
            // work differs in time, and a stranger behind the same address would learn from it who exists. Whoever fills
            // the counter of the whole address still does, by who goes on: the price of nobody being held up by others.
            Standing::Known => CounterKind::ALL.map(own).into(),
            Standing::Unknown => vec![
                own(CounterKind::Pair),
                CounterKey { source: String::new(), ..own(CounterKind::Account) },
                CounterKey { account: None, ..own(CounterKind::Source) },
            ],
        }
    }

    /// Whether the right password forgets what has failed there: what was this account's from this source alone.
    fn is_forgiven_in(&self, kind: CounterKind) -> bool {
        kind == CounterKind::Pair || !self.is_judged_by(kind)
    }

    /// Whether what is counted there holds this guess up.
    const fn is_judged_by(&self, kind: CounterKind) -> bool {
        matches!((kind, self.standing), (CounterKind::Pair, _) | (_, Standing::Unknown))
    }
}

/// Whose guess it is, as far as is known; for the operator, never for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose<'a> {
    /// A user's.
    User(UserId),
    /// A client's, of its own secret.
    Client(&'a ClientId),
    /// Nobody's: there is no such account, or it is not known yet.
    Nobody,
}

/// How a guess ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It was judged, and wrong.
    Wrong,
    /// It was judged, and right: the failures before it were its owner's.
    Right,
    /// It was not judged, or nobody is there to hear that it is right.
    Unjudged,
}

/// A guess that may be judged. One that is dropped without an end has failed, once its time is over.
pub(super) struct Attempt {
    app: Arc<App>,
    guess: Guess,
    counters: Vec<CounterKey>,
    taken_at: Timestamp,
    has_waited: bool,
}

enum Tried {
    Taken(Timestamp),
    /// Every place of this counter is taken by guesses that are being judged.
    Full(CounterKey),
    Wait(Duration),
}

impl Attempt {
    /// Takes a place, in line behind those that are being judged, or refuses at once because of those that failed:
    /// the same for names that exist and names that do not.
    ///
    /// Gives the place among the hashing threads as well, which is taken first: in a storm, who does not fit shall
    /// cost the database nothing. It is not held in the line, where the guesses of one account would keep everybody
    /// out.
    pub(super) async fn begin(
        app: &Arc<App>,
        guess: Guess,
        caller: &Caller,
    ) -> Result<(Self, Admission), TokenError> {
        let counters = guess.counters();
        let until = Instant::now() + app.policy.login_patience.as_duration();
        let mut line = app.lines.join(&counters[0]).ok_or(TokenError::Busy)?;
        let mut has_waited = !line.is_first();
        caller.waits(until, line.take_turn()).await?;
        loop {
            let admission = app.pool.admit().map_err(pool_error)?;
            match app.login_share.step(try_to_take(app, &guess, &counters)).await? {
                Tried::Taken(taken_at) => {
                    let app = Arc::clone(app);
                    return Ok((Self { app, guess, counters, taken_at, has_waited }, admission));
                }
                Tried::Wait(retry_after) => return Err(TokenError::Throttled { retry_after }),
                Tried::Full(full) => {
                    drop(admission);
                    has_waited = true;
                    if full != *line.key() {
                        line = app.lines.join(&full).ok_or(TokenError::Busy)?;
                        caller.waits(until, line.take_turn()).await?;
                    }
                    caller.waits(until, line.for_a_move()).await?;
                }
            }
        }
    }

    /// Whether others were judged before it, who may have changed what it is judged by.
    pub(super) const fn has_waited(&self) -> bool {
        self.has_waited
    }

    /// Where the guess comes from.
    pub(super) const fn guess(&self) -> &Guess {
        &self.guess
    }

    /// Ends the attempt in a transaction of its own.
    pub(super) async fn end(&self, end: End, whose: Whose<'_>) -> Result<(), TokenError> {
        let share = &self.app.login_share;
        share
            .step(async {
                let mut tx = self.app.db.begin().await?;
                let reached = self.end_in(&mut tx, end, whose).await?;
                commit_counted(&self.app, tx, &reached).await
            })
            .await?;
        self.make_room();
        Ok(())
    }

    /// Ends the attempt in a transaction that does more; gives what is to be audited with it. [`Attempt::make_room`]
    /// once it is committed.
    pub(super) async fn end_in(
        &self,
        tx: &mut Tx,
        end: End,
        whose: Whose<'_>,
    ) -> Result<Vec<Act>, StorageError> {
        let (now, rules) = (self.app.clock.now(), &self.app.policy.throttle);
        let left = match end {
            // One statement for nearly all logins.
            End::Right if tx.is_the_only_one() => {
                let forgiven = |kind| self.guess.is_forgiven_in(kind);
                login_attempts::forget_alone(tx, &self.counters, self.taken_at, forgiven).await?
            }
            End::Right | End::Wrong | End::Unjudged => self.counters.clone(),
        };
        if left.is_empty() {
            return Ok(Vec::new());
        }
        let mut counters = login_attempts::lock(tx, &left, now).await?;
        let before = counts(&counters);
        for (key, counter) in &mut counters {
            give_back(counter, self.taken_at);
            settle(counter, rules, now);
            match end {
                End::Wrong => add_failure(counter, now),
                End::Right if self.guess.is_forgiven_in(key.kind) => forget(counter),
                End::Right | End::Unjudged => {}
            }
        }
        login_attempts::save(tx, &counters).await?;
        Ok(limits_reached(&self.app, &self.guess, whose, (&before, &counters)))
    }

    /// Tells those who stand in line that the attempt has ended.
    pub(super) fn make_room(&self) {
        for key in &self.counters {
            self.app.lines.moved(key);
        }
    }
}

/// Takes a place in every counter, or in none.
async fn try_to_take(app: &App, guess: &Guess, keys: &[CounterKey]) -> Result<Tried, TokenError> {
    let (now, rules) = (app.clock.now(), &app.policy.throttle);
    // A look first: whoever must wait shall not cost a write, however often they ask.
    let mut seen = login_attempts::read(&app.db, keys, now).await?;
    if let Some(refused) = refusal(&mut seen, guess, rules, now) {
        return Ok(refused);
    }

    // A place that a power cut takes back is one that nobody was told of: its guess went with it.
    let mut tx = app.db.begin_forgettable().await?;
    let mut counters = login_attempts::lock(&mut tx, keys, now).await?;
    let before = counts(&counters);
    if let Some(refused) = refusal(&mut counters, guess, rules, now) {
        tx.rollback().await?;
        return Ok(refused);
    }
    for (_, counter) in &mut counters {
        take_place(counter, now);
    }
    login_attempts::save(&mut tx, &counters).await?;
    // Of guesses whose process died.
    let reached = limits_reached(app, guess, Whose::Nobody, (&before, &counters));
    commit_counted(app, tx, &reached).await?;
    Ok(Tried::Taken(now))
}

/// Settles the counters. The longest wait goes before a place that others have.
fn refusal(counters: &mut [Counted], guess: &Guess, rules: &ThrottleRules, now: Timestamp) -> Option<Tried> {
    let (mut longest, mut full) = (None, None);
    for (key, counter) in counters {
        settle(counter, rules, now);
        if !guess.is_judged_by(key.kind) {
            continue;
        }
        match judge(counter, key.kind, rules, now) {
            Judgement::Room => {}
            Judgement::Full => full = full.or_else(|| Some(key.clone())),
            Judgement::Wait(wait) => longest = longest.max(Some(wait)),
        }
    }
    longest.map(Tried::Wait).or(full.map(Tried::Full))
}

fn counts(counters: &[Counted]) -> Vec<u32> {
    counters.iter().map(|(_, Counter { count, .. })| *count).collect()
}

/// The limits of the day that were reached in this transaction: from here on one guess is judged every
/// `throttle.max_delay`. Not heard of for the guesses that are refused from then on, which a stranger has for nothing.
fn limits_reached(
    app: &App,
    guess: &Guess,
    whose: Whose<'_>,
    (before, after): (&[u32], &[Counted]),
) -> Vec<Act> {
    let reached = before
        .iter()
        .zip(after)
        .filter(|(_, (key, _))| guess.is_judged_by(key.kind))
        .filter(|(before, (_, counter))| reaches_limit(**before, counter.count, &app.policy.throttle));
    let (user, client) = match whose {
        Whose::User(id) => (Some(id), None),
        Whose::Client(id) => (None, Some(id)),
        Whose::Nobody => (None, None),
    };
    reached
        .map(|(_, (key, _))| Act::LoginLimitReached {
            limit: key.kind,
            user,
            client: client.cloned(),
            source: guess.source.clone(),
        })
        .collect()
}

/// Commits what was counted, under audit if a limit was reached by it.
pub(super) async fn commit_counted(app: &App, tx: Tx, reached: &[Act]) -> Result<(), TokenError> {
    match reached {
        [] => Ok(tx.commit().await?),
        acts => Ok(app.commit(tx, acts).await?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guess(standing: Standing) -> Guess {
        Guess { account: [7; 32], source: "192.0.2.1".into(), standing }
    }

    #[test]
    fn a_guess_where_its_account_is_known_is_as_much_work_and_touches_nothing_that_others_count() {
        let (known, unknown) = (guess(Standing::Known), guess(Standing::Unknown));
        let (of_known, of_unknown) = (known.counters(), unknown.counters());

        let kinds = |keys: &[CounterKey]| keys.iter().map(|key| key.kind).collect::<Vec<_>>();
        assert_eq!(kinds(&of_known), kinds(&of_unknown));
        let shared: Vec<_> = of_known.iter().filter(|key| of_unknown.contains(key)).collect();
        assert_eq!(shared, [&of_known[0]], "the pair alone");
        let judged = |guess: &Guess| CounterKind::ALL.map(|kind| guess.is_judged_by(kind));
        assert_eq!(judged(&known), [true, false, false]);
        assert_eq!(judged(&unknown), [true, true, true]);
    }

    #[test]
    fn a_guess_that_counts_for_itself_has_one_counter() {
        let alone = guess(Standing::Alone).counters();

        assert_eq!(alone, guess(Standing::Known).counters()[..1]);
    }
}
