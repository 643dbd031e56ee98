//! What `grantd dev` prints when it listens: lines to be pasted into another terminal. A pure function of its
//! arguments.

use std::net::SocketAddr;

use crate::model::secret::PlainSecret;

/// Where the server is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places<'a> {
    /// The issuer, which is also where the server is reached.
    pub(super) issuer: &'a str,
    /// The listener for operators.
    pub(super) management: Option<SocketAddr>,
    /// Whether that one takes `/clock`.
    pub(super) has_clock: bool,
}

/// What the throwaway database was filled with. Nothing in it needs quoting in a shell.
#[derive(Clone, Copy, Debug)]
pub(super) struct Demo<'a> {
    pub(super) client: &'a str,
    pub(super) secret: &'a PlainSecret,
    pub(super) user: &'a str,
    pub(super) password: &'a str,
    pub(super) role: &'a str,
}

/// What stands above everything, whatever the server was filled with.
pub(super) fn heading(places: &Places<'_>) -> String {
    let Places { issuer, management, has_clock } = places;
    let management = management
        .map(|address| {
            let clock = if *has_clock { format!(" http://{address}/clock") } else { String::new() };
            format!("# Health and metrics: http://{address}/health/ready http://{address}/metrics{clock}\n")
        })
        .unwrap_or_default();
    format!(
        "\
# grantd dev listens at {issuer}
# FOR TRYING OUT ONLY, never for production: no TLS, known passwords, and all data is deleted at the end.
{management}"
    )
}

/// The whole text is also a shell script: what is not a command is a comment. Comments have no quotes, so that a
/// shell which takes them for commands waits for nothing.
pub(super) fn welcome(places: &Places<'_>, demo: &Demo<'_>) -> String {
    let issuer = places.issuer;
    let Demo { client, secret, user, password, role } = demo;
    let secret = secret.expose();
    let heading = heading(places);
    let token = format!("curl -sS -u {client}:{secret} {issuer}/token");
    let login = format!("{token} -d grant_type=password -d username={user} -d password={password}");
    format!(
        "\
{heading}# Client {client}, user {user} with the role {role}. Paste these lines into another terminal; Ctrl-C ends the server.

# A token for the client itself:
{token} -d grant_type=client_credentials

# A token for {user}, with a refresh token:
{login}

# The same, keeping the refresh token:
REFRESH_TOKEN=$({login} | sed 's/.*\"refresh_token\" *: *\"\\([^\"]*\\)\".*/\\1/')

# A new pair for it; the old refresh token ends:
{token} -d grant_type=refresh_token -d refresh_token=$REFRESH_TOKEN

# The public keys that resource servers verify tokens with:
curl -sS {issuer}/.well-known/jwks.json
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> String {
        let secret = PlainSecret::new("gcs_x-y_z".into());
        let demo =
            Demo { client: "demo", secret: &secret, user: "alice", password: "pass-word", role: "editor" };
        let management = Some("127.0.0.1:9".parse().expect("an address"));
        welcome(&Places { issuer: "http://127.0.0.1:8080", management, has_clock: false }, &demo)
    }

    #[test]
    fn the_welcome_says_that_it_is_not_for_production_and_where_things_are() {
        let text = text();

        for part in ["never for production", "http://127.0.0.1:8080/token", "http://127.0.0.1:9/metrics"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn every_line_can_be_pasted_into_a_shell() {
        let checked = std::process::Command::new("sh").args(["-n", "-c", &text()]).status();

        assert!(checked.expect("a shell").success());
        for line in text().lines().filter(|line| !line.is_empty()) {
            let command =
                ["# ", "curl -sS ", "REFRESH_TOKEN=$(curl "].iter().any(|start| line.starts_with(start));
            assert!(command, "{line}");
            assert!(!line.starts_with('#') || !line.contains(['\'', '"', '`', '$', '(']), "{line}");
        }
    }

    #[test]
    fn the_refresh_token_is_cut_out_of_the_answer_without_other_tools() {
        let text = text();
        let sed =
            text.lines().find_map(|line| line.split_once("| sed ")?.1.strip_suffix(')')).expect("a sed");
        let answer =
            r#"{"access_token":"a.b.c","token_type":"Bearer","refresh_token":"grt_A-b_9","scope":"x"}"#;

        let script = format!("printf '%s' '{answer}' | sed {sed}");
        let cut = std::process::Command::new("sh").args(["-c", &script]).output().expect("a shell");

        assert_eq!(String::from_utf8_lossy(&cut.stdout).trim_end(), "grt_A-b_9");
    }
}
