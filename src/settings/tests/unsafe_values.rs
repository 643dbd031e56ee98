//! Values that are well formed and would do harm.

use super::super::{Sources, load};
use super::{KEY, environment, flag, load_environment, mistakes_in};

/// Asserts that these variables make exactly one mistake, in `key`, which says `why`.
fn assert_refused(variables: &[(&str, &str)], key: &str, why: &str) {
    let mistakes = mistakes_in(variables);

    assert!(mistakes.starts_with(&format!("{key} (")), "{mistakes}");
    assert!(mistakes.contains(why), "{mistakes}");
    assert_eq!(mistakes.lines().count(), 1, "{mistakes}");
}

const PUBLIC: (&str, &str) = ("GRANTD_SERVER__ISSUER", "https://auth.example.com");

#[test]
fn tokens_in_the_clear_are_refused() {
    assert_refused(
        &[("GRANTD_SERVER__ISSUER", "http://auth.example.com")],
        "server.issuer",
        "is not https, which is required",
    );
}

#[test]
fn half_a_certificate_is_refused() {
    assert_refused(&[("GRANTD_SERVER__TLS__CERT", "c.pem")], "server.tls.cert", "set server.tls.key");
    assert_refused(&[("GRANTD_SERVER__TLS__KEY", "k.pem")], "server.tls.key", "set server.tls.cert");
}

#[test]
fn proxies_that_are_everybody_are_refused() {
    assert_refused(
        &[("GRANTD_SERVER__TRUSTED_PROXIES", "10.0.0.0/8,0.0.0.0/0")],
        "server.trusted_proxies",
        "trusts everybody",
    );
}

#[test]
fn two_listeners_on_one_address_are_refused() {
    for (server, management) in [
        ("127.0.0.1:8080", "127.0.0.1:8080"),
        ("0.0.0.0:8080", "127.0.0.1:8080"),
        ("127.0.0.1:8080", "[::]:8080"),
    ] {
        let variables = [("GRANTD_SERVER__LISTEN", server), ("GRANTD_MANAGEMENT__LISTEN", management)];
        assert_refused(&variables, "management.listen", "is taken by server.listen");
    }
    for (server, management) in [("127.0.0.1:0", "127.0.0.1:0"), ("127.0.0.1:8080", "127.0.0.2:8080")] {
        load_environment(&[("GRANTD_SERVER__LISTEN", server), ("GRANTD_MANAGEMENT__LISTEN", management)]);
    }
}

#[test]
fn a_flag_that_moves_the_server_onto_the_management_listener_is_refused() {
    let sources =
        Sources { flags: vec![flag("server.listen", "127.0.0.1:8081", "--listen")], ..Sources::default() };

    let mistakes = load(&sources).expect_err("mistakes").to_string();

    assert!(mistakes.starts_with("management.listen (default): '127.0.0.1:8081' is taken"), "{mistakes}");
}

#[test]
fn a_database_that_would_be_lost_is_refused() {
    assert_refused(&[("GRANTD_DATABASE__URL", "sqlite::memory:")], "database.url", "would lose every client");
}

#[test]
fn postgres_without_a_shared_key_is_refused_with_the_command_that_makes_one() {
    let url = ("GRANTD_DATABASE__URL", "postgres://grantd@h/d");

    assert_refused(&[url], "keys.encryption_key", "openssl rand -base64 32");
    load_environment(&[url, ("GRANTD_KEYS__ENCRYPTION_KEY", KEY)]);
}

#[test]
fn a_status_list_that_is_kept_for_ever_or_not_at_all_is_refused() {
    assert_refused(&[("GRANTD_STATUS__TTL", "0s")], "status.ttl", "no time at all");
    assert_refused(&[("GRANTD_STATUS__TTL", "25h")], "status.ttl", "give at most 1d");
    load_environment(&[("GRANTD_STATUS__TTL", "1d")]);
}

#[test]
fn keys_that_would_not_be_ready_in_time_are_refused_and_a_missing_key_beside_them_too() {
    let rotation = [("GRANTD_KEYS__ROTATE_EVERY", "5s"), ("GRANTD_KEYS__PUBLISH_BEFORE", "5s")];
    assert_refused(&rotation, "keys.publish_before", "is not shorter than keys.rotate_every (5s)");
    assert_refused(&[("GRANTD_KEYS__PUBLISH_BEFORE", "0s")], "keys.publish_before", "no time at all");
    assert_refused(&[("GRANTD_KEYS__ALGORITHM", "HS256")], "keys.algorithm", "not a signing algorithm");

    let both = mistakes_in(&[rotation[0], rotation[1], ("GRANTD_DATABASE__URL", "postgres://h/d")]);
    assert_eq!(both.lines().count(), 2, "{both}");
}

