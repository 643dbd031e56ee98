//! Which scopes a request is granted: registration bounds the client, roles bound the user.

use crate::model::role::{RoleName, RoleTable};
use crate::model::scope::Scope;

use super::error::TokenError;

/// What a client may ask for: naming nothing asks for all it is registered for, naming anything else is
/// `invalid_scope` (RFC 6749 §3.3, §5.2).
pub fn ask(named: Option<&Scope>, registered: &Scope) -> Result<Scope, TokenError> {
    match named {
        None => Ok(registered.clone()),
        Some(named) if named.is_subset_of(registered) => Ok(named.clone()),
        Some(_) => Err(TokenError::ScopeNotAllowed),
    }
}

/// What of `asked` reaches a user who holds `held`: a scope in some role reaches its holders only. What does
/// not reach is left out silently; if then nothing is left of something, the request fails.
pub fn reach(asked: &Scope, roles: &RoleTable, held: &[RoleName]) -> Result<Scope, TokenError> {
    let granted = asked.filter(|token| roles.reaches(token, held));
    if granted.is_empty() && !asked.is_empty() {
        return Err(TokenError::NothingGranted);
    }
    Ok(granted)
}

/// What a refresh asks for: any of what the family's first request asked for (`requested`), cut to what it was
/// granted then and to what the client is registered for now. RFC 6749 §6: "MUST NOT include any scope not
/// originally granted".
pub fn ask_again(
    named: Option<&Scope>,
    requested: &Scope,
    granted: &Scope,
    registered: &Scope,
) -> Result<Scope, TokenError> {
    let named = ask(named, requested)?;
    let asked = named.intersection(granted).intersection(registered);
    if asked.is_empty() && !named.is_empty() {
        return Err(TokenError::NothingGranted);
    }
    Ok(asked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::role::Role;
    use crate::model::time::Timestamp;

    fn scope(text: &str) -> Scope {
        text.parse().expect("a scope")
    }

    fn roles(rows: &[(&str, &str)]) -> RoleTable {
        let roles: Vec<Role> = rows
            .iter()
            .map(|(name, text)| Role {
                name: name.parse().expect("a name"),
                scope: scope(text),
                description: None,
                created_at: Timestamp::from_secs(0),
            })
            .collect();
        RoleTable::new(&roles)
    }

    #[test]
    fn a_client_gets_what_it_asks_for_within_its_registration() {
        use TokenError::ScopeNotAllowed;
        for (named, registered, expected) in [
            (None, "", Ok("")),
            (None, "read write", Ok("read write")),
            (Some("read"), "read write", Ok("read")),
            (Some("write read"), "read write", Ok("read write")),
            (Some("admin"), "read write", Err(ScopeNotAllowed)),
            (Some("read admin"), "read write", Err(ScopeNotAllowed)),
            (Some("read"), "", Err(ScopeNotAllowed)),
            (Some("READ"), "read", Err(ScopeNotAllowed)),
        ] {
            let asked = ask(named.map(scope).as_ref(), &scope(registered));

            assert_eq!(asked, expected.map(scope), "{named:?} of {registered}");
        }
    }

    #[test]
    fn a_scope_in_a_role_reaches_its_holders_only() {
        use TokenError::NothingGranted;
        let table = roles(&[("admin", "users.write audit"), ("auditor", "audit")]);
        for (asked, held, expected) in [
            ("read", &[][..], Ok("read")),
            ("read users.write", &[], Ok("read")),
            ("read users.write", &["admin"], Ok("read users.write")),
            ("audit", &["auditor"], Ok("audit")),
            ("audit", &["admin"], Ok("audit")),
            ("users.write", &["auditor"], Err(NothingGranted)),
            ("users.write", &["gone"], Err(NothingGranted)),
            ("", &[], Ok("")),
        ] {
            let held: Vec<RoleName> = held.iter().map(|name| name.parse().expect("a name")).collect();

            assert_eq!(reach(&scope(asked), &table, &held), expected.map(scope), "{asked} for {held:?}");
        }
    }

    #[test]
    fn a_refresh_never_widens() {
        use TokenError::{NothingGranted, ScopeNotAllowed};
        for (named, requested, granted, registered, expected) in [
            (None, "a b", "a b", "a b", Ok("a b")),
            (None, "a b", "a", "a b", Ok("a")),
            (Some("b"), "a b", "a", "a b", Err(NothingGranted)),
            (Some("a"), "a b", "a b", "a b", Ok("a")),
            (Some("c"), "a b", "a b", "a b c", Err(ScopeNotAllowed)),
            (None, "a b", "a b", "b c", Ok("b")),
            (None, "a", "a", "", Err(NothingGranted)),
            (None, "", "", "", Ok("")),
            (Some("a"), "", "", "a", Err(ScopeNotAllowed)),
        ] {
            let asked =
                ask_again(named.map(scope).as_ref(), &scope(requested), &scope(granted), &scope(registered));

            assert_eq!(asked, expected.map(scope), "{named:?} {requested} {granted} {registered}");
        }
    }
}
