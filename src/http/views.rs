//! The pages for people: typed views over `templates/`, and the policy they are sent with. Must not know
//! settings, storage or how a request is answered; the caller brings the values and sends the text.

use std::sync::LazyLock;

use askama::Template;
use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The one stylesheet, inlined into every page by `base.html`.
const STYLE: &str = include_str!("../../templates/style.css");

/// How much of a visitor's path the 404 page repeats, in characters.
const LONGEST_PATH: usize = 200;

/// The `Content-Security-Policy` of every page: nothing but the page's own stylesheet and its icon.
///
/// CSP Level 3 §8.4: the hash is taken from the very text that the pages inline, so the two cannot disagree.
pub fn content_security_policy() -> &'static str {
    static POLICY: LazyLock<String> = LazyLock::new(|| {
        let hash = STANDARD.encode(digest::digest(&digest::SHA256, STYLE.as_bytes()));
        format!(
            "default-src 'none'; style-src 'sha256-{hash}'; img-src data:; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
    });
    &POLICY
}

/// The `Content-Security-Policy` of the page of the documentation: scripts and styles from this server, as files, and the
/// pictures that Swagger UI has in its stylesheet; requests to this server alone.
pub const DOCS_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// `/docs`: the interface to read and to try out. All addresses are relative to the page's own, so that they hold under
/// every name and path by which it is reached.
#[derive(Debug, Template)]
#[template(path = "docs.html")]
pub struct DocsPage<'a> {
    /// The exact `iss`, below which the document has its addresses.
    pub issuer: String,
    /// The version of the program.
    pub version: &'a str,
    /// The file of Swagger UI.
    pub bundle: &'a str,
    /// Its stylesheet.
    pub style: &'a str,
    /// The file that starts it.
    pub setup: &'a str,
    /// Our own stylesheet.
    pub own_style: &'a str,
}

impl DocsPage<'_> {
    /// The page as HTML.
    pub fn render(&self) -> String {
        html(self)
    }
}

/// `/`: what this server is, for whoever comes by with a browser.
#[derive(Debug, Template)]
#[template(path = "home.html")]
pub struct HomePage {
    /// The exact `iss` of its tokens.
    pub issuer: String,
    /// The version of the program.
    pub version: String,
    /// Whether every check passed.
    pub healthy: bool,
    /// The health checks by name, and whether each passed.
    pub checks: Vec<(String, bool)>,
    /// What can be asked of it.
    pub endpoints: Vec<Endpoint>,
    /// The grant types it offers, as the metadata names them.
    pub grant_types: Vec<String>,
    /// The `alg` values its tokens may carry.
    pub algorithms: Vec<String>,
    /// The `aud` of a token for which nobody named one.
    pub audience: String,
    /// The full address of the token endpoint.
    pub token_endpoint: String,
    /// The full address of the public keys.
    pub jwks_uri: String,
}

impl HomePage {
    /// The page as HTML.
    pub fn render(&self) -> String {
        html(self)
    }

    fn offers(&self, grant_type: &str) -> bool {
        self.grant_types.iter().any(|offered| offered == grant_type)
    }

    fn token_endpoint_in_shell(&self) -> String {
        shell_word(&self.token_endpoint)
    }

    fn jwks_uri_in_python(&self) -> String {
        python_string(&self.jwks_uri)
    }

    fn issuer_in_python(&self) -> String {
        python_string(&self.issuer)
    }

    fn audience_in_python(&self) -> String {
        python_string(&self.audience)
    }

    fn algorithms_in_python(&self) -> String {
        let names: Vec<_> = self.algorithms.iter().map(|name| python_string(name)).collect();
        format!("[{}]", names.join(", "))
    }
}

/// One address on the home page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The methods it answers, such as `GET` or `GET, POST`.
    pub method: &'static str,
    /// Its full address.
    pub url: String,
    /// What it is for, in a few words.
    pub what: &'static str,
}

impl Endpoint {
    /// A browser can follow only what answers GET, and what takes POST as well wants to know who asks.
    fn is_link(&self) -> bool {
        self.method == "GET"
    }

    /// The address in two parts: the issuer, which all of them share, and the rest.
    fn split<'a>(&'a self, issuer: &str) -> (&'a str, &'a str) {
        match self.url.strip_prefix(issuer) {
            Some(rest) => self.url.split_at(self.url.len() - rest.len()),
            None => ("", &self.url),
        }
    }
}

