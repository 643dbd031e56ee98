//! Token introspection: who may learn of a token, and what. RFC 7662 and, signed, RFC 9701.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::model::client::Client;
use crate::model::id::ClientId;
use crate::model::session::Family;
use crate::model::time::Timestamp;
use crate::model::user::Username;

/// The `typ` of a signed answer, RFC 9701 §5: nothing that takes access tokens takes it for one.
pub const SIGNED_TYP: &str = "token-introspection+jwt";

/// The media type of a signed answer, RFC 9701 §5.
pub const SIGNED_MEDIA_TYPE: &str = "application/token-introspection+jwt";

/// RFC 7662 §2.2: of a token that is not active, or that is none of the caller's business, nothing is said but this.
pub const INACTIVE: &str = r#"{"active":false}"#;

/// Whether `caller` may learn of an access token: it was issued to it, or is for a resource server that it runs.
pub fn may_learn_of(caller: &Client, issued_to: &ClientId, audience: &[Box<str>]) -> bool {
    let serves = |aud: &str| caller.registration.resource_servers.iter().any(|uri| uri.as_str() == aud);
    caller.id == *issued_to || audience.iter().any(|aud| serves(aud))
}

/// The members of RFC 7662 §2.2 for an access token whose claims hold: its own words, and none that the RFCs do not
/// name. RFC 9068 §2.2.1 and §2.2.3 add `auth_time` and `roles`, RFC 9449 §6.2 `cnf`,
/// RFC 8693 §4.1 `act`.
pub fn active_access_token(claims: &Map<String, Value>) -> String {
    #[derive(Serialize)]
    struct Members<'a> {
        active: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        scope: Option<&'a Value>,
        client_id: Option<&'a Value>,
        #[serde(skip_serializing_if = "Option::is_none")]
        username: Option<&'a Value>,
        token_type: &'static str,
        exp: Option<&'a Value>,
        iat: Option<&'a Value>,
        #[serde(skip_serializing_if = "Option::is_none")]
        nbf: Option<&'a Value>,
        sub: Option<&'a Value>,
        aud: Option<&'a Value>,
        iss: Option<&'a Value>,
        jti: Option<&'a Value>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cnf: Option<&'a Value>,
        #[serde(skip_serializing_if = "Option::is_none")]
        auth_time: Option<&'a Value>,
        #[serde(skip_serializing_if = "Option::is_none")]
        roles: Option<&'a Value>,
        #[serde(skip_serializing_if = "Option::is_none")]
        act: Option<&'a Value>,
    }
    let claim = |name: &str| claims.get(name);
    let members = Members {
        active: true,
        scope: claim("scope"),
        client_id: claim("client_id"),
        username: claim("preferred_username"),
        // RFC 9449 §6.2: a token that is bound to a key says so here as it did at the token endpoint.
        token_type: if claims.contains_key("cnf") { "DPoP" } else { "Bearer" },
        exp: claim("exp"),
        iat: claim("iat"),
        nbf: claim("nbf"),
        sub: claim("sub"),
        aud: claim("aud"),
        iss: claim("iss"),
        jti: claim("jti"),
        cnf: claim("cnf"),
        auth_time: claim("auth_time"),
        roles: claim("roles"),
        act: claim("act"),
    };
    serde_json::to_string(&members).expect("JSON always serializes")
}

/// The same for the live refresh token of a family, which ends at `expires_at` if nobody uses it. It has no
/// `token_type`, which RFC 6749 §7.1 defines for access tokens, and no audience: it is for this server alone.
pub fn active_refresh_token(
    issuer: &str,
    family: &Family,
    username: &Username,
    expires_at: Timestamp,
) -> String {
    #[derive(Serialize)]
    struct Members<'a> {
        active: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        scope: Option<String>,
        client_id: &'a str,
        username: &'a str,
        exp: i64,
        iat: i64,
        sub: String,
        iss: &'a str,
        auth_time: i64,
    }
    let members = Members {
        active: true,
        scope: (!family.granted.is_empty()).then(|| family.granted.to_string()),
        client_id: family.client_id.as_str(),
        username: username.as_str(),
        exp: expires_at.as_secs(),
        iat: family.rotated_at.as_secs(),
        sub: family.user_id.to_string(),
        iss: issuer,
        auth_time: family.auth_time.as_secs(),
    };
    serde_json::to_string(&members).expect("strings and numbers always serialize")
}

