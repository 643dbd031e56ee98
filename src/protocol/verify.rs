//! What a reverse proxy asks before it lets a request through: what must hold of the caller's credential, what is told of
//! them, and how a refusal reads (RFC 6750). Must not know how credentials are looked up.
//!
//! What a caller sends is refused with 401 or 403, whatever it is: nginx makes a 500 of everything else.

use crate::model::resource::Audience;
use crate::model::role::RoleName;
use crate::model::scope::Scope;
use crate::model::secret::PlainSecret;
use crate::model::time::Ttl;

use super::api_key::ApiKeyFailure;
use super::bearer::{Scheme, presented};
use super::error::TokenError;
use super::params::Params;
use super::subject_token::{StandsFor, SubjectToken};

/// The header that API keys come in.
pub const API_KEY_HEADER: &str = "x-api-key";
/// The headers that tell of the caller. All of them are in every answer that lets a request through, so that a proxy that
/// copies them leaves none that the caller wrote.
pub const TOLD: [&str; 4] = ["x-auth-user", "x-auth-username", "x-auth-roles", "x-auth-scope"];

/// How long a token lives that is made for one request.
pub const LIFETIME: Ttl = Ttl::from_secs(60);

/// What must hold, as whoever configured the proxy wrote it into the query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// `scope`: all of it must be granted.
    pub scope: Scope,
    /// `role`: all of them must be held.
    pub roles: Vec<RoleName>,
    /// `audience`: the service behind the proxy; the server's default audience where it is left out.
    pub audience: Option<Audience>,
}

/// A mistake of whoever configured the proxy. Nothing is let through by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidQuery {
    /// Cannot be read, or a parameter is repeated.
    #[error("The query is not percent-encoded UTF-8, or has a parameter more than once.")]
    Form,
    /// A misspelt parameter would ask for nothing.
    #[error(
        "The query may have the parameters scope, role and audience, and at its end request, and no other."
    )]
    Unknown,
    /// RFC 6749 §3.3.
    #[error("The parameter scope is malformed: names separated by single spaces.")]
    Scope,
    /// No role has such a name.
    #[error("The parameter role is malformed: names of roles separated by single spaces.")]
    Role,
    /// RFC 8707 §2.
    #[error("The parameter audience is not one absolute URI without a fragment.")]
    Audience,
    /// `role=${ROLE}` where nobody set ROLE: taken as left out, it would let everybody through.
    #[error("The parameters scope, role and audience may be left out, but not be empty.")]
    Empty,
}

impl Wanted {
    /// Reads the query of the request, without its `?`. What follows `request=` is not read: Envoy cannot but append the
    /// address that its caller asked for, and a caller must not add to what is asked for, nor take away.
    pub fn parse(query: &str) -> Result<Self, InvalidQuery> {
        let own = match query.find("&request=") {
            _ if query.starts_with("request=") => "",
            Some(at) => &query[..at],
            None => query,
        };
        let params = Params::parse(own.as_bytes()).map_err(|_| InvalidQuery::Form)?;
        if params.names().any(|name| !["scope", "role", "audience"].contains(&name)) {
            return Err(InvalidQuery::Unknown);
        }
        // Other endpoints take an empty parameter as left out (RFC 6749 §3.2); here what is left out asks for nothing.
        let filled: usize =
            ["scope", "role", "audience"].iter().map(|name| params.values(name).count()).sum();
        if params.names().count() != filled {
            return Err(InvalidQuery::Empty);
        }
        let scope = params.value("scope").map(str::parse).transpose().map_err(|_| InvalidQuery::Scope)?;
        let roles = params.value("role").map(|names| names.split(' ').map(str::parse).collect()).transpose();
        let mut audience = params.values("audience");
        let (first, second) = (audience.next(), audience.next());
        if second.is_some() {
            return Err(InvalidQuery::Audience);
        }
        Ok(Self {
            scope: scope.unwrap_or_else(Scope::empty),
            roles: roles.map_err(|_| InvalidQuery::Role)?.unwrap_or_default(),
            audience: first.map(str::parse).transpose().map_err(|_| InvalidQuery::Audience)?,
        })
    }
}

