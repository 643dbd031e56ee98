//! What stands behind people and pages: `/userinfo`, health, and the pages.

use serde_json::json;

use crate::protocol::bearer::BearerError;
use crate::protocol::dpop::{InvalidProof, Refused};
use crate::protocol::error::TokenError;

use super::parts::{Answers, dpop_proof, form, if_none_match, schema};
use super::tokens::form_errors;
use super::{Endpoint, Facts};

pub(super) fn userinfo(facts: &Facts<'_>) -> Option<Endpoint> {
    let path = facts.path_of(facts.text("userinfo_endpoint")?);
    let with_header = [
        BearerError::TwoWays,
        BearerError::Request(TokenError::TwoAuthorizationHeaders),
        BearerError::Invalid(String::new()),
        BearerError::Possession(Refused::Proof(InvalidProof::Missing)),
        BearerError::NoUser,
        BearerError::Request(TokenError::Unavailable(String::new())),
        BearerError::Request(TokenError::Internal(String::new())),
    ];
    let answers = |errors: &[BearerError]| {
        let told = Answers::default().with(
            200,
            "The user, as they are in the database now.",
            "application/json",
            schema("User"),
        );
        let answers = errors.iter().fold(told, |answers, error| {
            let (code, status, sentence) = error.answer();
            answers.refusal(status, code.unwrap_or_default(), sentence)
        });
        let answers = [400, 401, 403]
            .into_iter()
            .fold(answers, |answers, status| answers.header(status, "WWW-Authenticate"));
        let answers = answers.header(503, "Retry-After");
        [200, 401]
            .into_iter()
            .fold(answers, |answers, status| answers.header(status, "DPoP-Nonce"))
            .into_value()
    };
    let mut with_form = Vec::from(with_header.clone());
    with_form.extend(
        form_errors().into_iter().filter(|error| *error != TokenError::ContentType).map(BearerError::Request),
    );
    let description = "Takes any access token of a user that this server issued. With the scope `openid`, `name` and \
        `email` are told only under the scopes `profile` and `email` (OpenID Connect Core §5.4). Who sends no token \
        is answered 401 without a body.";
    let mut schemes = Vec::new();
    if facts.offers(crate::model::client::GrantType::Password) {
        schemes.push(json!({"password": []}));
    }
    schemes.push(json!({"bearer": []}));
    let proof = dpop_proof(&facts.names("dpop_signing_alg_values_supported"));
    let mut in_form = schemes.clone();
    in_form.push(json!({}));
    let mut body = form("TokenInForm", serde_json::Value::Null);
    body["required"] = false.into();
    Some((
        path.into(),
        json!({
            "get": {
                "operationId": "userinfo",
                "tags": ["Users"],
                "summary": "The user behind an access token",
                "description": description,
                "security": schemes,
                "parameters": [proof],
                "responses": answers(&with_header),
            },
            "post": {
                "operationId": "userinfoPost",
                "tags": ["Users"],
                "summary": "The same; the token may be in a form",
                "description": description,
                "security": in_form,
                "parameters": [proof],
                "requestBody": body,
                "responses": answers(&with_form),
            },
        }),
    ))
}

pub(super) fn health(facts: &Facts<'_>) -> [Endpoint; 2] {
    let live = Answers::default().with(200, "It does.", "application/json", schema("Health"));
    let ready = Answers::default().with(200, "It can.", "application/json", schema("Health")).with(
        503,
        "It cannot, or is about to stop.",
        "application/json",
        schema("Health"),
    );
    [
        (
            facts.below("/health/live"),
            json!({"get": {
                "operationId": "live",
                "tags": ["Server"],
                "summary": "Whether the process answers",
                "responses": live.into_value(),
            }}),
        ),
        (
            facts.below("/health/ready"),
            json!({"get": {
                "operationId": "ready",
                "tags": ["Server"],
                "summary": "Whether this instance can do its work",
                "responses": ready.into_value(),
            }}),
        ),
    ]
}

pub(super) fn pages(facts: &Facts<'_>) -> [Endpoint; 3] {
    let page = |description| {
        Answers::default().with(200, description, "text/html", json!({"type": "string"})).into_value()
    };
    let document = Answers::default().with(200, "It.", "application/json", json!({"type": "object"}));
    [
        (
            facts.below("/"),
            json!({"get": {
                "operationId": "home",
                "tags": ["Server"],
                "summary": "What this server is, for people",
                "responses": page("A page."),
            }}),
        ),
        (
            facts.below("/docs"),
            json!({"get": {
                "operationId": "docs",
                "tags": ["Server"],
                "summary": "This document, to try out",
                "responses": page("A page."),
            }}),
        ),
        (
            facts.below("/openapi.json"),
            json!({"get": {
                "operationId": "openapi",
                "tags": ["Server"],
                "summary": "This document",
                "parameters": [if_none_match()],
                "responses": document.kept().into_value(),
            }}),
        ),
    ]
}