/// The 404 for browsers.
#[derive(Debug, Template)]
#[template(path = "not_found.html")]
pub struct NotFoundPage {
    path: String,
}

impl NotFoundPage {
    /// Takes the path as the visitor sent it: cut to 200 characters, control characters made visible.
    pub fn new(path: &str) -> Self {
        let visible = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
        let mut rest = path.chars().map(visible);
        let mut shown: String = rest.by_ref().take(LONGEST_PATH).collect();
        if rest.next().is_some() {
            shown.push('…');
        }
        Self { path: shown }
    }

    /// The page as HTML.
    pub fn render(&self) -> String {
        html(self)
    }
}

/// Any other 4xx or 5xx for browsers.
#[derive(Debug, Template)]
#[template(path = "error.html")]
pub struct ErrorPage {
    /// The HTTP status.
    pub status: u16,
    /// What happened, in a few words.
    pub title: String,
    /// What to do about it, in a sentence or two; never a cause from inside.
    pub message: String,
    /// The value of `X-Request-Id`, or empty if there is none.
    pub request_id: String,
}

impl ErrorPage {
    /// The page as HTML.
    pub fn render(&self) -> String {
        html(self)
    }
}

fn html(page: &impl Template) -> String {
    page.render()
        .expect("templates hold only text and lists of text, and writing those to a String cannot fail")
}

