//! What is told of a user to whoever has an access token of theirs: the members of OpenID Connect Core §5.1 that
//! grantd knows.

use serde::Serialize;

use crate::model::role::RoleName;
use crate::model::user::User;

/// The members, for a token of this scope (names separated by spaces). Name and e-mail address are told where they are
/// set; with the scope `openid` only where OpenID Connect Core §5.4 does: under `profile` and `email`.
pub fn userinfo(user: &User, scope: &str) -> String {
    #[derive(Serialize)]
    struct Members<'a> {
        sub: String,
        preferred_username: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        email: Option<&'a str>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        roles: Vec<&'a str>,
    }
    let has = |wanted: &str| scope.split(' ').any(|name| name == wanted);
    let tells = |under: &str| !has("openid") || has(under);
    let members = Members {
        sub: user.id.to_string(),
        preferred_username: user.username.as_str(),
        name: user.name.as_deref().filter(|_| tells("profile")),
        email: user.email.as_deref().filter(|_| tells("email")),
        roles: user.roles.iter().map(RoleName::as_str).collect(),
    };
    serde_json::to_string(&members).expect("strings always serialize")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::UserId;
    use crate::model::time::Timestamp;

    fn alice() -> User {
        User {
            id: UserId::from_random([0; 16]),
            username: "alice".parse().expect("a name"),
            email: Some("alice@example.com".into()),
            name: Some("Alice".into()),
            roles: Vec::new(),
            password_hash: "secret".into(),
            disabled_at: None,
            created_at: Timestamp::from_secs(0),
            last_login_at: None,
        }
    }

    #[test]
    fn with_openid_name_and_address_are_told_under_their_scopes_only() {
        for (scope, name, email) in [
            ("", true, true),
            ("read profile", true, true),
            ("openid", false, false),
            ("openid profile", true, false),
            ("email openid", false, true),
            ("email openid profile", true, true),
            ("openidx", true, true),
        ] {
            let told: serde_json::Value = serde_json::from_str(&userinfo(&alice(), scope)).expect("json");

            assert_eq!((told.get("name").is_some(), told.get("email").is_some()), (name, email), "{scope}");
            assert_eq!(told["preferred_username"], "alice");
        }
    }

    #[test]
    fn what_is_not_set_is_left_out() {
        let bare = User { email: None, name: None, ..alice() };

        assert_eq!(userinfo(&bare, ""), format!(r#"{{"sub":"{}","preferred_username":"alice"}}"#, bare.id));
        let roles = vec!["admin".parse().expect("a role")];
        assert!(userinfo(&User { roles, ..bare }, "").ends_with(r#","roles":["admin"]}"#));
    }
}