#[test]
fn tokens_that_are_never_good_are_refused() {
    for (variable, key) in [
        ("GRANTD_TOKENS__ACCESS_TTL", "tokens.access_ttl"),
        ("GRANTD_TOKENS__REFRESH_TTL", "tokens.refresh_ttl"),
        ("GRANTD_TOKENS__REFRESH_IDLE_TTL", "tokens.refresh_idle_ttl"),
        ("GRANTD_PASSWORDS__QUEUE_DEADLINE", "passwords.queue_deadline"),
    ] {
        assert_refused(&[(variable, "0s")], key, "no time at all");
    }
}

#[test]
fn a_retry_window_that_was_asked_for_must_fit_into_the_tokens_life() {
    assert_refused(
        &[("GRANTD_TOKENS__REFRESH_IDLE_TTL", "1h"), ("GRANTD_TOKENS__REFRESH_RETRY_WINDOW", "2h")],
        "tokens.refresh_retry_window",
        "2h is longer than tokens.refresh_idle_ttl (1h)",
    );
}

#[test]
fn an_audience_that_no_service_can_check_is_refused() {
    assert_refused(
        &[("GRANTD_TOKENS__DEFAULT_AUDIENCE", "https://api.example.com#x")],
        "tokens.default_audience",
        "absolute URI without fragment",
    );
}

#[test]
fn hashes_below_owasps_minimum_are_for_loopback_only() {
    for (memory, passes, enough) in [
        ("47104", "1", true),
        ("19456", "2", true),
        ("12288", "3", true),
        ("9216", "4", true),
        ("7168", "5", true),
        ("19456", "1", false),
        ("12287", "3", false),
        ("7167", "100", false),
    ] {
        let cost = [("GRANTD_PASSWORDS__MEMORY_KIB", memory), ("GRANTD_PASSWORDS__ITERATIONS", passes)];
        let public = [PUBLIC, cost[0], cost[1]];

        load_environment(&cost);
        if enough {
            load_environment(&public);
        } else {
            assert_refused(&public, "passwords.memory_kib", "less than OWASP's minimum");
        }
    }
}

#[test]
fn argon2_gets_the_memory_it_needs_even_on_loopback() {
    assert_refused(
        &[("GRANTD_PASSWORDS__MEMORY_KIB", "31"), ("GRANTD_PASSWORDS__PARALLELISM", "4")],
        "passwords.memory_kib",
        "less than 8 for each of 4 lanes",
    );
}

#[test]
fn short_passwords_are_for_loopback_only() {
    let short = ("GRANTD_PASSWORDS__MIN_LENGTH", "7");

    load_environment(&[short]);
    assert_refused(&[PUBLIC, short], "passwords.min_length", "at least 8");
    assert_refused(&[("GRANTD_PASSWORDS__MAX_LENGTH", "7")], "passwords.max_length", "no password would do");
}

#[test]
fn a_wrong_issuer_does_not_add_mistakes_that_depend_on_it() {
    let mistakes =
        mistakes_in(&[("GRANTD_SERVER__ISSUER", "auth.example.com"), ("GRANTD_PASSWORDS__MIN_LENGTH", "1")]);

    assert_eq!(mistakes.lines().count(), 1, "{mistakes}");
}

#[test]
fn a_limit_that_locks_everybody_out_is_refused() {
    assert_refused(&[("GRANTD_THROTTLE__DAILY_LIMIT", "0")], "throttle.daily_limit", "from 1 to");
}

#[test]
fn a_misspelt_log_level_is_refused() {
    let sources = environment(&[("GRANTD_LOG__LEVEL", "inof"), ("GRANTD_LOG__FORMAT", "xml")]);

    let mistakes = load(&sources).expect_err("mistakes").to_string();

    assert!(
        mistakes.contains("log.level (environment GRANTD_LOG__LEVEL): 'inof' is not a level"),
        "{mistakes}"
    );
    assert!(mistakes.contains("'xml' is not a log format"), "{mistakes}");
}
