//! What differs between what is declared and what there is. Pure: the same decides what a plan shows and what a
//! transaction does.

use serde_json::{Value, json};

use crate::model::client::{Client, Registration};
use crate::model::declared::{DeclaredClient, DeclaredRole, DeclaredUser, Member};
use crate::model::id::ClientId;
use crate::model::role::{Role, RoleName};
use crate::model::user::{User, Username};

use crate::app::clients::Switch;

/// Something by its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Named {
    /// A role.
    Role(RoleName),
    /// A client.
    Client(ClientId),
    /// A user.
    User(Username),
}

impl Named {
    /// `role`, `client` or `user`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Role(_) => "role",
            Self::Client(_) => "client",
            Self::User(_) => "user",
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::Role(name) => name.as_str(),
            Self::Client(id) => id.as_str(),
            Self::User(name) => name.as_str(),
        }
    }
}

/// What is done to something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It is not there yet.
    Create,
    /// It is there and differs.
    Change,
    /// It is there and not declared.
    Delete,
}

/// One member as it is and as it is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The member, by its name in files.
    pub member: &'static str,
    /// As it is; `None` of something that is not there yet.
    pub from: Option<Value>,
    /// As it is to be. Of a secret only where it comes from, in parentheses.
    pub to: Value,
}

/// One thing that is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// To what.
    pub named: Named,
    /// What.
    pub what: What,
    /// In detail; empty of what is deleted.
    pub differences: Vec<Difference>,
}

impl Step {
    /// Deletes something.
    pub fn delete(named: Named) -> Self {
        Self { named, what: What::Delete, differences: Vec::new() }
    }

    /// Whether anything but the switch is different.
    pub(super) fn changes_members(&self) -> bool {
        self.differences.iter().any(|difference| difference.member != ENABLED)
    }

    fn of(named: Named, exists: bool, differences: Vec<Difference>) -> Option<Self> {
        match exists {
            false => Some(Self { named, what: What::Create, differences }),
            true if differences.is_empty() => None,
            true => Some(Self { named, what: What::Change, differences }),
        }
    }
}

const ENABLED: &str = "enabled";
const SECRET: &str = "client_secret";

/// Where the secret that is declared for a client stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Secret {
    /// None is declared.
    NotDeclared,
    /// It is the client's own.
    Known,
    /// It is another one.
    Other,
}

/// What is to be done with a role.
pub(super) fn role(wanted: &DeclaredRole, now: Option<&Role>) -> Option<Step> {
    let empty = DeclaredRole {
        name: wanted.name.clone(),
        scope: crate::model::scope::Scope::empty(),
        description: None,
    };
    let before = now.map(|role| DeclaredRole::of(role).members());
    let differences = differing(before.as_deref(), &empty.members(), wanted.members());
    Step::of(Named::Role(wanted.name.clone()), now.is_some(), differences)
}

/// What is to be done with a client.
pub(super) fn client(wanted: &DeclaredClient, now: Option<&Client>, secret: Secret) -> Option<Step> {
    let before = now.map(|client| client.registration.members());
    let before = before.as_ref().map(|members| &members[..]);
    let mut differences = differing(before, &Registration::default().members(), wanted.members());
    let (had, has) = (now.is_some_and(|now| !now.secrets.is_empty()), wanted.registration.has_secret());
    let to = match (has, secret) {
        (true, Secret::Other) => Some("(brought in)"),
        (true, Secret::NotDeclared) if !had => Some("(generated)"),
        (true, Secret::NotDeclared | Secret::Known) => None,
        (false, _) => had.then_some("(none)"),
    };
    let from = now.map(|_| json!(if had { "(another)" } else { "(none)" }));
    differences.extend(to.map(|to| Difference { member: SECRET, from, to: json!(to) }));
    differences.extend(switching(wanted.enabled, now.map(Client::is_enabled)));
    Step::of(Named::Client(wanted.id.clone()), now.is_some(), differences)
}

/// What is to be done with a user.
pub(super) fn user(wanted: &DeclaredUser, now: Option<&User>) -> Option<Step> {
    let empty = DeclaredUser {
        username: wanted.username.clone(),
        email: None,
        name: None,
        roles: Vec::new(),
        password: None,
        enabled: None,
    };
    let before = now.map(|user| DeclaredUser::of(user).members());
    let mut differences = differing(before.as_deref(), &empty.members(), wanted.members());
    differences.extend(switching(wanted.enabled, now.map(User::is_enabled)));
    Step::of(Named::User(wanted.username.clone()), now.is_some(), differences)
}

