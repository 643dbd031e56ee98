//! What is wrong is named: the key, its origin, what to do; and all of it at once.

use insta::assert_snapshot;
use proptest::{prop_assert, prop_assert_eq, proptest};

use super::super::schema::SCHEMA;
use super::super::{Sources, load};
use super::{KEY, environment, file, flag, from_file, load_environment, mistakes_in, mistakes_in_file};

#[test]
fn all_mistakes_of_all_sources_are_listed_at_once() {
    let (directory, path) = file(
        "grantd.toml",
        r#"
lisen = "127.0.0.1:8080"

[server]
issuer = "http://auth.example.com/"
workers = "four"
shutdown_grace = 20

[sever]
listen = "127.0.0.1:1"

[keys]
rotate_every = "1h"
publish_before = "2h"

[passwords]
memory_kib = 1.5
parallelism = -1
"#,
    );
    let sources = Sources {
        file: Some(path),
        flags: vec![flag("server.listen", "everywhere", "--listen")],
        ..environment(&[
            ("GRANTD_DATABASE__URL", "mysql://u:canary@h/d"),
            ("GRANTD_TOKENS__ACCESS_TTL", "0s"),
            ("GRANTD_DATABASE__MIGRATE", "yes"),
            ("GRANTD_LOG_LEVEL", "debug"),
        ])
    };

    let mistakes = load(&sources).expect_err("mistakes").to_string();

    assert_snapshot!(mistakes.replace(&format!("{}/", directory.path().display()), ""), @r#"
    lisen (file grantd.toml:2): there is no such setting: the nearest is server.listen, correct or remove the line
    server.workers (file grantd.toml:6): this is a text: write a whole number without quotes
    server.shutdown_grace (file grantd.toml:7): this is a whole number: write a length of time in quotes, such as "10m"
    sever.listen (file grantd.toml:10): there is no such setting: the nearest is server.listen, correct or remove the line
    passwords.memory_kib (file grantd.toml:17): this is a number with a fraction: write a whole number without quotes
    GRANTD_LOG_LEVEL (environment): there is no such setting: the nearest is GRANTD_LOG__LEVEL, correct or unset the variable
    server.listen (flag --listen): 'everywhere' is not an address and a port: write one such as 127.0.0.1:8080 or [::]:8080
    server.issuer (file grantd.toml:5): 'http://auth.example.com/' is not https, which is required unless the host is loopback: write https://, and let a proxy or server.tls provide it
    database.url (environment GRANTD_DATABASE__URL): this names neither SQLite nor Postgres: write sqlite://data/grantd.db or postgres://USER:PASSWORD@HOST/DATABASE
    database.migrate (environment GRANTD_DATABASE__MIGRATE): 'yes' is neither true nor false: write one of them
    keys.publish_before (file grantd.toml:14): 2h is not shorter than keys.rotate_every (1h), so that no key would be ready in time: shorten this or lengthen that
    tokens.access_ttl (environment GRANTD_TOKENS__ACCESS_TTL): 0s is no time at all, so that nothing would work: give at least 1s
    passwords.parallelism (file grantd.toml:18): '-1' is not a whole number from 1 to 255: write one
    "#);
}

#[test]
fn each_mistake_can_be_asked_for_its_parts() {
    let errors = load(&environment(&[("GRANTD_SERVER__WORKERS", "0")])).expect_err("mistakes");

    let [mistake] = errors.mistakes() else { panic!("{errors}") };
    assert_eq!(mistake.key(), Some("server.workers"));
    assert_eq!(mistake.origin(), "environment GRANTD_SERVER__WORKERS");
    assert_eq!(mistake.reason(), "'0' is not a whole number from 1 to 1024: write one");
}

#[test]
fn a_file_that_is_not_there_is_named_and_stops_guesses_about_what_it_would_have_said() {
    let sources = Sources {
        file: Some("/nonexistent/grantd.toml".into()),
        ..environment(&[("GRANTD_SERVER_LISTEN", "x"), ("GRANTD_DATABASE__URL", "postgres://h/d")])
    };

    let mistakes = load(&sources).expect_err("mistakes").to_string();

    assert_snapshot!(mistakes, @r#"
    file /nonexistent/grantd.toml: the settings file cannot be read (No such file or directory (os error 2)): correct the path in --config or GRANTD_CONFIG, or leave it out
    GRANTD_SERVER_LISTEN (environment): there is no such setting: the nearest is GRANTD_SERVER__LISTEN, correct or unset the variable
    "#);
}

#[test]
fn a_line_that_is_not_toml_is_named_without_quoting_it() {
    let mistakes = mistakes_in_file("[keys]\nalgorithm = \"ES256\"\nencryption_key = canary\n");

    assert!(mistakes.starts_with("file grantd.toml:3: this is not TOML, correct the line: "), "{mistakes}");
    assert!(!mistakes.contains("canary") && !mistakes.contains('\n'), "{mistakes}");
}

#[test]
fn a_key_given_twice_in_the_file_is_refused() {
    let mistakes = mistakes_in_file("[log]\nlevel = \"info\"\nlevel = \"debug\"\n");

    assert!(mistakes.starts_with("file grantd.toml:3: "), "{mistakes}");
}

#[test]
fn a_file_that_is_not_utf_8_is_refused() {
    let (_directory, path) = file("grantd.toml", "");
    std::fs::write(&path, b"[log]\nlevel = \"\xff\"\n").expect("a writable file");

    let mistakes = load(&from_file(&path)).expect_err("mistakes").to_string();

    assert!(mistakes.contains("the settings file cannot be read"), "{mistakes}");
}

#[test]
fn every_wrong_type_in_a_file_is_named_with_its_line() {
    let mistakes = mistakes_in_file(
        r#"server = { listen = 8080, issuer = ["x"], tls = "yes", trusted_proxies = { a = 1 } }
cors.allowed_origins = ["https://a.example", 5]
log = "debug"
empty = {}
[database]
migrate = "true"
url = 2026-01-01
max_connections = "5"
[throttle]
max_delay = 900
daily_limit = 99999999999999999999999
free_attempts = 0x10
"#,
    );

    assert_snapshot!(mistakes, @r#"
    server.listen (file grantd.toml:1): this is a whole number: write a text in quotes
    server.issuer (file grantd.toml:1): this is a list: write a text in quotes
    server.tls (file grantd.toml:1): this is a section, not a setting: write [server.tls] above its keys
    server.trusted_proxies (file grantd.toml:1): this is a section: write a list of texts, such as ["one", "two"]
    cors.allowed_origins (file grantd.toml:2): something in this list is not a text: write a list of texts, such as ["one", "two"]
    log (file grantd.toml:3): this is a section, not a setting: write [log] above its keys
    empty (file grantd.toml:4): there is no such setting: the nearest is throttle.free_attempts, correct or remove the line
    database.migrate (file grantd.toml:6): this is a text: write true or false without quotes
    database.url (file grantd.toml:7): this is a date: write a text in quotes
    database.max_connections (file grantd.toml:8): this is a text: write a whole number without quotes
    throttle.max_delay (file grantd.toml:10): this is a whole number: write a length of time in quotes, such as "10m"
    throttle.daily_limit (file grantd.toml:11): '99999999999999999999999' is not a whole number from 1 to 1000000: write one
    "#);
}

#[test]
fn an_override_does_not_hide_a_wrong_line_in_the_file() {
    let (_directory, path) = file("grantd.toml", "[server]\nworkers = \"many\"\n");
    let sources = Sources { file: Some(path), ..environment(&[("GRANTD_SERVER__WORKERS", "2")]) };

    let mistakes = load(&sources).expect_err("mistakes").to_string();

    assert!(mistakes.contains("grantd.toml:2): this is a text: write a whole number"), "{mistakes}");
}

#[test]
fn unknown_variables_are_told_from_misunderstandings() {
    assert_snapshot!(mistakes_in(&[
        ("GRANTD_SERVER__LISEN", "x"),
        ("GRANTD_server__listen", "x"),
        ("GRANTD_", "x"),
        ("GRANTD_SERVER__ISSUER_FILE", "/run/issuer"),
        ("GRANTD_SERVICE_HOST", "10.0.0.1"),
        ("GRANTD_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("GRANTD_PORT", "tcp://10.0.0.1:8080"),
    ]), @r#"
    GRANTD_ (environment): there is no such setting: the nearest is GRANTD_SERVER__LISTEN, correct or unset the variable
    GRANTD_PORT (environment): there is no such setting, this looks like a Kubernetes service link: set enableServiceLinks: false in the pod, or give the Service another name than grantd (the nearest setting is GRANTD_SERVER__TLS__CERT)
    GRANTD_PORT_8080_TCP_ADDR (environment): there is no such setting, this looks like a Kubernetes service link: set enableServiceLinks: false in the pod, or give the Service another name than grantd (the nearest setting is GRANTD_TOKENS__REFRESH_RETRY_WINDOW)
    GRANTD_SERVER__ISSUER_FILE (environment): only secrets are read from files: set GRANTD_SERVER__ISSUER
    GRANTD_SERVER__LISEN (environment): there is no such setting: the nearest is GRANTD_SERVER__LISTEN, correct or unset the variable
    GRANTD_SERVICE_HOST (environment): there is no such setting, this looks like a Kubernetes service link: set enableServiceLinks: false in the pod, or give the Service another name than grantd (the nearest setting is GRANTD_SERVER__DOCS)
    GRANTD_server__listen (environment): there is no such setting: the nearest is GRANTD_SERVER__LISTEN, correct or unset the variable
    "#);
}

#[test]
fn a_name_with_a_line_break_stays_on_one_line() {
    let mistakes = mistakes_in(&[("GRANTD_A\nserver.listen (default): all is well\u{1b}[2J", "x")]);

    assert_eq!(mistakes.lines().count(), 1, "{mistakes}");
    assert!(!mistakes.contains('\u{1b}'), "{mistakes}");
}

#[test]
fn a_variable_that_is_not_utf_8_is_refused_by_name() {
    let mistakes = mistakes_in(&[("GRANTD_SERVER__TLS__CERT", "/etc/\u{fffd}")]);

    assert_snapshot!(mistakes, @r#"
    server.tls.cert (environment GRANTD_SERVER__TLS__CERT): the value is not UTF-8: correct it
    "#);
}

#[test]
fn a_secret_given_twice_is_refused_and_so_is_a_file_that_cannot_be_read() {
    let (_directory, empty) = file("empty", "\n");

    let mistakes = mistakes_in(&[
        ("GRANTD_KEYS__ENCRYPTION_KEY", KEY),
        ("GRANTD_KEYS__ENCRYPTION_KEY_FILE", "/nonexistent/key"),
        ("GRANTD_DATABASE__URL_FILE", "/nonexistent/url"),
    ]);
    let of_empty = mistakes_in(&[("GRANTD_KEYS__ENCRYPTION_KEY_FILE", empty.to_str().expect("UTF-8"))]);

    assert_snapshot!(mistakes, @r#"
    database.url (environment GRANTD_DATABASE__URL_FILE): the file /nonexistent/url cannot be read (No such file or directory (os error 2)): correct the path or its permissions
    keys.encryption_key (environment): GRANTD_KEYS__ENCRYPTION_KEY and GRANTD_KEYS__ENCRYPTION_KEY_FILE are both set: unset one of them
    "#);
    assert!(of_empty.contains("is empty: put the secret into it"), "{of_empty}");
}

#[test]
fn an_unreadable_key_is_one_mistake_not_also_a_missing_one() {
    let mistakes = mistakes_in(&[
        ("GRANTD_DATABASE__URL", "postgres://h/d"),
        ("GRANTD_KEYS__ENCRYPTION_KEY_FILE", "/nonexistent/key"),
    ]);

    assert_eq!(mistakes.lines().count(), 1, "{mistakes}");
}

#[test]
fn no_mistake_quotes_a_secret() {
    for (name, value) in [
        ("GRANTD_DATABASE__URL", "canary"),
        ("GRANTD_DATABASE__URL", "canary://canary"),
        ("GRANTD_DATABASE__URL", "postgres://u:canary@h:x/d"),
        ("GRANTD_KEYS__ENCRYPTION_KEY", "canary"),
        ("GRANTD_KEYS__ENCRYPTION_KEY", "canary+canary="),
    ] {
        let mistakes = mistakes_in(&[(name, value)]);

        assert!(!mistakes.contains("canary"), "{mistakes}");
    }
}

#[test]
fn an_empty_value_is_refused_where_one_is_needed() {
    let mistakes = mistakes_in(&[("GRANTD_SERVER__LISTEN", ""), ("GRANTD_DATABASE__URL", "")]);

    assert_snapshot!(mistakes, @r#"
    server.listen (environment GRANTD_SERVER__LISTEN): the value is empty: give one, or leave the setting out for its default
    database.url (environment GRANTD_DATABASE__URL): the value is empty: give one, or leave the setting out for its default
    "#);
}

#[test]
fn each_wrong_item_of_a_list_is_a_mistake() {
    let mistakes =
        mistakes_in(&[("GRANTD_CORS__ALLOWED_ORIGINS", "*,https://ok.example,https://a.example/")]);

    assert_snapshot!(mistakes, @r#"
    cors.allowed_origins (environment GRANTD_CORS__ALLOWED_ORIGINS): '*' stands for pages that nobody has listed, and each could call this server: list the exact origins
    cors.allowed_origins (environment GRANTD_CORS__ALLOWED_ORIGINS): 'https://a.example/' is not an origin as browsers send it: write https://a.example
    "#);
}

#[test]
fn an_unknown_flag_is_a_mistake_and_no_panic() {
    let sources = Sources { flags: vec![flag("server.port", "1", "--port")], ..Sources::default() };

    let mistakes = load(&sources).expect_err("mistakes").to_string();

    assert!(mistakes.starts_with("server.port (flag --port): there is no such setting"), "{mistakes}");
}

#[test]
fn values_at_their_bounds_are_taken() {
    load_environment(&[
        ("GRANTD_SERVER__LISTEN", "[::]:0"),
        ("GRANTD_KEYS__ROTATE_EVERY", "2s"),
        ("GRANTD_KEYS__PUBLISH_BEFORE", "1s"),
        ("GRANTD_TOKENS__ACCESS_TTL", "1s"),
        ("GRANTD_TOKENS__REFRESH_RETRY_WINDOW", "0s"),
        ("GRANTD_TOKENS__REFRESH_RETRY_WINDOW_PUBLIC", "0s"),
        ("GRANTD_SERVER__SHUTDOWN_GRACE", "0s"),
        ("GRANTD_PASSWORDS__QUEUE", "0"),
        ("GRANTD_THROTTLE__FREE_ATTEMPTS", "0"),
    ]);
}

proptest! {
    #[test]
    fn whatever_is_given_yields_settings_or_one_line_for_each_mistake(
        index in 0..SCHEMA.len(),
        value in "\\PC{0,40}|[a-z]{1,9}:/{0,2}[0-9a-z.:@/?#%\\[\\]]{0,20}|[0-9./:]{0,20}",
        line in "[a-z.\"\\[\\]= 0-9{},#\n]{0,60}",
    ) {
        let (_directory, path) = file("grantd.toml", &line);
        let variable = (SCHEMA[index].variable(), value);
        let sources = Sources { environment: vec![variable], ..from_file(&path) };

        if let Err(errors) = load(&sources) {
            prop_assert!(!errors.mistakes().is_empty());
            prop_assert_eq!(errors.to_string().lines().count(), errors.mistakes().len());
        }
    }
}
