//! `grantd snippet …`: the code that checks this server's tokens, for one framework. Knows the settings and which keys
//! there are; what a good token is stands in `templates/snippets`, once for each language.

use std::collections::BTreeSet;
use std::path::Path;

use askama::Template;
use clap::{Args, ValueEnum};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::model::key::SigningAlgorithm;
use crate::model::resource::Audience;
use crate::model::scope::Scope;
use crate::settings::Settings;

use super::failure::Failure;
use super::output;
use super::settings::{load, with_app};

#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  grantd snippet fastapi --audience https://notes.example.com --scope \"notes:read\" > service.py"
)]
pub(super) struct SnippetCommand {
    /// What the service is written with, or what stands before it
    framework: Framework,
    /// The audience that the service is; tokens for others are refused [default: tokens.default_audience]
    #[arg(long, value_name = "URI")]
    audience: Option<Audience>,
    /// The scopes that a token needs there, separated by spaces [default: none]
    #[arg(long, value_name = "\"A B\"")]
    scope: Option<Scope>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Framework {
    #[value(name = "fastapi")]
    FastApi,
    Flask,
    Django,
    Express,
    #[value(name = "nextjs")]
    NextJs,
    Spring,
    Go,
    Actix,
    Axum,
    Nginx,
    Curl,
}

pub(super) async fn run(config: Option<&Path>, command: SnippetCommand) -> Result<(), Failure> {
    let settings = load(config, Vec::new())?.settings;
    with_app(config, async |app| {
        let keys = app.list_keys().await?;
        let deployment = Deployment::of(&settings, keys.iter().map(|key| key.algorithm), command.audience);
        output::write(&deployment.code(command.framework, &command.scope.unwrap_or_default())?)
    })
    .await
}

/// What a service must know of the server in front of it.
struct Deployment {
    issuer: String,
    audience: String,
    /// Those of all keys in the JWKS, and what the next ones will be made for.
    algorithms: BTreeSet<SigningAlgorithm>,
}

impl Deployment {
    fn of(
        settings: &Settings,
        of_keys: impl Iterator<Item = SigningAlgorithm>,
        audience: Option<Audience>,
    ) -> Self {
        let issuer = settings.server.issuer.to_string();
        let default = || settings.tokens.default_audience.clone().unwrap_or_else(|| issuer.clone());
        let audience = audience.map_or_else(default, |named| named.as_str().to_owned());
        Self { audience, issuer, algorithms: of_keys.chain([settings.keys.algorithm]).collect() }
    }

    /// The file for this framework, whole.
    fn code(&self, framework: Framework, scope: &Scope) -> Result<String, Failure> {
        let (issuer, audience) = (literal(&self.issuer), literal(&self.audience));
        let jwks_uri = literal(&format!("{}/.well-known/jwks.json", self.issuer));
        let code = Values {
            issuer,
            audience,
            jwks_uri,
            scope: literal(&scope.to_string()),
            of: self,
            needed: scope,
        };
        let rendered = match framework {
            Framework::FastApi => FastApi(code).render(),
            Framework::Flask => Flask(code).render(),
            Framework::Django => Django(code).render(),
            Framework::Express => Express(code).render(),
            Framework::NextJs => NextJs(code).render(),
            Framework::Spring => {
                // Nimbus checks EdDSA with another class and another library; both at once is no snippet any more.
                if self.algorithms.contains(&SigningAlgorithm::EdDsa) {
                    return Err(Failure::because(
                        "Spring's decoder takes no EdDSA, which keys of this server sign with: give the clients of such services '--alg ES256' and set keys.algorithm to ES256, or let nginx check their tokens ('grantd snippet nginx')",
                    ));
                }
                Spring(code).render()
            }
            Framework::Go => Go(code).render(),
            Framework::Actix => Actix(code).render(),
            Framework::Axum => Axum(code).render(),
            Framework::Nginx => {
                // A dollar begins a variable there, and nothing takes that back.
                if self.issuer.contains('$') {
                    return Err(Failure::because(
                        "nginx would read the '$' in server.issuer as the beginning of a variable, and has no way to write it: choose an issuer without it",
                    ));
                }
                Nginx(code).render()
            }
            Framework::Curl => Curl(code).render(),
        };
        Ok(format!("{}\n", rendered?.trim_end()))
    }

    fn is_https(&self) -> bool {
        self.issuer.starts_with("https:")
    }
}

/// What the templates are filled with: literals, which need no quotes around them.
///
/// A string of JSON is the same string in Python, JavaScript, Go, Java and Rust, as long as it holds visible ASCII only,
/// which issuers, audiences and scopes do: JSON escapes nothing there but the quote and the backslash.
struct Values<'a> {
    issuer: String,
    audience: String,
    jwks_uri: String,
    scope: String,
    of: &'a Deployment,
    needed: &'a Scope,
}

