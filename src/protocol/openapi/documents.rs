//! What services read to check tokens by themselves: keys, metadata, status lists.

use serde_json::{Value, json};

use crate::protocol::status_list::STATUS_LIST_MEDIA_TYPE;

use super::parts::{Answers, if_none_match, schema};
use super::{Endpoint, Facts};

/// A document of JSON that can be kept.
fn document(id: &str, summary: &str, description: &str, schema_name: &str) -> Value {
    let answers = Answers::default().with(200, "It.", "application/json", schema(schema_name));
    json!({"get": {
        "operationId": id,
        "tags": ["Documents"],
        "summary": summary,
        "description": description,
        "parameters": [if_none_match()],
        "responses": answers.kept().into_value(),
    }})
}

pub(super) fn jwks(facts: &Facts<'_>) -> Option<Endpoint> {
    let path = facts.path_of(facts.text("jwks_uri")?);
    let description =
        "RFC 7517. A new key is here before it signs, and an old one until its last token has expired.";
    Some((path.into(), document("jwks", "The public keys", description, "Jwks")))
}

pub(super) fn metadata(facts: &Facts<'_>) -> Vec<Endpoint> {
    const WELL_KNOWN: &str = "/.well-known/oauth-authorization-server";
    let issuer = facts.path_of(facts.issuer());
    let mut found = vec![(
        facts.below(WELL_KNOWN),
        document("metadata", "What this server offers", "RFC 8414 §2.", "Metadata"),
    )];
    if !issuer.is_empty() {
        let description =
            "RFC 8414 §3.1 inserts the well-known string between the host and the path of the issuer.";
        found.push((
            format!("{WELL_KNOWN}{issuer}"),
            document("metadataInserted", "The same, where RFC 8414 looks for it", description, "Metadata"),
        ));
    }
    let description =
        "The same document under the name that OpenID Connect gives it, where many libraries look for it.";
    found.push((
        facts.below("/.well-known/openid-configuration"),
        document("metadataOpenid", "The same under its OpenID name", description, "Metadata"),
    ));
    found
}

pub(super) fn status_lists(facts: &Facts<'_>) -> Vec<Endpoint> {
    let Some(all) = facts.text("status_list_aggregation_endpoint") else { return Vec::new() };
    let path = facts.path_of(all);
    let list = Answers::default()
        .with(
            200,
            "A JWT with a bit for each session and each client: 1 is revoked.",
            STATUS_LIST_MEDIA_TYPE,
            json!({"type": "string"}),
        )
        .kept()
        .with(404, "There is no such list.", "application/json", schema("Error"))
        .with(406, "Another type or another time was asked for.", "application/json", schema("Error"))
        .with(503, "It cannot be signed now.", "application/json", schema("Error"))
        .header(503, "Retry-After");
    vec![
        (
            path.into(),
            document(
                "statusLists",
                "Where revoked tokens are listed",
                "The addresses of all status lists (Token Status List §9).",
                "StatusLists",
            ),
        ),
        (
            format!("{path}/{{list}}"),
            json!({"get": {
                "operationId": "statusList",
                "tags": ["Documents"],
                "summary": "Which tokens are revoked",
                "description": "The claim `status.status_list` of a token names its list and its bit (Token Status List §8).",
                "parameters": [
                    {"name": "list", "in": "path", "required": true, "schema": {"type": "integer", "minimum": 0}, "example": 0},
                    if_none_match(),
                ],
                "responses": list.into_value(),
            }}),
        ),
    ]
}
