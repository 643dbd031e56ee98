//! What the server says about itself: RFC 8414 §2. Says what is on, and nothing else.

use serde::Serialize;

use crate::model::client::{AuthMethod, GrantType};
use crate::model::jwk::PROOF_ALGORITHMS;
use crate::model::key::SigningAlgorithm;

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
    introspection_endpoint: String,
    introspection_endpoint_auth_methods_supported: Vec<&'static str>,
    introspection_endpoint_auth_signing_alg_values_supported: Vec<&'static str>,
    introspection_signing_alg_values_supported: Vec<&'static str>,
    revocation_endpoint: String,
    revocation_endpoint_auth_methods_supported: Vec<&'static str>,
    revocation_endpoint_auth_signing_alg_values_supported: Vec<&'static str>,
    userinfo_endpoint: String,
    // draft-ietf-oauth-status-list §9.1.
    status_list_aggregation_endpoint: String,
}

impl Metadata {
    /// The document of the server at `issuer`.
    pub fn new(issuer: &str) -> Self {
        let methods = AuthMethod::ALL.map(AuthMethod::as_str);
        // RFC 8414 §2: wanted wherever private_key_jwt is named.
        let proofs = PROOF_ALGORITHMS.map(|(name, _)| name).to_vec();
        // RFC 7662 §2.1: whoever introspects proves who they are.
        let proving = AuthMethod::ALL.into_iter().filter(|method| *method != AuthMethod::None);
        Self {
            issuer: issuer.to_owned(),
            token_endpoint: format!("{issuer}/token"),
            jwks_uri: format!("{issuer}/.well-known/jwks.json"),
            response_types_supported: [],
            grant_types_supported: GrantType::ALL.map(GrantType::as_str).to_vec(),
            token_endpoint_auth_methods_supported: methods.to_vec(),
            token_endpoint_auth_signing_alg_values_supported: proofs.clone(),
            dpop_signing_alg_values_supported: proofs.clone(),
            introspection_endpoint: format!("{issuer}/introspect"),
            introspection_endpoint_auth_methods_supported: proving.map(AuthMethod::as_str).collect(),
            introspection_endpoint_auth_signing_alg_values_supported: proofs.clone(),
            // RFC 9701 §7: each is what some client's answers may be signed with.
            introspection_signing_alg_values_supported: SigningAlgorithm::ALL
                .map(SigningAlgorithm::as_str)
                .to_vec(),
            revocation_endpoint: format!("{issuer}/revoke"),
            revocation_endpoint_auth_methods_supported: methods.to_vec(),
            revocation_endpoint_auth_signing_alg_values_supported: proofs,
            userinfo_endpoint: format!("{issuer}/userinfo"),
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
        insta::assert_snapshot!(Metadata::new("https://auth.example.com/id").to_json(), @r#"{"issuer":"https://auth.example.com/id","token_endpoint":"https://auth.example.com/id/token","jwks_uri":"https://auth.example.com/id/.well-known/jwks.json","response_types_supported":[],"grant_types_supported":["client_credentials","password","refresh_token","urn:ietf:params:oauth:grant-type:token-exchange"],"token_endpoint_auth_methods_supported":["client_secret_basic","client_secret_post","private_key_jwt","none"],"token_endpoint_auth_signing_alg_values_supported":["ES256","RS256","PS256","EdDSA","Ed25519"],"dpop_signing_alg_values_supported":["ES256","RS256","PS256","EdDSA","Ed25519"],"introspection_endpoint":"https://auth.example.com/id/introspect","introspection_endpoint_auth_methods_supported":["client_secret_basic","client_secret_post","private_key_jwt"],"introspection_endpoint_auth_signing_alg_values_supported":["ES256","RS256","PS256","EdDSA","Ed25519"],"introspection_signing_alg_values_supported":["ES256","RS256","PS256","EdDSA","ES384"],"revocation_endpoint":"https://auth.example.com/id/revoke","revocation_endpoint_auth_methods_supported":["client_secret_basic","client_secret_post","private_key_jwt","none"],"revocation_endpoint_auth_signing_alg_values_supported":["ES256","RS256","PS256","EdDSA","Ed25519"],"userinfo_endpoint":"https://auth.example.com/id/userinfo","status_list_aggregation_endpoint":"https://auth.example.com/id/status"}"#);
    }
}
