//! The HTTP interface as a document that programs read: OpenAPI 3.1, made of what the metadata says and of the errors
//! that the endpoints answer with, so that it can contradict neither. Must not know how a request is answered.
//!
//! An endpoint is described in one function, in the file of its kind; `endpoints` lists them in the order in which
//! people read them.

mod documents;
mod parts;
mod people;
mod proxies;
mod schemas;
mod tokens;

use serde::Serialize;
use serde_json::{Value, json};

use crate::model::client::GrantType;

use self::parts::{InOrder, Node};

/// What the server in force says of itself.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The metadata document, RFC 8414 §2. What it does not name is not there.
    pub metadata: &'a Value,
    /// The version of the program.
    pub version: &'a str,
}

impl Facts<'_> {
    fn text(&self, member: &str) -> Option<&str> {
        self.metadata[member].as_str()
    }

    fn names(&self, member: &str) -> Vec<&str> {
        self.metadata[member].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
    }

    fn grants(&self) -> Vec<GrantType> {
        self.names("grant_types_supported").into_iter().filter_map(|name| name.parse().ok()).collect()
    }

    fn offers(&self, grant: GrantType) -> bool {
        self.grants().contains(&grant)
    }

    fn issuer(&self) -> &str {
        self.text("issuer").unwrap_or_default()
    }

    /// The path of an address of this server. OpenAPI 3.1 §4.8.1: without `servers`, paths begin at the root of the host
    /// that the document came from, so that they hold the path of the issuer.
    fn path_of<'u>(&self, url: &'u str) -> &'u str {
        let after_scheme = url.find("://").map_or(0, |at| at + 3);
        url[after_scheme..].find('/').map_or("", |at| &url[after_scheme + at..])
    }

    /// The path of what is always there, below the issuer.
    fn below(&self, path: &str) -> String {
        format!("{}{path}", self.path_of(self.issuer()))
    }
}

/// A path and what can be done there: a Path Item Object, OpenAPI 3.1 §4.8.9.
type Endpoint = (String, Value);

/// The document as JSON.
pub fn document(facts: &Facts<'_>) -> String {
    #[derive(Serialize)]
    struct Document {
        openapi: &'static str,
        info: Value,
        tags: Value,
        paths: InOrder,
        components: InOrder,
    }
    let paths = endpoints(facts).into_iter().map(|(path, item)| (path, Node::Plain(item)));
    let components = [
        ("schemas", Node::Ordered(schemas::schemas(facts))),
        ("headers", Node::Plain(parts::header_components())),
        ("securitySchemes", Node::Ordered(security_schemes(facts))),
    ];
    let document = Document {
        openapi: "3.1.0",
        info: info(facts),
        tags: tags(),
        paths: InOrder(paths.collect()),
        components: InOrder::of(components),
    };
    serde_json::to_string(&document).expect("texts, numbers and lists of them always serialize")
}

fn endpoints(facts: &Facts<'_>) -> Vec<Endpoint> {
    [
        tokens::token(facts),
        tokens::revocation(facts),
        tokens::introspection(facts),
        people::userinfo(facts),
        documents::jwks(facts),
    ]
    .into_iter()
    .flatten()
    .chain([proxies::verify(facts)])
    .chain(documents::metadata(facts))
    .chain(documents::status_lists(facts))
    .chain(people::health(facts))
    .chain(people::pages(facts))
    .collect()
}

fn info(facts: &Facts<'_>) -> Value {
    let issuer = facts.issuer();
    let algorithms = facts.names("introspection_signing_alg_values_supported").join(", ");
    json!({
        "title": "grantd",
        "version": facts.version,
        "summary": "An OAuth 2.0 authorization server",
        "description": format!(
            "The issuer is `{issuer}`. Access tokens are signed JWTs (RFC 9068; {algorithms}), which services check by \
             themselves with the public keys.\n\n\
             Every answer has an `X-Request-Id`, which the server's log names, too. What takes GET takes HEAD as well."
        ),
        "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
    })
}

fn tags() -> Value {
    json!([
        {"name": "Tokens", "description": "For clients, which say who they are by HTTP Basic or in the form."},
        {"name": "Users", "description": "For whoever has an access token of a user."},
        {"name": "Proxies", "description": "For whatever stands in front of services that know nothing of tokens."},
        {"name": "Documents", "description": "What services read to check tokens by themselves. For everybody, from any origin."},
        {"name": "Server", "description": "How this server does, and its pages for people."},
    ])
}