/// What the caller sends to prove who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// An access token, RFC 6750 §2.1.
    Bearer(PlainSecret),
    /// An API key.
    ApiKey(PlainSecret),
}

impl Credential {
    /// The credential of a request: its `Authorization` and `X-API-Key` headers. Exactly one, for of two it would be
    /// anybody's guess who the caller is.
    pub fn read(authorization: &[&[u8]], api_key: &[&[u8]]) -> Result<Self, Denied> {
        let bearer = match presented(authorization, None) {
            Ok((Scheme::Bearer, token)) => Some(token),
            Ok((Scheme::Dpop, _)) => return Err(Denied::Bound),
            // Nothing, or another scheme, which is a matter between the caller and the service.
            Err(_) if authorization.len() < 2 => None,
            Err(_) => return Err(Denied::Several),
        };
        let keys: Vec<&[u8]> =
            api_key.iter().map(|line| line.trim_ascii()).filter(|line| !line.is_empty()).collect();
        match (bearer, keys.as_slice()) {
            (Some(token), []) => Ok(Self::Bearer(token)),
            (None, [key]) => match std::str::from_utf8(key) {
                Ok(key) => Ok(Self::ApiKey(PlainSecret::new(key.to_owned()))),
                Err(_) => Err(ApiKeyFailure::Unknown.into()),
            },
            (None, []) => Err(Denied::Missing),
            _ => Err(Denied::Several),
        }
    }
}

