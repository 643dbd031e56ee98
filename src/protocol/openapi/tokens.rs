//! The endpoints of clients: `/token`, `/introspect`, `/revoke`.

use serde_json::{Map, Value, json};

use crate::model::client::GrantType;
use crate::protocol::client_assertion::ASSERTION_TYPE;
use crate::protocol::dpop::InvalidProof;
use crate::protocol::error::{ClientAuthFailure, GrantFailure, SubjectTokenFailure, TokenError};
use crate::protocol::introspection::SIGNED_MEDIA_TYPE;
use crate::protocol::params::InvalidForm;
use crate::protocol::token_request::{API_KEY_TYPE, TokenKind};
use crate::protocol::user_address;

use super::parts::{Answers, InOrder, Node, dpop_proof, form, schema};
use super::{Endpoint, Facts};

/// HTTP Basic, or, in the words of OpenAPI 3.1 §4.8.10, nothing: then the form says who the client is.
fn client_authentication(facts: &Facts<'_>, endpoint: &str) -> Value {
    match facts.names(&format!("{endpoint}_auth_methods_supported")).contains(&"client_secret_basic") {
        true => json!([{"basic": []}, {}]),
        false => json!([{}]),
    }
}

pub(super) fn token(facts: &Facts<'_>) -> Option<Endpoint> {
    let path = facts.path_of(facts.text("token_endpoint")?);
    let mut errors = form_errors();
    errors.extend([
        TokenError::Missing("grant_type"),
        TokenError::UnsupportedGrantType,
        TokenError::TwoAuthorizationHeaders,
        TokenError::TwoMethods,
        TokenError::UserAddress,
        unknown_client(),
        TokenError::MalformedScope,
        TokenError::ScopeNotAllowed,
        TokenError::NothingGranted,
        TokenError::Target,
        TokenError::Dpop(InvalidProof::Nonce),
        TokenError::Dpop(InvalidProof::Missing),
        TokenError::Unavailable(String::new()),
        TokenError::Internal(String::new()),
    ]);
    let mut examples = Map::new();
    for grant in facts.grants() {
        let Description { summary, example, errors: more, .. } = describe(grant);
        examples.insert(grant.as_str().to_owned(), json!({"summary": summary, "value": example}));
        errors.extend(more);
        errors.push(TokenError::UnauthorizedClient(grant));
    }
    let mut once = Vec::new();
    errors.retain(|error| {
        let new = !once.contains(&error.answer());
        once.push(error.answer());
        new
    });
    let answers = Answers::default().with(
        200,
        "The token. No cache keeps it.",
        "application/json",
        schema("TokenResponse"),
    );
    let answers = [200, 400]
        .into_iter()
        .fold(answers.refusals(&errors), |answers, status| answers.header(status, "DPoP-Nonce"));
    let address = json!({
        "name": user_address::HEADER,
        "in": "header",
        "description": "Where the user is, from clients that are trusted to say so: failed logins are then counted for this address.",
        "schema": {"type": "string"},
        "example": "203.0.113.7",
    });
    Some((
        path.into(),
        json!({"post": {
            "operationId": "token",
            "tags": ["Tokens"],
            "summary": "Get a token",
            "description": "RFC 6749 §3.2. Unknown parameters are passed over, empty ones count as left out, and repeated ones are refused (but `resource` and `audience`).",
            "security": client_authentication(facts, "token_endpoint"),
            "parameters": [dpop_proof(&facts.names("dpop_signing_alg_values_supported")), address],
            "requestBody": form("TokenRequest", Value::Object(examples)),
            "responses": answers.into_value(),
        }}),
    ))
}

pub(super) fn introspection(facts: &Facts<'_>) -> Option<Endpoint> {
    let path = facts.path_of(facts.text("introspection_endpoint")?);
    let content = json!({
        "application/json": {"schema": schema("Introspection")},
        SIGNED_MEDIA_TYPE: {"schema": {"type": "string", "description": "The same, signed (RFC 9701)."}},
    });
    let errors = of_given_tokens([]);
    Some((
        path.into(),
        json!({"post": {
            "operationId": "introspect",
            "tags": ["Tokens"],
            "summary": "Ask whether a token is good now",
            "description": "RFC 7662. Answers the client that the token was issued to, and clients that are registered as resource server for its audience; all others hear of every token that it is not active. A client without a secret may not ask.",
            "security": client_authentication(facts, "introspection_endpoint"),
            "requestBody": form("GivenToken", Value::Null),
            "responses": Answers::default().put(200, "What the token is worth.", content).refusals(&errors).into_value(),
        }}),
    ))
}

