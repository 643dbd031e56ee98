//! What descriptions of endpoints are put together from. Must not know any endpoint.

use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use crate::protocol::error::TokenError;

/// An object whose members stay in the order in which they are written, which is the order that people see them in.
#[derive(Debug)]
pub(super) struct InOrder(pub(super) Vec<(String, Node)>);

/// A value of the document.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Node {
    Plain(Value),
    Ordered(InOrder),
}

impl InOrder {
    pub(super) fn of<'a>(members: impl IntoIterator<Item = (&'a str, Node)>) -> Self {
        Self(members.into_iter().map(|(name, node)| (name.to_owned(), node)).collect())
    }
}

impl Serialize for InOrder {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, node)| (name, node)))
    }
}

/// A reference to a schema.
pub(super) fn schema(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// Answers by status: a Responses Object.
#[derive(Debug, Default)]
pub(super) struct Answers(Map<String, Value>);

impl Answers {
    /// An answer with a body of this type.
    pub(super) fn with(self, status: u16, description: &str, media_type: &str, schema: Value) -> Self {
        self.put(status, description, json!({media_type: {"schema": schema}}))
    }

    /// An answer without a body.
    pub(super) fn empty(self, status: u16, description: &str) -> Self {
        self.put(status, description, Value::Null)
    }

    /// An answer whose body may be of several types.
    pub(super) fn put(mut self, status: u16, description: &str, content: Value) -> Self {
        let mut answer = json!({"description": description});
        if content.is_object() {
            answer["content"] = content;
        }
        self.0.insert(status.to_string(), answer);
        self
    }

    /// Adds a header to an answer.
    pub(super) fn header(mut self, status: u16, name: &str) -> Self {
        if let Some(answer) = self.0.get_mut(&status.to_string()) {
            answer["headers"][name] = header(name);
        }
        self
    }

    /// What can be kept and asked for again: RFC 9110 §13.1.2.
    pub(super) fn kept(self) -> Self {
        let answers = self.empty(304, "It has not changed since the entity tag in `If-None-Match`.");
        [200, 304]
            .into_iter()
            .fold(answers, |answers, status| answers.header(status, "ETag").header(status, "Cache-Control"))
    }

    /// The errors of an endpoint that refuses in the words of RFC 6749 §5.2: each under its status, with the very code
    /// and sentence that a client gets.
    pub(super) fn refusals<'a>(mut self, errors: impl IntoIterator<Item = &'a TokenError>) -> Self {
        for error in errors {
            let (code, status, sentence) = error.answer();
            self = self.refusal(status, code.as_str(), sentence);
            if error.retry_after().is_some() {
                self = self.header(status, "Retry-After");
            }
            if matches!(error, TokenError::Client { .. }) {
                self = self.header(status, "WWW-Authenticate");
            }
        }
        self
    }

    /// One error more under its status.
    pub(super) fn refusal(mut self, status: u16, code: &str, sentence: &str) -> Self {
        if self.0.get(&status.to_string()).is_none_or(|answer| answer.get("content").is_none()) {
            self = self.with(status, reason(status), "application/json", schema("Error"));
        }
        let examples = &mut self.0[&status.to_string()]["content"]["application/json"]["examples"];
        let taken = examples.as_object().map(Map::len).unwrap_or_default();
        // Several sentences may have one code.
        let name = if examples.get(code).is_none() { code.to_owned() } else { format!("{code}_{taken}") };
        examples[&name] =
            json!({"summary": sentence, "value": {"error": code, "error_description": sentence}});
        self
    }

    pub(super) fn into_value(self) -> Value {
        Value::Object(self.0)
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        400 => "The request is refused.",
        401 => "Who asks is not known.",
        403 => "The token does not allow this.",
        408 => "The body did not arrive in time.",
        413 => "The body is too large.",
        415 => "The body has a coding.",
        429 => "There were too many failed logins; come back later.",
        503 => "The server cannot do this now; come back later.",
        _ => "A fault of the server's.",
    }
}

fn header(name: &str) -> Value {
    json!({"$ref": format!("#/components/headers/{name}")})
}

/// Every header that an answer of the document has.
pub(super) fn header_components() -> Value {
    let text = |description: &str| json!({"description": description, "schema": {"type": "string"}});
    json!({
        "ETag": text("For `If-None-Match`."),
        "Cache-Control": text("How long it may be kept."),
        "Retry-After": {
            "description": "After how many seconds to come back.",
            "schema": {"type": "integer", "minimum": 1},
        },
        "WWW-Authenticate": text("How to say who asks (RFC 9110 §11.6.1)."),
        "X-Auth-User": text("The `sub` of the caller's tokens."),
        "X-Auth-Username": text("The name of a user; what is not visible ASCII, and `%`, is percent-encoded."),
        "X-Auth-Roles": text("The roles of a user, with commas."),
        "X-Auth-Scope": text("What is granted, with spaces."),
        "Authorization": text("`Bearer` and an access token for the service, which lives no longer than the credential."),
        "DPoP-Nonce": text("What the next DPoP proof is to be made with (RFC 9449 §8); only where this request had one."),
    })
}

/// `If-None-Match`, for what can be kept.
pub(super) fn if_none_match() -> Value {
    json!({
        "name": "If-None-Match",
        "in": "header",
        "description": "The `ETag` of an earlier answer.",
        "schema": {"type": "string"},
    })
}

/// `DPoP`, where a proof is taken.
pub(super) fn dpop_proof(algorithms: &[&str]) -> Value {
    json!({
        "name": "DPoP",
        "in": "header",
        "description": format!("A proof (RFC 9449 §4) by the key that the token is bound to, signed with {}.", algorithms.join(", ")),
        "schema": {"type": "string"},
    })
}

/// A form as the body of a request, with these examples.
pub(super) fn form(schema_name: &str, examples: Value) -> Value {
    let mut form = json!({"schema": schema(schema_name)});
    if examples.is_object() {
        form["examples"] = examples;
    }
    json!({"required": true, "content": {"application/x-www-form-urlencoded": form}})
}
