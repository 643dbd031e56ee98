//! Which source wins, and where a value is said to come from.

use super::super::{DatabaseUrl, LogFormat, Sources, Stderr, load};
use super::{KEY, environment, file, flag, from_file, load_environment, shown};
use crate::model::time::Ttl;

#[test]
fn flags_win_over_the_environment_and_that_over_the_file_and_that_over_the_defaults() {
    let text = "[server]\nlisten = \"127.0.0.1:1\"\nworkers = 3\n[log]\nlevel = \"warn\"\n";
    let (_directory, path) = file("grantd.toml", text);
    let sources = Sources {
        file: Some(path.clone()),
        flags: vec![flag("server.listen", "127.0.0.1:3", "--listen"), flag("log.level", "off", "dev")],
        ..environment(&[("GRANTD_SERVER__LISTEN", "127.0.0.1:2"), ("GRANTD_SERVER__WORKERS", "7")])
    };

    let loaded = load(&sources).expect("settings");

    assert_eq!(loaded.settings.server.listen.port(), 3);
    assert_eq!(loaded.settings.server.workers, 7);
    for (key, value, origin) in [
        ("server.listen", "127.0.0.1:3", "flag --listen"),
        ("server.workers", "7", "environment GRANTD_SERVER__WORKERS"),
        ("log.level", "off", "command dev"),
        ("tokens.access_ttl", "10m", "default"),
    ] {
        let shown = shown(&loaded, key);
        assert_eq!((shown.value.as_str(), shown.origin.as_str()), (value, origin), "{key}");
    }

    let loaded = load(&from_file(&path)).expect("settings");

    assert_eq!(loaded.settings.server.listen.port(), 1);
    assert_eq!(shown(&loaded, "server.listen").origin, format!("file {}:2", path.display()));
    assert_eq!(shown(&loaded, "server.workers").origin, format!("file {}:3", path.display()));
}

#[test]
fn the_file_may_be_named_in_the_environment_and_a_flag_wins_over_it() {
    let (_first, named) = file("named.toml", "[throttle]\ndaily_limit = 11\n");
    let (_second, flagged) = file("flagged.toml", "[throttle]\ndaily_limit = 22\n");
    let named = named.to_str().expect("a path in UTF-8");

    let by_environment = load_environment(&[("GRANTD_CONFIG", named)]);
    let by_flag = load(&Sources { file: Some(flagged), ..environment(&[("GRANTD_CONFIG", named)]) });
    let by_nothing = load_environment(&[("GRANTD_CONFIG", "")]);

    assert_eq!(by_environment.settings.throttle.daily_limit, 11);
    assert_eq!(by_flag.expect("settings").settings.throttle.daily_limit, 22);
    assert_eq!(by_nothing.settings.throttle.daily_limit, 100);
}

#[test]
fn variables_of_others_are_passed_over() {
    load_environment(&[
        ("PATH", "/bin"),
        ("GRANTD", "x"),
        ("MY_GRANTD_SERVER__LISTEN", "x"),
        ("GRANTD_TEST_POSTGRES_URL", "postgres://h/d"),
        ("GRANTD_TEST_PYTHON", "/usr/bin/python3"),
    ]);
}

#[test]
fn lists_are_separated_by_commas_in_the_environment_and_replace_the_files_list() {
    let (_directory, path) = file(
        "grantd.toml",
        "cors.allowed_origins = [\"https://a.example\", \"https://b.example\", \"https://c.example\"]\n[server]\ntrusted_proxies = [\"10.0.0.0/8\"]\n",
    );

    let of_file = load(&from_file(&path)).expect("settings");
    let of_environment = load(&Sources {
        file: Some(path),
        ..environment(&[
            ("GRANTD_CORS__ALLOWED_ORIGINS", "https://x.example, https://y.example,"),
            ("GRANTD_SERVER__TRUSTED_PROXIES", ""),
        ])
    })
    .expect("settings");

    assert_eq!(of_file.settings.cors.allowed_origins.len(), 3);
    assert_eq!(of_file.settings.server.trusted_proxies.len(), 1);
    assert_eq!(of_environment.settings.cors.allowed_origins, ["https://x.example", "https://y.example"]);
    assert_eq!(shown(&of_environment, "cors.allowed_origins").value, "https://x.example,https://y.example");
    assert!(of_environment.settings.server.trusted_proxies.is_empty());
    assert_eq!(shown(&of_environment, "server.trusted_proxies").value, "(none)");
}

