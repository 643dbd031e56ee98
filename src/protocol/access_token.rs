//! What an access token says: the JWT profile of RFC 9068.

use std::borrow::Cow;

use serde::Serialize;

use crate::model::id::{ClientId, UserId};
use crate::model::resource::Audience;
use crate::model::role::RoleName;
use crate::model::scope::Scope;
use crate::model::status::StatusIndex;
use crate::model::time::{Timestamp, Ttl};

use super::subject_token::Actor;

/// Who a token stands for.
#[derive(Clone, Copy, Debug)]
pub enum Subject<'a> {
    /// A client: without a resource owner, `sub` identifies it (RFC 9068 §2.2).
    Client(&'a ClientId),
    /// A user.
    User(UserClaims<'a>),
}

/// The user behind a token.
#[derive(Clone, Copy, Debug)]
pub struct UserClaims<'a> {
    /// `sub`.
    pub id: UserId,
    /// `preferred_username`.
    pub username: &'a str,
    /// `roles`.
    pub roles: &'a [RoleName],
    /// `auth_time`: when they gave their password; `None` where an API key stands for them.
    pub auth_time: Option<Timestamp>,
}

/// Everything a token is made from.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The issuer, exactly as configured.
    pub issuer: &'a str,
    /// The client it is issued to.
    pub client_id: &'a ClientId,
    /// Who it stands for: for client_credentials the client itself.
    pub subject: Subject<'a>,
    /// Who acts for the subject, RFC 8693 §4.1; `None` where nothing was exchanged.
    pub actor: Option<&'a Actor>,
    /// The resource servers it is for; empty means `default_audience`.
    pub audience: &'a [Audience],
    /// `aud` where neither request nor client names one.
    pub default_audience: &'a str,
    /// What it allows.
    pub scope: &'a Scope,
    /// A fresh, unique id.
    pub token_id: &'a str,
    /// Where its status is; `None` for a client that wants its tokens small.
    pub status: Option<StatusIndex>,
    /// Now.
    pub issued_at: Timestamp,
    /// How long it lives.
    pub ttl: Ttl,
    /// The thumbprint of the key that it is bound to, if it is.
    pub jkt: Option<&'a str>,
}

/// The claims set, in the order it is written.
#[derive(Debug, Serialize)]
pub struct Claims<'a> {
    iss: &'a str,
    sub: Cow<'a, str>,
    aud: Aud<'a>,
    exp: i64,
    iat: i64,
    jti: &'a str,
    client_id: &'a str,
    // Some validators refuse an empty scope or roles, so what is empty is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_time: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    preferred_username: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    roles: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    act: Option<&'a Actor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cnf: Option<Confirmation<'a>>,
}

/// draft-ietf-oauth-status-list §6.1.
#[derive(Debug, Serialize)]
struct Status {
    status_list: StatusListRef,
}

/// draft-ietf-oauth-status-list §6.2.
#[derive(Debug, Serialize)]
struct StatusListRef {
    idx: u32,
    uri: String,
}

/// RFC 9449 §6.1: the key that whoever presents the token must prove to have.
#[derive(Debug, Serialize)]
struct Confirmation<'a> {
    jkt: &'a str,
}

/// The address of a status list, which is the `sub` of the list too.
pub fn status_list_uri(issuer: &str, list: u32) -> String {
    // Each token has one; `format!` takes four times as long.
    [issuer, "/status/", &list.to_string()].concat()
}

/// RFC 7519 §4.1.3: one audience is a string, several are an array.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Aud<'a> {
    One(&'a str),
    Many(Vec<&'a str>),
}

impl<'a> Claims<'a> {
    /// Puts the facts into claims.
    pub fn new(facts: &Facts<'a>) -> Self {
        let aud = match facts.audience {
            [] => Aud::One(facts.default_audience),
            [one] => Aud::One(one.as_str()),
            many => Aud::Many(many.iter().map(Audience::as_str).collect()),
        };
        let (sub, user): (Cow<'a, str>, _) = match facts.subject {
            Subject::Client(id) => (id.as_str().into(), None),
            Subject::User(user) => (user.id.to_string().into(), Some(user)),
        };
        let issued_at = facts.issued_at.as_secs();
        Self {
            iss: facts.issuer,
            sub,
            aud,
            exp: issued_at + facts.ttl.as_secs(),
            iat: issued_at,
            jti: facts.token_id,
            client_id: facts.client_id.as_str(),
            scope: Some(facts.scope.as_str()).filter(|scope| !scope.is_empty()),
            auth_time: user.and_then(|user| user.auth_time).map(Timestamp::as_secs),
            preferred_username: user.map(|user| user.username),
            roles: user.map_or_else(Vec::new, |user| user.roles.iter().map(RoleName::as_str).collect()),
            act: facts.actor,
            status: facts.status.map(|index| Status {
                status_list: StatusListRef {
                    idx: index.idx(),
                    uri: status_list_uri(facts.issuer, index.list()),
                },
            }),
            cnf: facts.jkt.map(|jkt| Confirmation { jkt }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts<'a>(client_id: &'a ClientId, audience: &'a [Audience], scope: &'a Scope) -> Facts<'a> {
        Facts {
            jkt: None,
            issuer: "https://auth.example.com",
            client_id,
            subject: Subject::Client(client_id),
            actor: None,
            audience,
            default_audience: "https://auth.example.com",
            scope,
            token_id: "t1",
            status: None,
            issued_at: Timestamp::from_millis(1_000_999),
            ttl: Ttl::from_secs(600),
        }
    }

    #[test]
    fn a_client_s_token_names_the_client_as_its_subject() {
        let (client, scope) = ("app".parse().expect("an id"), Scope::empty());

        let claims = serde_json::to_string(&Claims::new(&facts(&client, &[], &scope))).expect("json");

        assert_eq!(
            claims,
            r#"{"iss":"https://auth.example.com","sub":"app","aud":"https://auth.example.com","exp":1600,"iat":1000,"jti":"t1","client_id":"app"}"#
        );
    }

    #[test]
    fn a_token_says_where_its_status_is() {
        let (client, scope) = ("app".parse().expect("an id"), Scope::empty());
        let status = StatusIndex::in_list(3, 77);

        let claims = Claims::new(&Facts { status, ..facts(&client, &[], &scope) });

        assert_eq!(
            serde_json::to_value(claims).expect("json")["status"],
            serde_json::json!({"status_list": {"idx": 77, "uri": "https://auth.example.com/status/3"}})
        );
    }

    #[test]
    fn a_user_s_token_names_the_user_their_roles_and_when_they_logged_in() {
        let (client, scope) = ("app".parse().expect("an id"), "b a".parse().expect("a scope"));
        let audience = ["urn:a".parse().expect("an audience"), "urn:b".parse().expect("an audience")];
        let roles = ["admin".parse().expect("a role")];
        let user = UserClaims {
            id: UserId::from_random([0; 16]),
            username: "alice",
            roles: &roles,
            auth_time: Some(Timestamp::from_secs(900)),
        };
        let facts = Facts { subject: Subject::User(user), ..facts(&client, &audience, &scope) };

        let claims = serde_json::to_value(Claims::new(&facts)).expect("json");

        assert_eq!(claims["aud"], serde_json::json!(["urn:a", "urn:b"]));
        assert_eq!(claims["scope"], "a b");
        assert_eq!(claims["sub"], user.id.to_string());
        assert_eq!(claims["roles"], serde_json::json!(["admin"]));
        assert_eq!((&claims["auth_time"], &claims["preferred_username"]), (&900.into(), &"alice".into()));
    }
}