/// A Python string literal: every escape of JSON (RFC 8259 §7) means the same in Python.
fn python_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// One word of a POSIX shell, quoted only if it must be.
fn shell_word(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~:/@%+=,".contains(&b);
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home() -> HomePage {
        let issuer = "https://auth.example.com";
        let endpoint = |method, path: &str, what| Endpoint { method, url: format!("{issuer}{path}"), what };
        HomePage {
            issuer: issuer.into(),
            version: "0.1.0".into(),
            healthy: true,
            checks: vec![("database".into(), true), ("keys".into(), true)],
            endpoints: vec![
                endpoint("POST", "/token", "get and refresh tokens"),
                endpoint("GET", "/.well-known/jwks.json", "public keys"),
                endpoint("GET, POST", "/userinfo", "the user behind a token"),
            ],
            grant_types: vec!["client_credentials".into(), "password".into(), "refresh_token".into()],
            algorithms: vec!["ES256".into(), "RS256".into()],
            audience: "https://api.example.com".into(),
            token_endpoint: format!("{issuer}/token"),
            jwks_uri: format!("{issuer}/.well-known/jwks.json"),
        }
    }

    fn error() -> ErrorPage {
        ErrorPage {
            status: 503,
            title: "The server cannot answer now".into(),
            message: "Its database is away. Try again in a few seconds.".into(),
            request_id: "0199-canary".into(),
        }
    }

    fn every_page() -> [String; 3] {
        [home().render(), NotFoundPage::new("/nothing").render(), error().render()]
    }

    #[test]
    fn the_policy_allows_the_style_that_each_page_carries_and_no_other() {
        for page in every_page() {
            let (_, from_style) = page.split_once("<style>").expect("a style element");
            let (style, rest) = from_style.split_once("</style>").expect("its end");

            let hash = STANDARD.encode(digest::digest(&digest::SHA256, style.as_bytes()));

            assert!(content_security_policy().contains(&format!("style-src 'sha256-{hash}';")));
            assert!(!rest.contains("<style"), "a second style element would be blocked");
            // HTML §13.2.3.5: parsers turn CR into LF before the browser takes the hash.
            assert!(!style.contains('\r'));
        }
    }

    #[test]
    fn no_page_asks_for_what_the_policy_forbids() {
        for page in every_page() {
            for forbidden in
                ["<script", "<link rel=\"style", " style=", "@import", "url(", "<form", "<iframe"]
            {
                assert!(!page.contains(forbidden), "{forbidden}");
            }
            let mut tags = page.split('<').filter_map(|part| part.split_once('>')).map(|(tag, _)| tag);
            assert!(!tags.any(|tag| tag.contains(" on")), "an event handler would be blocked");
        }
    }

    #[test]
    fn every_page_says_its_language_and_fits_a_phone() {
        for page in every_page() {
            assert!(page.starts_with("<!doctype html>\n<html lang=\"en\">"));
            assert!(page.contains("width=device-width, initial-scale=1"));
            assert_eq!(page.matches("<h1>").count(), 1);
            assert!(page.ends_with("</html>"), "whole");
        }
    }

    #[test]
    fn the_home_page_links_what_answers_get_and_only_that() {
        let page = home().render();

        assert!(page.contains(r#"href="https://auth.example.com/.well-known/jwks.json""#));
        assert!(!page.contains(r#"href="https://auth.example.com/userinfo""#));
        assert!(!page.contains(r#"href="https://auth.example.com/token""#));
    }

    #[test]
    fn the_home_page_says_which_check_fails() {
        let sick = HomePage { healthy: false, checks: vec![("database".into(), false)], ..home() };

        let page = sick.render();

        assert!(page.contains("Not ready"));
        assert!(page.contains(r#"<span>database</span> <span class="bad">fails</span>"#));
        assert!(home().render().contains("</span> Ready</p>"));
    }

    #[test]
    fn the_example_is_filled_with_the_values_of_this_server() {
        let page = home().render().replace("&#34;", "\"");

        assert!(page.contains(r#"jwt.PyJWKClient("https://auth.example.com/.well-known/jwks.json")"#));
        assert!(page.contains(r#"algorithms=["ES256", "RS256"],"#));
        assert!(page.contains(r#"audience="https://api.example.com","#));
        assert!(page.contains(r#"issuer="https://auth.example.com","#));
        assert!(page.contains("grant_type=client_credentials \\\n  https://auth.example.com/token</code>"));
    }

    #[test]
    fn an_audience_cannot_break_out_of_the_examples_or_the_page() {
        let odd = HomePage { audience: "urn:a\"]);\n</code><script>".into(), ..home() };

        let page = odd.render();

        assert!(page.contains(r"audience=&#34;urn:a\&#34;]);\n&#60;/code&#62;&#60;script&#62;&#34;,"));
        assert!(!page.contains("<script>"));
        assert_eq!(shell_word("https://a.example/o'brien/token"), r"'https://a.example/o'\''brien/token'");
        assert_eq!(shell_word("$(reboot)"), "'$(reboot)'");
        assert_eq!(shell_word(""), "''");
    }

    #[test]
    fn a_server_without_client_credentials_shows_no_example_of_it() {
        let only_people = HomePage { grant_types: vec!["password".into()], ..home() };

        assert!(!only_people.render().contains("Get a token"));
    }

    #[test]
    fn an_address_outside_the_issuer_is_shown_whole() {
        let elsewhere = Endpoint { method: "GET", url: "https://b.example/x".into(), what: "" };

        assert_eq!(elsewhere.split("https://a.example"), ("", "https://b.example/x"));
        assert_eq!(elsewhere.split("https://b.example"), ("https://b.example", "/x"));
    }

    #[test]
    fn a_path_cannot_write_into_the_404_page() {
        let page = NotFoundPage::new("/<img src=x onerror=alert(1)>\"'&\u{0}\u{1b}").render();

        assert!(page.contains("/&#60;img src=x onerror=alert(1)&#62;&#34;&#39;&#38;\u{fffd}\u{fffd}</bdi>"));
        assert!(!page.contains("<img"));
    }

    #[test]
    fn a_long_path_is_cut_after_200_characters_of_any_width() {
        let exact = "ä".repeat(200);
        let page = NotFoundPage::new(&exact).render();
        assert!(page.contains(&format!(">{exact}</bdi>")));

        let page = NotFoundPage::new(&"ä".repeat(100_000)).render();
        assert!(page.contains(&format!(">{exact}…</bdi>")));
    }

    #[test]
    fn an_error_page_names_status_and_request_and_escapes_both_texts() {
        let page = ErrorPage { message: "<b>".into(), request_id: "<i>".into(), ..error() }.render();
        assert!(page.contains("<title>The server cannot answer now (503)</title>"));
        assert!(page.contains("&#60;b&#62;") && page.contains("&#60;i&#62;"));

        let page = ErrorPage { request_id: String::new(), ..error() }.render();
        assert!(!page.contains("<bdi"));
    }
}
