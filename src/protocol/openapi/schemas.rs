//! The bodies of requests and answers as JSON Schema (2020-12, as OpenAPI 3.1 §4.4 has it).

use serde_json::{Value, json};

use super::parts::{InOrder, Node};
use super::{Facts, tokens};
use crate::model::client::GrantType;
use crate::protocol::token_request::TokenKind;
use crate::protocol::token_response::TokenType;

pub(super) fn schemas(facts: &Facts<'_>) -> InOrder {
    InOrder::of([
        ("TokenRequest", tokens::token_request(facts)),
        (
            "TokenResponse",
            object(&["access_token", "token_type", "expires_in", "scope"], token_response(facts)),
        ),
        ("GivenToken", tokens::given_token(facts)),
        ("Introspection", object(&["active"], introspection())),
        (
            "TokenInForm",
            object(&[], vec![("access_token", text("The token, where no header has it (RFC 6750 §2.2)."))]),
        ),
        ("User", object(&["sub", "preferred_username"], user())),
        (
            "Error",
            object(
                &["error", "error_description"],
                vec![
                    ("error", text("A code for programs (RFC 6749 §5.2).")),
                    ("error_description", text("A sentence for developers.")),
                ],
            ),
        ),
        ("Jwks", object(&["keys"], vec![("keys", json!({"type": "array", "items": jwk()}))])),
        ("Metadata", metadata(facts)),
        (
            "StatusLists",
            object(
                &["status_lists"],
                vec![(
                    "status_lists",
                    json!({
                        "type": "array", "items": {"type": "string", "format": "uri"},
                    }),
                )],
            ),
        ),
        (
            "Health",
            object(
                &["status"],
                vec![
                    ("status", json!({"type": "string", "enum": ["ok", "unavailable"]})),
                    (
                        "checks",
                        json!({
                            "type": "object",
                            "additionalProperties": {"type": "string", "enum": ["ok", "failed"]},
                            "examples": [{"database": "ok", "keys": "ok"}],
                        }),
                    ),
                ],
            ),
        ),
    ])
}

fn object(required: &[&str], properties: Vec<(&str, Value)>) -> Node {
    Node::Ordered(members(required, properties))
}

fn members(required: &[&str], properties: Vec<(&str, Value)>) -> InOrder {
    let properties = properties.into_iter().map(|(name, schema)| (name, Node::Plain(schema)));
    let mut members = vec![("type", Node::Plain("object".into()))];
    if !required.is_empty() {
        members.push(("required", Node::Plain(json!(required))));
    }
    members.push(("properties", Node::Ordered(InOrder::of(properties))));
    InOrder::of(members)
}

fn text(description: &str) -> Value {
    json!({"type": "string", "description": description})
}

fn time(description: &str) -> Value {
    json!({"type": "integer", "description": format!("{description}, in seconds since 1970 (RFC 7519 §2).")})
}

fn texts(description: &str) -> Value {
    json!({"type": "array", "items": {"type": "string"}, "description": description})
}

fn token_response(facts: &Facts<'_>) -> Vec<(&'static str, Value)> {
    let mut members = vec![
        ("access_token", text("A signed JWT (RFC 9068).")),
        (
            "token_type",
            json!({"type": "string", "enum": [TokenType::Bearer.as_str(), TokenType::Dpop.as_str()]}),
        ),
        ("expires_in", json!({"type": "integer", "minimum": 1, "description": "How many seconds it lives."})),
    ];
    if facts.offers(GrantType::RefreshToken) {
        members.push((
            "refresh_token",
            text(
                "For the next access token; only where the client is registered for it and a user logged in.",
            ),
        ));
    }
    members.push(("scope", text("What was granted; it may be less than was asked for.")));
    if facts.offers(GrantType::TokenExchange) {
        let kinds = TokenKind::ALL.map(TokenKind::as_str);
        members.push((
            "issued_token_type",
            json!({"type": "string", "enum": kinds, "description": "RFC 8693 §2.2.1."}),
        ));
    }
    members
}

fn introspection() -> Vec<(&'static str, Value)> {
    vec![
        (
            "active",
            json!({"type": "boolean", "description": "Whether it is good now. If not, nothing else is said."}),
        ),
        ("scope", text("Names separated by spaces.")),
        ("client_id", text("Who it was issued to.")),
        ("username", text("The name of the user.")),
        (
            "token_type",
            json!({"type": "string", "enum": [TokenType::Bearer.as_str(), TokenType::Dpop.as_str()]}),
        ),
        ("exp", time("When it ends")),
        ("iat", time("When it was issued")),
        ("nbf", time("From when on it is good")),
        ("sub", text("The id of the user, or of the client where it stands for itself.")),
        (
            "aud",
            json!({"type": ["string", "array"], "items": {"type": "string"}, "description": "What it is for."}),
        ),
        ("iss", text("This server.")),
        ("jti", text("The id of the token.")),
        ("cnf", json!({"type": "object", "description": "The key that it is bound to (RFC 9449 §6)."})),
        ("auth_time", time("When the user logged in")),
        ("roles", texts("The roles of the user.")),
        ("act", json!({"type": "object", "description": "Who acts for the user (RFC 8693 §4.1)."})),
    ]
}

fn user() -> Vec<(&'static str, Value)> {
    vec![
        ("sub", text("The id, which never changes.")),
        ("preferred_username", text("The name that the user logs in with.")),
        ("name", text("The full name, where there is one.")),
        ("email", text("The e-mail address, where there is one.")),
        ("roles", texts("The roles, unless there are none.")),
    ]
}

/// RFC 7517 §4, with the members of each kind of key (RFC 7518 §6, RFC 8037 §2).
fn jwk() -> Value {
    json!({
        "type": "object",
        "required": ["kty", "use", "alg", "kid"],
        "properties": {
            "kty": {"type": "string", "enum": ["EC", "RSA", "OKP"]},
            "use": {"type": "string", "const": "sig"},
            "alg": {"type": "string"},
            "kid": {"type": "string", "description": "What tokens call it."},
            "crv": {"type": "string"},
            "x": {"type": "string"},
            "y": {"type": "string"},
            "n": {"type": "string"},
            "e": {"type": "string"},
        },
    })
}

/// The members that this server's document has, and the document itself as the example.
fn metadata(facts: &Facts<'_>) -> Node {
    let members: Vec<(&str, Value)> = facts
        .metadata
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| {
            let schema = match value {
                Value::Array(_) => json!({"type": "array", "items": {"type": "string"}}),
                _ => json!({"type": "string", "format": "uri"}),
            };
            (name.as_str(), schema)
        })
        .collect();
    let InOrder(mut schema) = self::members(&["issuer", "response_types_supported"], members);
    schema.push(("examples".into(), Node::Plain(json!([facts.metadata]))));
    Node::Ordered(InOrder(schema))
}