/// Why a request is not let through.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The proxy asks for what cannot be.
    #[error("the query is wrong: {0}")]
    Query(#[from] InvalidQuery),
    /// No credential at all.
    #[error("no credential in the request")]
    Missing,
    /// More than one.
    #[error("more than one credential in the request")]
    Several,
    /// The token is no live one of ours, for this reason, which the caller is not told.
    #[error("{0}")]
    Token(String),
    /// The token is bound to a key, of which the proof is for another address than ours.
    #[error("the token is bound to a key")]
    Bound,
    /// The API key is worth nothing.
    #[error(transparent)]
    ApiKey(#[from] ApiKeyFailure),
    /// RFC 9068 §4: "MUST reject" a token that is for somebody else.
    #[error("the credential is not for this audience")]
    Audience,
    /// The scope is not enough; this one would be.
    #[error("the scope '{0}' is not granted")]
    Scope(Scope),
    /// A role is not held.
    #[error("a role that is asked for is not held")]
    Role,
    /// Something of ours.
    #[error(transparent)]
    Fault(#[from] TokenError),
}

impl Denied {
    /// The code, the status and the sentence of the answer. RFC 6750 §3.1: who sent nothing is told no error.
    pub fn answer(&self) -> (Option<&'static str>, u16, String) {
        let (code, status, sentence) = match self {
            Self::Query(mistake) => return (Some("invalid_request"), 400, mistake.to_string()),
            Self::Missing => return (None, 401, String::new()),
            Self::Several => (
                "invalid_request",
                401,
                "The request has more than one credential; send one access token or one API key.",
            ),
            Self::Bound => (
                "invalid_token",
                401,
                "Access tokens that are bound to a key (DPoP) are not taken here; send one that is not.",
            ),
            Self::ApiKey(ApiKeyFailure::Unsettled) => (
                "temporarily_unavailable",
                503,
                "The tokens of the API key were revoked this moment; try again.",
            ),
            Self::ApiKey(ApiKeyFailure::Scope) => {
                ("insufficient_scope", 403, "Nothing of the scope of the API key is left.")
            }
            Self::Token(_) | Self::ApiKey(_) | Self::Audience => (
                "invalid_token",
                401,
                "The access token or API key is malformed, expired, revoked, not of this server or not for this service.",
            ),
            Self::Scope(_) => {
                ("insufficient_scope", 403, "The scope of the access token or API key is not enough.")
            }
            Self::Role => ("insufficient_scope", 403, "The user does not hold the role that this takes."),
            Self::Fault(error) => {
                let (code, status, sentence) = error.answer();
                (code.as_str(), status, sentence)
            }
        };
        (Some(code), status, sentence.to_owned())
    }

    /// The value of `WWW-Authenticate`, RFC 6750 §3; `None` where no other credential would have helped.
    pub fn challenge(&self, realm: &str) -> Option<String> {
        let (code, status, sentence) = self.answer();
        if !matches!(status, 401 | 403) {
            return None;
        }
        let mut challenge = format!(r#"Bearer realm="{realm}""#);
        if let Some(code) = code {
            challenge.push_str(&format!(r#", error="{code}", error_description="{sentence}""#));
        }
        // RFC 6750 §3: names of scopes have no quotes and no backslashes.
        if let Self::Scope(scope) = self {
            challenge.push_str(&format!(r#", scope="{scope}""#));
        }
        Some(challenge)
    }
}

/// Whether `subject` may pass; `default_audience` is meant where none is named.
pub fn check(wanted: &Wanted, subject: &SubjectToken, default_audience: &str) -> Result<(), Denied> {
    if subject.jkt.is_some() {
        return Err(Denied::Bound);
    }
    let audience = wanted.audience.as_ref().map_or(default_audience, Audience::as_str);
    // RFC 9068 §4: compared as they are written.
    if !subject.audience.iter().any(|aud| **aud == *audience) {
        return Err(Denied::Audience);
    }
    if !wanted.scope.is_subset_of(&subject.scope) {
        return Err(Denied::Scope(wanted.scope.clone()));
    }
    let held: &[RoleName] = match &subject.stands_for {
        StandsFor::User { roles, .. } => roles,
        StandsFor::Client(_) => &[],
    };
    if !wanted.roles.iter().all(|role| held.contains(role)) {
        return Err(Denied::Role);
    }
    Ok(())
}

/// What is told of the caller, in the order of [`TOLD`]: the subject of their tokens, the name of a user, their roles with
/// commas, the scope with spaces. All of it is visible ASCII; of a name, whatever is not, and `%`, is percent-encoded.
pub fn told(subject: &SubjectToken) -> [String; 4] {
    let scope = subject.scope.to_string();
    match &subject.stands_for {
        StandsFor::Client(id) => [id.to_string(), String::new(), String::new(), scope],
        StandsFor::User { id, username, roles, .. } => {
            let roles: Vec<&str> = roles.iter().map(RoleName::as_str).collect();
            [id.to_string(), visible(username), roles.join(","), scope]
        }
    }
}

/// RFC 9110 §5.5: whatever else is in a header value is read in many ways, or ends it.
fn visible(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'%' => encoded.push_str("%25"),
            byte if byte.is_ascii_graphic() => encoded.push(char::from(byte)),
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::UserId;
    use crate::model::status::StatusIndex;
    use crate::model::time::Timestamp;

    fn scope(text: &str) -> Scope {
        text.parse().expect("a scope")
    }

    fn alice(aud: &[&str]) -> SubjectToken {
        SubjectToken {
            issued_to: "app".parse().expect("an id"),
            audience: aud.iter().map(|uri| (*uri).into()).collect(),
            scope: scope("read write"),
            stands_for: StandsFor::User {
                id: UserId::from_bytes([1; 16]),
                username: "j\u{fc}rgen%\r\nX-Auth-User: root".into(),
                roles: vec!["clerk".parse().expect("a role"), "admin".parse().expect("a role")],
                auth_time: None,
            },
            jkt: None,
            actor: None,
            expires_at: Timestamp::from_secs(9),
            status_index: StatusIndex::new(0).expect("there"),
            actor_indexes: Vec::new(),
        }
    }

    #[test]
    fn a_query_asks_for_what_it_says_or_is_refused() {
        let wanted = |scope: &str, roles: &[&str], audience: Option<&str>| {
            Ok(Wanted {
                scope: scope.parse().expect("a scope"),
                roles: roles.iter().map(|role| role.parse().expect("a role")).collect(),
                audience: audience.map(|uri| uri.parse().expect("a URI")),
            })
        };
        for (query, expected) in [
            ("", wanted("", &[], None)),
            ("scope=b+a&role=x%20y&audience=urn%3Aa", wanted("a b", &["x", "y"], Some("urn:a"))),
            // Envoy: whatever the caller asked for comes after it.
            ("scope=a&request=/x?scope=b&audience=urn:evil&%zz", wanted("a", &[], None)),
            ("request=/x&scope=a", wanted("", &[], None)),
            ("scopes=a", Err(InvalidQuery::Unknown)),
            ("Scope=a", Err(InvalidQuery::Unknown)),
            ("scope=a&scope=b", Err(InvalidQuery::Form)),
            ("role=a&role=", Err(InvalidQuery::Form)),
            ("scope=%zz", Err(InvalidQuery::Form)),
            ("scope=a%22%0d%0aX-Auth-User:+root", Err(InvalidQuery::Scope)),
            ("role=a,b", Err(InvalidQuery::Role)),
            ("role=a++b", Err(InvalidQuery::Role)),
            ("audience=nowhere", Err(InvalidQuery::Audience)),
            ("audience=urn:a&audience=urn:b", Err(InvalidQuery::Audience)),
            ("scope=", Err(InvalidQuery::Empty)),
            ("role=", Err(InvalidQuery::Empty)),
            ("audience=", Err(InvalidQuery::Empty)),
            ("role", Err(InvalidQuery::Empty)),
            ("scope=a&role=&audience=urn:a", Err(InvalidQuery::Empty)),
            ("audience=urn:a&audience=", Err(InvalidQuery::Empty)),
            ("scope=a&role=&request=/x?role=y", Err(InvalidQuery::Empty)),
        ] {
            assert_eq!(Wanted::parse(query), expected, "{query}");
        }
    }

    #[test]
    fn there_is_one_credential_or_none() {
        let read = |authorization: &[&str], keys: &[&str]| {
            let authorization: Vec<&[u8]> = authorization.iter().map(|line| line.as_bytes()).collect();
            let keys: Vec<&[u8]> = keys.iter().map(|line| line.as_bytes()).collect();
            Credential::read(&authorization, &keys)
        };
        let plain = |text: &str| PlainSecret::new(text.into());
        for (authorization, keys, expected) in [
            (&["Bearer t"][..], &[][..], Ok(Credential::Bearer(plain("t")))),
            (&["Bearer t"], &[""], Ok(Credential::Bearer(plain("t")))),
            (&[], &[" k "], Ok(Credential::ApiKey(plain("k")))),
            (&["Basic eDp5"], &["k"], Ok(Credential::ApiKey(plain("k")))),
            (&[], &[], Err(Denied::Missing)),
            (&["Basic eDp5"], &[], Err(Denied::Missing)),
            (&["Bearer t"], &["k"], Err(Denied::Several)),
            (&["Bearer t", "Bearer t"], &[], Err(Denied::Several)),
            (&["Basic x", "Basic y"], &["k"], Err(Denied::Several)),
            (&[], &["k", "k"], Err(Denied::Several)),
            (&["DPoP t"], &[], Err(Denied::Bound)),
            (&["DPoP t"], &["k"], Err(Denied::Bound)),
        ] {
            assert_eq!(read(authorization, keys), expected, "{authorization:?} {keys:?}");
        }
    }

    #[test]
    fn what_is_asked_for_must_hold() {
        let bound = SubjectToken { jkt: Some("k".into()), ..alice(&["urn:a"]) };
        let client = SubjectToken {
            stands_for: StandsFor::Client("app".parse().expect("an id")),
            ..alice(&["urn:a"])
        };
        for (query, subject, expected) in [
            ("audience=urn:a", alice(&["urn:b", "urn:a"]), Ok(())),
            ("audience=urn:a/", alice(&["urn:a"]), Err(Denied::Audience)),
            // Where none is named, the default is meant, and not whatever there is.
            ("", alice(&["urn:a"]), Err(Denied::Audience)),
            ("", alice(&["urn:default"]), Ok(())),
            ("audience=urn:a&scope=read+write&role=admin+clerk", alice(&["urn:a"]), Ok(())),
            ("audience=urn:a&scope=read+pay", alice(&["urn:a"]), Err(Denied::Scope(scope("pay read")))),
            ("audience=urn:a&role=admin+boss", alice(&["urn:a"]), Err(Denied::Role)),
            ("audience=urn:a&role=admin", client.clone(), Err(Denied::Role)),
            ("audience=urn:a&scope=read", client, Ok(())),
            ("audience=urn:a", bound, Err(Denied::Bound)),
        ] {
            let wanted = Wanted::parse(query).expect("a query");

            assert_eq!(check(&wanted, &subject, "urn:default"), expected, "{query}");
        }
    }

    #[test]
    fn what_is_told_is_visible_ascii_whatever_the_name() {
        let told = told(&alice(&["urn:a"]));

        assert_eq!(told[1], "j%C3%BCrgen%25%0D%0AX-Auth-User:%20root");
        assert_eq!((told[2].as_str(), told[3].as_str()), ("clerk,admin", "read write"));
        assert!(told.concat().bytes().all(|byte| (0x20..0x7f).contains(&byte)));
    }

    #[test]
    fn a_refusal_is_401_or_403_unless_the_proxy_or_the_server_is_wrong() {
        let wanted = scope("read write");
        for (denied, status, challenge) in [
            (Denied::Missing, 401, Some(r#"Bearer realm="r""#)),
            (
                Denied::Scope(wanted),
                403,
                Some(
                    r#"Bearer realm="r", error="insufficient_scope", error_description="The scope of the access token or API key is not enough.", scope="read write""#,
                ),
            ),
            (Denied::Several, 401, None),
            (Denied::Bound, 401, None),
            (Denied::Token(String::new()), 401, None),
            (Denied::ApiKey(ApiKeyFailure::Scope), 403, None),
            (Denied::Role, 403, None),
        ] {
            assert_eq!(denied.answer().1, status, "{denied:?}");
            let challenged = denied.challenge("r").expect("a challenge");
            assert!(challenge.is_none_or(|challenge| challenge == challenged), "{challenged}");
        }
        for denied in [Denied::Query(InvalidQuery::Form), ApiKeyFailure::Unsettled.into()] {
            assert_eq!(denied.challenge("r"), None);
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_a_caller_appends_changes_nothing_and_no_refusal_breaks_a_header(
            query in "[a-z=&%+ ]{0,40}|(scope|role|audience)=[!-~]{0,30}(&(scope|role|audience)=[!-~]{0,30})?",
            appended in ".{0,60}",
            lines in proptest::collection::vec(".{0,40}|(?i)(bearer|dpop|basic) .{0,40}", 0..3),
        ) {
            let alone = Wanted::parse(&query);
            if !query.contains("request=") {
                let smuggled = format!("{query}&request={appended}");
                proptest::prop_assert_eq!(Wanted::parse(&smuggled), alone.clone());
            }
            let lines: Vec<&[u8]> = lines.iter().map(String::as_bytes).collect();
            let mut refusals: Vec<Denied> = alone.clone().err().map(Denied::from).into_iter().collect();
            refusals.extend(Credential::read(&lines, &[]).err());
            refusals.extend(alone.map(|wanted| Denied::Scope(wanted.scope)).ok());
            for denied in refusals {
                proptest::prop_assert!(denied.answer().1 < 500);
                let challenge = denied.challenge("r").unwrap_or_default();
                proptest::prop_assert!(challenge.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{challenge}");
            }
        }
    }
}
