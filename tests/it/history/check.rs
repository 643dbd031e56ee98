//! The rules of refresh-token families, over a whole history: what no order of what happened at the same time can
//! explain is a violation. Knows tokens as opaque texts, and neither server nor database.
//!
//! 1. A token has one successor, whoever asks and however often.
//! 2. Once the successor was used, the token is dead.
//! 3. Once an end is acknowledged (revocation, disabling, a reuse that was refused), no member of the family works.
//! 4. Nobody logs in who was switched off.
//! 5. A received token works, unless its family may have been ended: it is never lost.
//! 6. Who was not switched off logs in.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::record::{Act, Operation, Outcome, Switch};

/// Everything in the history that breaks a rule, as sentences.
pub(crate) fn violations(history: &[Operation]) -> Vec<String> {
    let mut found = Vec::new();
    let families = families(history);
    let ends = Ends::of(history);
    for family in &families {
        family.check(&ends, &mut found);
    }
    one_predecessor(&families, &mut found);
    for login in history {
        if let Act::Login { user, client } = &login.act {
            check_login(login, &ends.switches_of(user, client), &mut found);
        }
    }
    found
}

/// A family: its login, its tokens, and who presented them.
struct Family<'a> {
    login: &'a Operation,
    user: &'a str,
    client: &'a str,
    tokens: BTreeSet<&'a str>,
    presented: HashMap<&'a str, Vec<&'a Operation>>,
    successors: HashMap<&'a str, BTreeSet<&'a str>>,
}

fn families(history: &[Operation]) -> Vec<Family<'_>> {
    let mut families: Vec<Family<'_>> = Vec::new();
    let mut family_of: HashMap<&str, usize> = HashMap::new();
    // In the order of the answers: a token was received before it is presented.
    let mut by_end: Vec<&Operation> = history.iter().collect();
    by_end.sort_by_key(|operation| operation.ended);
    for operation in by_end {
        match (&operation.act, &operation.outcome) {
            (Act::Login { user, client }, Outcome::Granted(first)) => {
                family_of.insert(first, families.len());
                families.push(Family {
                    login: operation,
                    user,
                    client,
                    tokens: BTreeSet::from([first.as_str()]),
                    presented: HashMap::new(),
                    successors: HashMap::new(),
                });
            }
            (Act::Refresh { token }, outcome) => {
                let Some(index) = family_of.get(token.as_str()).copied() else { continue };
                let family = &mut families[index];
                family.presented.entry(token).or_default().push(operation);
                if let Outcome::Granted(successor) = outcome {
                    family_of.insert(successor, index);
                    family.tokens.insert(successor);
                    family.successors.entry(token).or_default().insert(successor);
                }
            }
            _ => {}
        }
    }
    families
}

/// A token that follows on two others would keep an old one's owner alive.
fn one_predecessor(families: &[Family<'_>], found: &mut Vec<String>) {
    let mut predecessors: HashMap<&str, &str> = HashMap::new();
    let first = families.iter().filter_map(|family| Some(("a login", family.first()?)));
    let later = families.iter().flat_map(|family| &family.successors);
    let later = later.flat_map(|(token, all)| all.iter().map(move |one| (*token, *one)));
    for (token, successor) in first.chain(later) {
        if let Some(other) = predecessors.insert(successor, token) {
            let (successor, token, other) = (short(successor), short(token), short(other));
            found.push(format!("rule 1: {successor} follows on {token} and on {other}"));
        }
    }
}

impl<'a> Family<'a> {
    fn first(&self) -> Option<&'a str> {
        let Outcome::Granted(first) = &self.login.outcome else { return None };
        Some(first)
    }

    fn check(&self, ends: &Ends<'a>, found: &mut Vec<String>) {
        for (token, successors) in &self.successors {
            if successors.len() > 1 || successors.contains(token) {
                let successors: Vec<_> = successors.iter().map(|token| short(token)).collect();
                found.push(format!("rule 1: {} has the successors {successors:?}", short(token)));
            }
        }

        let certain = self.certain_end(ends);
        let possible = self.first_possible_end(ends);
        for (token, operation) in self.presentations() {
            if operation.took_effect() {
                if self.uses_of_successor(token).any(|used| used.was_over_before(operation)) {
                    found.push(format!(
                        "rule 2: {} after its successor was used: {operation:?}",
                        short(token)
                    ));
                }
                if let Some(end) = certain.filter(|end| end.ended < operation.invoked) {
                    found.push(format!("rule 3: {} works after {end:?}: {operation:?}", short(token)));
                }
            }
            let lives_on = possible.is_none_or(|end| end > operation.ended);
            if operation.was_refused() && lives_on && !self.client_may_be_off(ends, operation) {
                found.push(format!("rule 5: {} is lost: {operation:?}", short(token)));
            }
        }
    }

    /// Whether it was not the token that was refused but its client, which servers know as it was up to a second ago.
    fn client_may_be_off(&self, ends: &Ends<'a>, operation: &Operation) -> bool {
        let refused = matches!(&operation.outcome, Outcome::Refused(code) if code == "invalid_client");
        refused && may_be_off(operation, ends.switches_of(self.user, self.client)[1])
    }

    fn presentations(&self) -> impl Iterator<Item = (&'a str, &'a Operation)> {
        self.presented.iter().flat_map(|(token, all)| all.iter().map(|operation| (*token, *operation)))
    }

    /// Who presented what followed on `token`.
    fn uses_of_successor(&self, token: &str) -> impl Iterator<Item = &'a Operation> {
        let successors = self.successors.get(token).into_iter().flatten();
        successors.flat_map(|successor| self.presented.get(successor)).flatten().copied()
    }

    /// The first end of the family that was acknowledged.
    fn certain_end(&self, ends: &Ends<'a>) -> Option<&'a Operation> {
        let ordered = ends.that_concern(self).filter(|end| end.took_effect() && ends.reaches(end, self));
        let reused = self.presentations().filter(|(token, reuse)| {
            let refused = matches!(&reuse.outcome, Outcome::Refused(code) if code == "invalid_grant");
            refused && self.uses_of_successor(token).any(|used| used.was_over_before(reuse))
        });
        ordered.chain(reused.map(|(_, reuse)| reuse)).min_by_key(|end| end.ended)
    }

    /// The first moment at which something began that may have ended the family.
    fn first_possible_end(&self, ends: &Ends<'a>) -> Option<u64> {
        let ordered = ends.that_concern(self).filter(|end| self.login.may_precede(end));
        let reused = self.presentations().filter(|(token, reuse)| {
            !reuse.took_effect() && self.uses_of_successor(token).any(|used| used.may_precede(reuse))
        });
        ordered.chain(reused.map(|(_, reuse)| reuse)).map(|end| end.invoked).min()
    }
}