impl Values<'_> {
    /// The algorithms with this before and after each, as a list.
    fn algorithms(&self, before: &str, after: &str) -> String {
        let all = self.of.algorithms.iter().map(|algorithm| format!("{before}{algorithm}{after}"));
        all.collect::<Vec<_>>().join(", ")
    }

    /// The authorities that Spring makes of the scopes, as a list.
    fn authorities(&self) -> Vec<String> {
        self.needed.iter().map(|scope| literal(&format!("SCOPE_{scope}"))).collect()
    }

    fn word_of_issuer(&self) -> String {
        shell(&self.of.issuer)
    }

    fn word_of_audience(&self) -> String {
        shell(&self.of.audience)
    }

    fn word_of_scope(&self) -> String {
        shell(&self.needed.to_string())
    }

    /// Where nginx asks. Percent-encoded, nothing in the query means anything to it.
    fn verify_uri(&self) -> String {
        let query = |text: &str| utf8_percent_encode(text, RESERVED).to_string();
        let (audience, scope) = (query(&self.of.audience), query(&self.needed.to_string()));
        let scope = if scope.is_empty() { scope } else { format!("&scope={scope}") };
        format!("{}/verify?audience={audience}{scope}", self.of.issuer)
    }
}

/// RFC 3986 §2.3: what is never encoded is left as it is.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

fn literal(text: &str) -> String {
    Value::from(text).to_string()
}

/// One word of a POSIX shell, whatever is in it.
fn shell(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

macro_rules! templates {
    ($($name:ident: $path:literal),* $(,)?) => {
        $(
            #[derive(Template)]
            #[template(path = $path, escape = "none")]
            struct $name<'a>(Values<'a>);
        )*
    };
}

templates! {
    FastApi: "snippets/fastapi.py",
    Flask: "snippets/flask.py",
    Django: "snippets/django.py",
    Express: "snippets/express.mjs",
    NextJs: "snippets/nextjs.mjs",
    Spring: "snippets/spring.java",
    Go: "snippets/go.go",
    Actix: "snippets/actix.rs",
    Axum: "snippets/axum.rs",
    Nginx: "snippets/nginx.conf",
    Curl: "snippets/curl.sh",
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(issuer: &str, audience: &str) -> Deployment {
        let algorithms = [SigningAlgorithm::Rs256, SigningAlgorithm::Es256].into();
        Deployment { issuer: issuer.to_owned(), audience: audience.to_owned(), algorithms }
    }

    fn code(deployment: &Deployment, framework: Framework, scope: &str) -> String {
        deployment.code(framework, &scope.parse().expect("a scope")).expect("code")
    }

    #[test]
    fn every_snippet_names_issuer_audience_and_algorithms_and_says_what_it_needs_and_what_a_revoked_token_is()
    {
        let deployment = deployment("https://auth.example.com/one", "urn:notes");

        for framework in Framework::value_variants() {
            let code = code(&deployment, *framework, "notes:read notes:write");

            let first = code.lines().next().unwrap_or_default();
            assert!(first.starts_with(['#', '/']), "{framework:?}: {first}");
            assert!(code.contains("save as"), "{framework:?}");
            assert!(code.contains("evoked token"), "{framework:?}");
            assert!(code.contains("https://auth.example.com/one"), "{framework:?}");
            assert!(code.contains("urn:notes") || code.contains("urn%3Anotes"), "{framework:?}");
            assert!(code.contains("notes:write") || code.contains("notes%3Awrite"), "{framework:?}");
            let checks_itself = !matches!(framework, Framework::Nginx | Framework::Curl);
            for part in ["https://auth.example.com/one/.well-known/jwks.json", "ES256", "RS256", "at+jwt"] {
                assert_eq!(code.contains(part), checks_itself, "{framework:?}: {part}");
            }
            assert!(code.lines().all(|line| line.chars().count() <= 130), "{framework:?}");
            assert!(!code.contains("{{") && !code.contains("{%"), "{framework:?}");
        }
    }

    #[test]
    fn a_hostile_audience_ends_no_literal_of_any_language() {
        let hostile = r#"urn:a"b\u0022'c;${x}$(id)`id`#{y}*/%{z}"#;
        let deployment = deployment("https://auth.example.com", hostile);

        for framework in Framework::value_variants() {
            let code = code(&deployment, *framework, "");

            let written = match framework {
                Framework::Nginx => {
                    "urn%3Aa%22b%5Cu0022%27c%3B%24%7Bx%7D%24%28id%29%60id%60%23%7By%7D%2A%2F%25%7Bz%7D"
                }
                Framework::Curl => r#"'urn:a"b\u0022'\''c;${x}$(id)`id`#{y}*/%{z}'"#,
                _ => r#""urn:a\"b\\u0022'c;${x}$(id)`id`#{y}*/%{z}""#,
            };
            assert!(code.contains(written), "{framework:?}: {code}");
        }
    }

    #[test]
    fn what_cannot_be_written_is_refused_with_a_sentence() {
        let scope = Scope::default();

        let dollar = deployment("https://auth.example.com/$x", "urn:a").code(Framework::Nginx, &scope);
        let mut ed = deployment("https://auth.example.com", "urn:a");
        ed.algorithms.insert(SigningAlgorithm::EdDsa);
        let ed = ed.code(Framework::Spring, &scope);

        for refused in [dollar, ed] {
            assert!(matches!(refused, Err(Failure::CannotBeDone(_))), "{refused:?}");
        }
    }

    #[test]
    fn nginx_believes_no_certificate_unchecked() {
        let tls = code(&deployment("https://auth.example.com", "urn:a"), Framework::Nginx, "");
        let plain = code(&deployment("http://127.0.0.1:8080", "urn:a"), Framework::Nginx, "");

        assert!(tls.contains("proxy_ssl_verify on;"), "{tls}");
        assert!(!plain.contains("proxy_ssl"), "{plain}");
    }
}
