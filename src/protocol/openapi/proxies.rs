//! What reverse proxies ask.

use serde_json::json;

use crate::model::client::GrantType;
use crate::model::scope::Scope;
use crate::protocol::api_key::ApiKeyFailure;
use crate::protocol::error::TokenError;
use crate::protocol::verify::{Denied, InvalidQuery};

use super::parts::Answers;
use super::{Endpoint, Facts};

pub(super) fn verify(facts: &Facts<'_>) -> Endpoint {
    let refused = [
        Denied::Query(InvalidQuery::Form),
        Denied::Query(InvalidQuery::Unknown),
        Denied::Query(InvalidQuery::Scope),
        Denied::Query(InvalidQuery::Role),
        Denied::Query(InvalidQuery::Audience),
        Denied::Query(InvalidQuery::Empty),
        Denied::Several,
        Denied::Bound,
        Denied::Audience,
        Denied::Scope(Scope::empty()),
        Denied::Role,
        Denied::ApiKey(ApiKeyFailure::Scope),
        Denied::ApiKey(ApiKeyFailure::Unsettled),
        Denied::Fault(TokenError::Unavailable(String::new())),
        Denied::Fault(TokenError::Internal(String::new())),
    ];
    let passes = Answers::default().empty(200, "The request may pass; the headers say who sends it.");
    let answers = ["X-Auth-User", "X-Auth-Username", "X-Auth-Roles", "X-Auth-Scope", "Authorization"]
        .into_iter()
        .fold(passes, |answers, name| answers.header(200, name));
    let answers = refused.iter().fold(answers, |answers, denied| {
        let (code, status, sentence) = denied.answer();
        answers.refusal(status, code.unwrap_or_default(), &sentence)
    });
    let answers =
        [401, 403].into_iter().fold(answers, |answers, status| answers.header(status, "WWW-Authenticate"));
    let wanted = |name: &str, description: &str| json!({"name": name, "in": "query", "description": description, "schema": {"type": "string"}});
    let mut schemes = vec![json!({"bearer": []}), json!({"apiKey": []})];
    if facts.offers(GrantType::Password) {
        schemes.insert(0, json!({"password": []}));
    }
    let item = json!({"get": {
        "operationId": "verify",
        "tags": ["Proxies"],
        "summary": "Whether a request may pass",
        "description": "For the forward authentication of nginx, Traefik, Caddy and Envoy, which send the headers of the \
            request that they have got; by whatever method. Exactly one credential is taken. Who sends none is answered 401 \
            without a body.",
        "security": schemes,
        "parameters": [
            wanted("scope", "What must be granted, all of it."),
            wanted("role", "What must be held, all of it."),
            wanted("audience", "Who the credential must be for; the server's default audience where it is left out."),
        ],
        "responses": answers.header(503, "Retry-After").into_value(),
    }});
    (facts.below("/verify"), item)
}