/// What operators did, by whom it concerns.
struct Ends<'a> {
    families: BTreeMap<&'a str, Vec<&'a Operation>>,
    users: BTreeMap<&'a str, Vec<&'a Operation>>,
    /// On and off.
    user_switches: BTreeMap<&'a str, Vec<&'a Operation>>,
    client_switches: BTreeMap<&'a str, Vec<&'a Operation>>,
}

impl<'a> Ends<'a> {
    fn of(history: &'a [Operation]) -> Self {
        let mut ends = Self {
            families: BTreeMap::new(),
            users: BTreeMap::new(),
            user_switches: BTreeMap::new(),
            client_switches: BTreeMap::new(),
        };
        for operation in history.iter().filter(|operation| !operation.was_refused()) {
            let list = match &operation.act {
                Act::RevokeFamily { token } => ends.families.entry(token).or_default(),
                Act::RevokeUser { user } => ends.users.entry(user).or_default(),
                Act::SwitchUser { user, .. } => ends.user_switches.entry(user).or_default(),
                Act::SwitchClient { client, .. } => ends.client_switches.entry(client).or_default(),
                Act::Login { .. } | Act::Refresh { .. } => continue,
            };
            list.push(operation);
        }
        ends
    }

    fn switches_of(&self, user: &str, client: &str) -> [&[&'a Operation]; 2] {
        let (of_user, of_client) = (self.user_switches.get(user), self.client_switches.get(client));
        [of_user, of_client].map(|switches| switches.map_or(&[][..], Vec::as_slice))
    }

    /// Every act that ends such a family, whenever it was.
    fn that_concern(&self, family: &Family<'a>) -> impl Iterator<Item = &'a Operation> {
        let own = family.tokens.iter().flat_map(|token| self.families.get(token)).flatten();
        let of_user = self.users.get(family.user).into_iter().flatten();
        let switches = self.switches_of(family.user, family.client).into_iter().flatten();
        own.chain(of_user).chain(switches.filter(|switch| position(switch) == Switch::Off)).copied()
    }

    /// Whether an end that took effect found this family there, or kept it from beginning.
    fn reaches(&self, end: &Operation, family: &Family<'a>) -> bool {
        if family.login.was_over_before(end) {
            return true;
        }
        let same = match &end.act {
            Act::RevokeFamily { .. } => return true,
            Act::SwitchUser { .. } => self.switches_of(family.user, family.client)[0],
            Act::SwitchClient { .. } => self.switches_of(family.user, family.client)[1],
            // The login may have come after it.
            Act::RevokeUser { .. } | Act::Login { .. } | Act::Refresh { .. } => return false,
        };
        !same
            .iter()
            .any(|on| position(on) == Switch::On && on.may_precede(family.login) && on.latest() > end.invoked)
    }
}

fn position(switch: &Operation) -> Switch {
    match &switch.act {
        Act::SwitchUser { to, .. } | Act::SwitchClient { to, .. } => *to,
        _ => Switch::On,
    }
}

fn check_login(login: &Operation, switches: &[&[&Operation]; 2], found: &mut Vec<String>) {
    for same in switches {
        for off in to(Switch::Off, same).filter(|off| off.was_over_before(login)) {
            let perhaps_on =
                || to(Switch::On, same).any(|on| on.may_precede(login) && on.latest() > off.invoked);
            if login.took_effect() && !perhaps_on() {
                found.push(format!("rule 4: a login after {off:?}: {login:?}"));
            }
        }
    }
    if login.was_refused() && !switches.iter().any(|same| may_be_off(login, same)) {
        found.push(format!("rule 6: nothing explains this refusal: {login:?}"));
    }
}

fn to<'a>(wanted: Switch, same: &[&'a Operation]) -> impl Iterator<Item = &'a Operation> {
    same.iter().copied().filter(move |switch| position(switch) == wanted)
}

/// Whether somebody with these switches may have been off when this was decided.
fn may_be_off(decided: &Operation, same: &[&Operation]) -> bool {
    to(Switch::Off, same)
        .filter(|off| off.may_precede(decided))
        .any(|off| !to(Switch::On, same).any(|on| off.latest() < on.invoked && on.was_over_before(decided)))
}

/// Enough of a token to find it in a log.
fn short(token: &str) -> &str {
    token.get(..40).unwrap_or(token)
}