/// One scheme for each flow, and what the endpoints really take. Client credentials in the form and assertions
/// (`private_key_jwt`) have no scheme in OpenAPI; they are parameters of the forms.
fn security_schemes(facts: &Facts<'_>) -> InOrder {
    let mut schemes = Vec::new();
    if let Some(token_url) = facts.text("token_endpoint") {
        // Which scopes there are is registered with each client.
        let flow = json!({"tokenUrl": token_url, "scopes": {}});
        let oauth2 = |name: &str, description: &str, flow: Value| json!({"type": "oauth2", "description": description, "flows": {name: flow}});
        if facts.offers(GrantType::Password) {
            let mut flow = flow.clone();
            if facts.offers(GrantType::RefreshToken) {
                flow["refreshUrl"] = token_url.into();
            }
            let description =
                "A user logs in through a client. A client without a secret leaves `client_secret` empty.";
            schemes.push(("password", oauth2("password", description, flow)));
        }
        if facts.offers(GrantType::ClientCredentials) {
            let description = "A client gets a token for itself, with all of its scopes.";
            schemes.push(("clientCredentials", oauth2("clientCredentials", description, flow)));
        }
    }
    if facts.names("token_endpoint_auth_methods_supported").contains(&"client_secret_basic") {
        let description = "`client_id` and `client_secret` of a client (RFC 6749 §2.3.1); the secret is empty for a \
            client that has none.";
        schemes.push(("basic", json!({"type": "http", "scheme": "basic", "description": description})));
    }
    let description = "A secret of a program's, which `grantd apikey create` makes.";
    schemes.push((
        "apiKey",
        json!({"type": "apiKey", "in": "header", "name": "X-API-Key", "description": description}),
    ));
    let description = "An access token (RFC 6750). One that is bound to a key comes with `Authorization: DPoP` and a \
        proof (RFC 9449).";
    schemes.push((
        "bearer",
        json!({"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": description}),
    ));
    InOrder::of(schemes.into_iter().map(|(name, scheme)| (name, Node::Plain(scheme))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::metadata::Metadata;

    fn metadata(issuer: &str) -> Value {
        serde_json::from_str(&Metadata::new(issuer).to_json()).expect("json")
    }

    fn read(metadata: &Value) -> Value {
        serde_json::from_str(&document(&Facts { metadata, version: "1.2.3" })).expect("json")
    }

    #[test]
    fn the_flows_lead_to_the_token_endpoint_of_the_metadata() {
        for issuer in ["https://auth.example.com", "https://auth.example.com/tenant/one"] {
            let metadata = metadata(issuer);

            let document = read(&metadata);

            let schemes = &document["components"]["securitySchemes"];
            for flow in ["password", "clientCredentials"] {
                let found = &schemes[flow]["flows"][flow];
                assert_eq!(found["tokenUrl"], metadata["token_endpoint"], "{flow}");
                assert!(found["scopes"].is_object(), "required, OpenAPI 3.1 §4.8.28");
            }
            assert_eq!(schemes.as_object().expect("schemes").len(), 5, "{schemes}");
            assert!(document.get("servers").is_none());
        }
    }

    #[test]
    fn under_an_issuer_with_a_path_all_paths_but_one_begin_with_it() {
        let document = read(&metadata("https://auth.example.com/tenant/one"));

        let paths: Vec<_> = document["paths"].as_object().expect("paths").keys().cloned().collect();
        let elsewhere: Vec<_> = paths.iter().filter(|path| !path.starts_with("/tenant/one/")).collect();
        // RFC 8414 §3.1.
        assert_eq!(elsewhere, ["/.well-known/oauth-authorization-server/tenant/one"]);
        for path in
            ["/tenant/one/token", "/tenant/one/", "/tenant/one/.well-known/oauth-authorization-server"]
        {
            assert!(paths.iter().any(|found| found == path), "{path} in {paths:?}");
        }
    }

    #[test]
    fn what_the_metadata_does_not_name_is_not_named() {
        let mut metadata = metadata("https://auth.example.com");
        metadata["grant_types_supported"] = json!(["client_credentials"]);
        for member in ["userinfo_endpoint", "revocation_endpoint", "status_list_aggregation_endpoint"] {
            metadata.as_object_mut().expect("an object").remove(member);
        }

        let document = read(&metadata);

        let schemes = document["components"]["securitySchemes"].as_object().expect("schemes");
        assert!(schemes.contains_key("clientCredentials") && !schemes.contains_key("password"));
        assert!(schemes["clientCredentials"]["flows"]["clientCredentials"].get("refreshUrl").is_none());
        for path in ["/userinfo", "/revoke", "/status", "/status/{list}"] {
            assert!(document["paths"].get(path).is_none(), "{path}");
        }
        let form = &document["components"]["schemas"]["TokenRequest"]["properties"];
        assert_eq!(form["grant_type"]["enum"], json!(["client_credentials"]));
        for parameter in ["username", "password", "refresh_token", "subject_token"] {
            assert!(form.get(parameter).is_none(), "{parameter}");
        }
        let examples = &document["paths"]["/token"]["post"]["requestBody"]["content"]["application/x-www-form-urlencoded"]
            ["examples"];
        assert_eq!(examples.as_object().expect("examples").len(), 1, "{examples}");
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_operation_has_a_name_of_its_own() {
        let document = read(&metadata("https://auth.example.com"));

        let mut names = Vec::new();
        let mut nodes = vec![&document];
        while let Some(node) = nodes.pop() {
            if let Some(reference) = node.get("$ref").and_then(Value::as_str) {
                let pointer = reference.strip_prefix('#').expect("a reference within the document");
                assert!(document.pointer(pointer).is_some(), "{reference}");
            }
            names.extend(node.get("operationId").and_then(Value::as_str));
            match node {
                Value::Array(items) => nodes.extend(items),
                Value::Object(members) => nodes.extend(members.values()),
                _ => {}
            }
        }
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "{names:?}");
        assert!(count > 10);
    }
}