/// The claims of a signed answer, RFC 9701 §5. `exp` and `sub` are left out, as the RFC asks, so that it can never be
/// taken for an access token.
#[derive(Debug, Serialize)]
pub struct SignedAnswer<'a> {
    iss: &'a str,
    aud: &'a str,
    iat: i64,
    token_introspection: Value,
}

impl<'a> SignedAnswer<'a> {
    /// What is signed for `caller` in place of `answer`.
    pub fn new(issuer: &'a str, caller: &'a ClientId, now: Timestamp, answer: &str) -> Self {
        Self {
            iss: issuer,
            aud: caller.as_str(),
            iat: now.as_secs(),
            token_introspection: serde_json::from_str(answer).expect("answers are made as JSON here"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::client::Registration;
    use crate::model::status::StatusIndex;

    fn client(id: &str, resource_servers: &[&str]) -> Client {
        let resource_servers = resource_servers.iter().map(|uri| uri.parse().expect("a URI")).collect();
        Client {
            id: id.parse().expect("an id"),
            registration: Registration { resource_servers, ..Registration::default() },
            secrets: Vec::new(),
            disabled_at: None,
            created_at: Timestamp::from_secs(0),
            status_index: StatusIndex::new(0).expect("there"),
        }
    }

    #[test]
    fn a_token_is_known_to_its_client_and_to_those_who_serve_one_of_its_audiences() {
        let audience = ["https://a.example".into(), "urn:b".into()];
        for (id, serves, knows) in [
            ("app", &[][..], true),
            ("api", &["https://a.example"], true),
            ("api", &["urn:c", "urn:b"], true),
            ("api", &["urn:c"], false),
            // RFC 9068 §4 compares audiences as they are written.
            ("api", &["https://a.example/"], false),
            ("api", &[], false),
        ] {
            let issued_to = "app".parse().expect("an id");

            assert_eq!(may_learn_of(&client(id, serves), &issued_to, &audience), knows, "{id} {serves:?}");
        }
    }

    #[test]
    fn the_answer_has_the_members_of_the_rfcs_and_no_other_claim() {
        let claims = json!({
            "iss": "i", "sub": "s", "aud": ["a", "b"], "exp": 2, "iat": 1, "jti": "j", "client_id": "c",
            "scope": "x", "auth_time": 1, "preferred_username": "alice", "roles": ["r"], "status": {"x": 1},
        });
        let claims = claims.as_object().expect("an object");

        assert_eq!(
            active_access_token(claims),
            r#"{"active":true,"scope":"x","client_id":"c","username":"alice","token_type":"Bearer","exp":2,"iat":1,"sub":"s","aud":["a","b"],"iss":"i","jti":"j","auth_time":1,"roles":["r"]}"#
        );
        let mut bound = claims.clone();
        bound.insert("cnf".into(), json!({"jkt": "k"}));
        bound.insert("act".into(), json!({"sub": "api"}));
        let bound: Value = serde_json::from_str(&active_access_token(&bound)).expect("json");
        assert_eq!((&bound["token_type"], &bound["cnf"]), (&json!("DPoP"), &json!({"jkt": "k"})));
        assert_eq!(bound["act"], json!({"sub": "api"}));
    }

    #[test]
    fn a_signed_answer_is_for_its_caller_and_has_nothing_that_an_access_token_needs() {
        let caller = "api".parse().expect("an id");

        let signed = SignedAnswer::new("i", &caller, Timestamp::from_secs(7), INACTIVE);

        assert_eq!(
            serde_json::to_string(&signed).expect("json"),
            r#"{"iss":"i","aud":"api","iat":7,"token_introspection":{"active":false}}"#
        );
    }
}