pub(super) fn revocation(facts: &Facts<'_>) -> Option<Endpoint> {
    let path = facts.path_of(facts.text("revocation_endpoint")?);
    let mut own = vec![TokenError::OtherClientsToken, TokenError::ApiKeyGivenBack];
    if facts.offers(GrantType::TokenExchange) {
        own.push(TokenError::ExchangedToken);
    }
    let errors = of_given_tokens(own);
    let done = Answers::default().with(
        200,
        "The token is good no more, or was none. It is not said which (RFC 7009 §2.2).",
        "application/json",
        json!({"type": "object", "maxProperties": 0}),
    );
    Some((
        path.into(),
        json!({"post": {
            "operationId": "revoke",
            "tags": ["Tokens"],
            "summary": "End a token and its session",
            "description": "RFC 7009. Either token of a session ends it with all of its tokens. Another client's token is refused.",
            "security": client_authentication(facts, "revocation_endpoint"),
            "requestBody": form("GivenToken", Value::Null),
            "responses": done.refusals(&errors).into_value(),
        }}),
    ))
}

/// What can be wrong where a client hands in a token.
fn of_given_tokens(own: impl IntoIterator<Item = TokenError>) -> Vec<TokenError> {
    let mut errors = form_errors();
    errors.extend([
        TokenError::Missing("token"),
        TokenError::TwoAuthorizationHeaders,
        TokenError::TwoMethods,
        unknown_client(),
    ]);
    errors.extend(own);
    errors.extend([TokenError::Unavailable(String::new()), TokenError::Internal(String::new())]);
    errors
}

/// What can be wrong with the form itself.
pub(super) fn form_errors() -> Vec<TokenError> {
    vec![
        TokenError::Form(InvalidForm::Repeated),
        TokenError::Form(InvalidForm::PercentEncoding),
        TokenError::Form(InvalidForm::Utf8),
        TokenError::Form(InvalidForm::Nul),
        TokenError::ContentType,
        TokenError::BodyBroken,
        TokenError::ContentEncoding,
        TokenError::TooLarge,
        TokenError::BodyTimeout,
    ]
}

fn unknown_client() -> TokenError {
    TokenError::Client { cause: ClientAuthFailure::Unknown, header_used: true }
}

