//! The answer to a token request that succeeds, RFC 6749 §5.1.

use serde::Serialize;

use crate::model::scope::Scope;
use crate::model::secret::PlainSecret;
use crate::model::time::Ttl;

/// The members of the answer.
pub struct TokenResponse {
    /// The signed access token.
    pub access_token: PlainSecret,
    /// How long it lives.
    pub expires_in: Ttl,
    /// The refresh token, if the grant comes with one.
    pub refresh_token: Option<PlainSecret>,
    /// What was granted; always written, because a client must not guess.
    pub scope: Scope,
}

#[derive(Serialize)]
struct Members<'a> {
    access_token: &'a str,
    token_type: &'static str,
    expires_in: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
    scope: String,
}

impl TokenResponse {
    /// The JSON document.
    pub fn to_json(&self) -> String {
        let members = Members {
            access_token: self.access_token.expose(),
            token_type: "Bearer",
            expires_in: self.expires_in.as_secs(),
            refresh_token: self.refresh_token.as_ref().map(PlainSecret::expose),
            scope: self.scope.to_string(),
        };
        serde_json::to_string(&members).expect("strings and a number always serialize")
    }
}
