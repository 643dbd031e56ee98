//! What the server says about itself: RFC 8414 §2. Says what is on, and nothing else.

use serde::Serialize;

use crate::model::client::{AuthMethod, GrantType};
use crate::model::jwk::PROOF_ALGORITHMS;

/// The authorization server metadata document.
#[derive(Debug, Serialize)]
pub struct Metadata {
    issuer: String,
    token_endpoint: String,
    jwks_uri: String,
    // RFC 8414 §2: REQUIRED; empty while there is no authorization endpoint.
    response_types_supported: [&'static str; 0],
    grant_types_supported: Vec<&'static str>,
    token_endpoint_auth_methods_supported: Vec<&'static str>,
    token_endpoint_auth_signing_alg_values_supported: Vec<&'static str>,
    dpop_signing_alg_values_supported: Vec<&'static str>,
    // draft-ietf-oauth-status-list §9.1.
    status_list_aggregation_endpoint: String,
}

impl Metadata {
    /// The document of the server at `issuer`.
    pub fn new(issuer: &str) -> Self {
        Self {
            issuer: issuer.to_owned(),
            token_endpoint: format!("{issuer}/token"),
            jwks_uri: format!("{issuer}/.well-known/jwks.json"),
            response_types_supported: [],
            grant_types_supported: GrantType::ALL.map(GrantType::as_str).to_vec(),
            token_endpoint_auth_methods_supported: AuthMethod::ALL.map(AuthMethod::as_str).to_vec(),
            token_endpoint_auth_signing_alg_values_supported: PROOF_ALGORITHMS.map(|(name, _)| name).to_vec(),
            dpop_signing_alg_values_supported: PROOF_ALGORITHMS.map(|(name, _)| name).to_vec(),
            status_list_aggregation_endpoint: format!("{issuer}/status"),
        }
    }

    /// The JSON document.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("strings always serialize")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_says_what_is_on_and_nothing_else() {
        insta::assert_snapshot!(Metadata::new("https://auth.example.com/id").to_json(), @r#"{"issuer":"https://auth.example.com/id","token_endpoint":"https://auth.example.com/id/token","jwks_uri":"https://auth.example.com/id/.well-known/jwks.json","response_types_supported":[],"grant_types_supported":["client_credentials","password","refresh_token"],"token_endpoint_auth_methods_supported":["client_secret_basic","client_secret_post","private_key_jwt","none"],"token_endpoint_auth_signing_alg_values_supported":["ES256","RS256","PS256","EdDSA","Ed25519"],"dpop_signing_alg_values_supported":["ES256","RS256","PS256","EdDSA","Ed25519"],"status_list_aggregation_endpoint":"https://auth.example.com/id/status"}"#);
    }
}