#[test]
fn an_empty_optional_value_counts_as_not_given() {
    let (_directory, path) = file(
        "grantd.toml",
        "[server]\nworkers = \"\"\n[server.tls]\ncert = \"c\"\nkey = \"k\"\n[tokens]\ndefault_audience = \"urn:x\"\n",
    );

    let loaded = load(&Sources {
        file: Some(path),
        ..environment(&[
            ("GRANTD_SERVER__TLS__CERT", ""),
            ("GRANTD_SERVER__TLS__KEY", ""),
            ("GRANTD_MANAGEMENT__LISTEN", ""),
            ("GRANTD_TOKENS__DEFAULT_AUDIENCE", ""),
            ("GRANTD_KEYS__ENCRYPTION_KEY", ""),
            ("GRANTD_DATABASE__MAX_CONNECTIONS", ""),
        ])
    })
    .expect("settings");

    assert!(loaded.settings.server.workers >= 1);
    assert_eq!(loaded.settings.server.tls, None);
    assert_eq!(loaded.settings.management.listen, None);
    assert_eq!(loaded.settings.tokens.default_audience, None);
    assert_eq!(loaded.settings.keys.encryption_key, None);
    for (key, value) in [
        ("server.workers", loaded.settings.server.workers.to_string().as_str()),
        ("management.listen", "(off)"),
        ("tokens.default_audience", "http://127.0.0.1:8080"),
        ("keys.encryption_key", "(grantd.key beside the database)"),
        ("database.max_connections", "(by database)"),
    ] {
        assert_eq!(shown(&loaded, key).value, value, "{key}");
    }
}

#[test]
fn texts_are_never_taken_for_numbers() {
    let loaded =
        load_environment(&[("GRANTD_SERVER__TLS__CERT", "0012345"), ("GRANTD_SERVER__TLS__KEY", "true")]);

    let tls = loaded.settings.server.tls.expect("both were given");
    assert_eq!((tls.cert.to_str(), tls.key.to_str()), (Some("0012345"), Some("true")));
}

#[test]
fn the_log_is_pretty_for_people_and_json_for_programs_unless_said_otherwise() {
    for (stderr, variables, format) in [
        (Stderr::Terminal, &[][..], LogFormat::Pretty),
        (Stderr::File, &[][..], LogFormat::Json),
        (Stderr::Terminal, &[("GRANTD_LOG__FORMAT", "json")][..], LogFormat::Json),
        (Stderr::File, &[("GRANTD_LOG__FORMAT", "pretty")][..], LogFormat::Pretty),
    ] {
        let loaded = load(&Sources { stderr, ..environment(variables) }).expect("settings");

        assert_eq!(loaded.settings.log.format, format);
        assert_eq!(shown(&loaded, "log.format").value, format.as_str());
    }
}

#[test]
fn a_secret_is_read_from_its_file_without_the_trailing_newline() {
    for text in [KEY.to_owned(), format!("{KEY}\n"), format!("{KEY}\r\n")] {
        let (_directory, path) = file("key", &text);
        let path = path.to_str().expect("a path in UTF-8");

        let loaded = load_environment(&[("GRANTD_KEYS__ENCRYPTION_KEY_FILE", path)]);

        let key = loaded.settings.keys.encryption_key.as_ref().expect("it was given");
        assert_eq!(key.expose(), KEY);
        let shown = shown(&loaded, "keys.encryption_key");
        assert_eq!(
            (shown.value.as_str(), shown.origin.as_str()),
            ("(secret)", "environment GRANTD_KEYS__ENCRYPTION_KEY_FILE")
        );
    }
}

#[test]
fn a_secrets_file_beside_an_empty_variable_counts_and_an_empty_file_name_does_not() {
    let (_directory, path) = file("url", "postgres://grantd:canary@h/d\n");
    let path = path.to_str().expect("a path in UTF-8");

    let loaded = load_environment(&[
        ("GRANTD_DATABASE__URL", ""),
        ("GRANTD_DATABASE__URL_FILE", path),
        ("GRANTD_KEYS__ENCRYPTION_KEY", KEY),
        ("GRANTD_KEYS__ENCRYPTION_KEY_FILE", ""),
    ]);

    assert!(matches!(loaded.settings.database.url, DatabaseUrl::Postgres(_)));
    assert!(loaded.settings.keys.encryption_key.is_some());
}

#[test]
fn no_secret_is_shown_or_debugged() {
    let loaded = load_environment(&[
        ("GRANTD_DATABASE__URL", "postgres://grantd:canary@h/d?sslpassword=canary"),
        ("GRANTD_KEYS__ENCRYPTION_KEY", KEY),
    ]);

    assert_eq!(shown(&loaded, "database.url").value, "postgres://grantd:***@h/d?sslpassword=***");
    assert_eq!(shown(&loaded, "keys.encryption_key").value, "(secret)");
    let everything = format!("{loaded:?}");
    assert!(!everything.contains("canary") && !everything.contains(KEY), "{everything}");
}

#[test]
fn a_default_retry_window_shrinks_with_the_life_of_the_token() {
    let loaded = load_environment(&[("GRANTD_TOKENS__REFRESH_IDLE_TTL", "5s")]);

    assert_eq!(loaded.settings.tokens.refresh_retry_window, Ttl::from_secs(5));
    assert_eq!(loaded.settings.tokens.refresh_retry_window_public, Ttl::from_secs(5));
    assert_eq!(shown(&loaded, "tokens.refresh_retry_window").value, "5s");
}