/// The switch that is to be turned; what is made is on.
pub(super) fn switch(wanted: Option<bool>, is_on: bool) -> Option<Switch> {
    match wanted {
        Some(true) if !is_on => Some(Switch::On),
        Some(false) if is_on => Some(Switch::Off),
        Some(_) | None => None,
    }
}

fn switching(wanted: Option<bool>, now: Option<bool>) -> Option<Difference> {
    let to = switch(wanted, now.unwrap_or(true))?;
    let from = now.map(|is_on| json!(is_on));
    Some(Difference { member: ENABLED, from, to: json!(to == Switch::On) })
}

/// The members that differ; of what is not there yet, those that differ from what nobody has said anything about.
fn differing(before: Option<&[Member]>, default: &[Member], after: Vec<Member>) -> Vec<Difference> {
    let base = before.unwrap_or(default);
    let pairs = base.iter().zip(after);
    pairs
        .filter(|((_, was), (_, is))| was != is)
        .map(|((_, was), (member, to))| Difference { member, from: before.map(|_| was.clone()), to })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::client::{AuthMethod, ClientSecret, GrantType};
    use crate::model::secret::HashedSecret;
    use crate::model::status::StatusIndex;
    use crate::model::time::Timestamp;

    fn wanted(scope: &str) -> DeclaredClient {
        DeclaredClient {
            id: "shop".parse().expect("an id"),
            registration: Registration {
                grant_types: vec![GrantType::Password],
                scope: scope.parse().expect("a scope"),
                ..Registration::default()
            },
            secret: None,
            enabled: None,
        }
    }

    fn standing(scope: &str) -> Client {
        let hashed = HashedSecret::Hmac([1; 32]);
        let created_at = Timestamp::from_secs(0);
        Client {
            id: "shop".parse().expect("an id"),
            registration: wanted(scope).registration,
            secrets: vec![ClientSecret { hashed, created_at, expires_at: None }],
            disabled_at: None,
            created_at,
            status_index: StatusIndex::new(0).expect("there"),
        }
    }

    type Seen = (What, Vec<(&'static str, Option<Value>, Value)>);

    fn seen(step: Option<Step>) -> Option<Seen> {
        step.map(|step| {
            let differences = step.differences.into_iter();
            (step.what, differences.map(|Difference { member, from, to }| (member, from, to)).collect())
        })
    }

    #[test]
    fn what_is_as_declared_needs_no_step_and_what_differs_is_told_member_by_member() {
        assert_eq!(client(&wanted("a"), Some(&standing("a")), Secret::NotDeclared), None);
        assert_eq!(client(&wanted("a"), Some(&standing("a")), Secret::Known), None);

        assert_eq!(
            seen(client(&wanted("a"), Some(&standing("a b")), Secret::Other)),
            Some((
                What::Change,
                vec![
                    ("scope", Some(json!("a b")), json!("a")),
                    ("client_secret", Some(json!("(another)")), json!("(brought in)")),
                ]
            ))
        );
        assert_eq!(
            seen(client(&wanted("a"), None, Secret::NotDeclared)),
            Some((
                What::Create,
                vec![
                    ("grant_types", None, json!(["password"])),
                    ("scope", None, json!("a")),
                    ("client_secret", None, json!("(generated)")),
                ]
            ))
        );
        let public = |mut client: DeclaredClient| {
            client.registration.auth_methods = vec![AuthMethod::None];
            client
        };
        let (_, differences) =
            seen(client(&public(wanted("a")), Some(&standing("a")), Secret::NotDeclared)).expect("a step");
        assert_eq!(differences[1], ("client_secret", Some(json!("(another)")), json!("(none)")));
    }

    #[test]
    fn a_client_that_somebody_switched_off_stays_off_unless_the_file_says_otherwise() {
        let off = Client { disabled_at: Some(Timestamp::from_secs(1)), ..standing("a") };
        assert_eq!(client(&wanted("a"), Some(&off), Secret::NotDeclared), None);

        let on = DeclaredClient { enabled: Some(true), ..wanted("a") };

        assert_eq!(
            seen(client(&on, Some(&off), Secret::NotDeclared)),
            Some((What::Change, vec![("enabled", Some(json!(false)), json!(true))]))
        );
        assert_eq!(client(&on, Some(&standing("a")), Secret::NotDeclared), None);
    }
}