/// What there is to say of one grant.
struct Description {
    summary: &'static str,
    /// Its own parameters, and whether each must be there.
    parameters: Vec<(&'static str, bool, Value)>,
    example: Value,
    errors: Vec<TokenError>,
}

fn describe(grant: GrantType) -> Description {
    let name = grant.as_str();
    match grant {
        GrantType::ClientCredentials => Description {
            summary: "A client for itself (RFC 6749 §4.4)",
            parameters: Vec::new(),
            example: json!({"grant_type": name, "scope": "notes:read"}),
            errors: Vec::new(),
        },
        GrantType::Password => Description {
            summary: "A user logs in (RFC 6749 §4.3)",
            parameters: vec![
                ("username", true, json!({"type": "string", "description": "Who logs in."})),
                ("password", true, json!({"type": "string", "format": "password"})),
            ],
            example: json!({"grant_type": name, "username": "alice", "password": "correct horse battery staple"}),
            errors: vec![
                TokenError::Grant(GrantFailure::Credentials),
                TokenError::Missing("username"),
                TokenError::Missing("password"),
                TokenError::Throttled { retry_after: std::time::Duration::from_secs(1) },
                TokenError::Busy,
            ],
        },
        GrantType::RefreshToken => Description {
            summary: "The next token of a session (RFC 6749 §6)",
            parameters: vec![(
                "refresh_token",
                true,
                json!({"type": "string", "description": "The newest of the session. It is replaced by the one in the answer."}),
            )],
            example: json!({"grant_type": name, "refresh_token": "grt_…"}),
            errors: vec![TokenError::Grant(GrantFailure::UnknownToken), TokenError::Missing("refresh_token")],
        },
        GrantType::TokenExchange => {
            let kinds = TokenKind::ALL.map(TokenKind::as_str);
            let subjects: Vec<_> = kinds.into_iter().chain([API_KEY_TYPE]).collect();
            Description {
                summary: "A service swaps its caller's token for one to the next service (RFC 8693)",
                parameters: vec![
                    (
                        "subject_token",
                        true,
                        json!({"type": "string", "description": "The access token or API key that the service was called with."}),
                    ),
                    ("subject_token_type", true, json!({"type": "string", "enum": subjects})),
                    ("requested_token_type", false, json!({"type": "string", "enum": kinds})),
                    (
                        "audience",
                        false,
                        json!({"type": "array", "items": {"type": "string", "format": "uri"}, "description": "As `resource`."}),
                    ),
                ],
                example: json!({"grant_type": name, "subject_token": "eyJ…", "subject_token_type": kinds[0]}),
                errors: vec![
                    TokenError::SubjectToken(SubjectTokenFailure::NotForClient),
                    TokenError::Missing("subject_token"),
                    TokenError::Missing("subject_token_type"),
                    TokenError::SubjectTokenType,
                    TokenError::RequestedTokenType,
                    TokenError::ActorToken,
                    TokenError::TooManyActors,
                    TokenError::TargetMissing,
                    TokenError::ScopeBeyondSubject,
                ],
            }
        }
    }
}

/// The form of `/token`: what some grant asks for stands in it once, and which grant asks for it is said by `if`.
pub(super) fn token_request(facts: &Facts<'_>) -> Node {
    let grants = facts.grants();
    let names: Vec<&str> = grants.iter().map(|grant| grant.as_str()).collect();
    let mut properties = vec![("grant_type", json!({"type": "string", "enum": names}))];
    let mut conditions = Vec::new();
    for grant in grants {
        let parameters = describe(grant).parameters;
        let required: Vec<&str> =
            parameters.iter().filter(|(_, must, _)| *must).map(|(name, ..)| *name).collect();
        if !required.is_empty() {
            conditions.push(json!({
                "if": {"properties": {"grant_type": {"const": grant.as_str()}}},
                "then": {"required": required},
            }));
        }
        properties.extend(parameters.into_iter().map(|(name, _, schema)| (name, schema)));
    }
    properties.push((
        "scope",
        json!({
            "type": "string",
            "description": "Names separated by single spaces; all that there are if it is left out.",
        }),
    ));
    properties.push(("resource", json!({
        "type": "array",
        "items": {"type": "string", "format": "uri"},
        "description": "What the token is for, repeatable (RFC 8707); all that the client is registered for if it is left out.",
    })));
    let required = json!(["grant_type"]);
    form_schema(facts, "token_endpoint", properties, required, conditions)
}

/// The form of `/introspect` and `/revoke`.
pub(super) fn given_token(facts: &Facts<'_>) -> Node {
    let properties = vec![
        ("token", json!({"type": "string", "description": "An access token or a refresh token."})),
        (
            "token_type_hint",
            json!({
                "type": "string",
                "enum": ["access_token", "refresh_token"],
                "description": "Not needed: a token says itself what it is.",
            }),
        ),
    ];
    form_schema(facts, "revocation_endpoint", properties, json!(["token"]), Vec::new())
}

/// A form in which a client may also say who it is.
fn form_schema(
    facts: &Facts<'_>,
    endpoint: &str,
    mut properties: Vec<(&str, Value)>,
    required: Value,
    conditions: Vec<Value>,
) -> Node {
    let methods = facts.names(&format!("{endpoint}_auth_methods_supported"));
    if methods.iter().any(|method| matches!(*method, "client_secret_post" | "none")) {
        properties.push((
            "client_id",
            json!({"type": "string", "description": "The client, where HTTP Basic does not say it."}),
        ));
    }
    if methods.contains(&"client_secret_post") {
        properties.push((
            "client_secret",
            json!({"type": "string", "format": "password", "description": "Beside `client_id`."}),
        ));
    }
    if methods.contains(&"private_key_jwt") {
        let algorithms = facts.names(&format!("{endpoint}_auth_signing_alg_values_supported")).join(", ");
        properties.push(("client_assertion_type", json!({"type": "string", "enum": [ASSERTION_TYPE]})));
        properties.push(("client_assertion", json!({
            "type": "string",
            "description": format!("A JWT that the client signed (`private_key_jwt`, RFC 7523) with {algorithms}."),
        })));
    }
    let is_required =
        |name: &str| required.as_array().is_some_and(|names| names.iter().any(|known| known == name));
    let properties = properties.into_iter().map(|(name, schema)| {
        (name, Node::Plain(if is_required(name) { schema } else { may_be_empty(schema) }))
    });
    let mut schema = vec![
        ("type", Node::Plain("object".into())),
        ("required", Node::Plain(required.clone())),
        ("properties", Node::Ordered(InOrder::of(properties))),
    ];
    if !conditions.is_empty() {
        schema.push(("allOf", Node::Plain(conditions.into())));
    }
    Node::Ordered(InOrder::of(schema))
}

/// RFC 6749 §3.1: "Parameters sent without a value MUST be treated as if they were omitted from the request." What fills
/// in forms after this document needs to be told, or it makes up values.
fn may_be_empty(mut schema: Value) -> Value {
    if schema["type"] == "array" {
        schema["default"] = json!([]);
        return schema;
    }
    if let Some(values) = schema.get_mut("enum").and_then(Value::as_array_mut) {
        values.insert(0, "".into());
    }
    schema["default"] = "".into();
    schema
}
