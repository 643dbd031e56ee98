//! The gate of the logs: which target may speak at which level. Knows dependencies by name, never what they say.
//!
//! The level an operator sets is grantd's own. Dependencies are held below it, because their fine-grained
//! lines are noise at best and other people's bytes at worst. Naming a target (`info,actix_http=trace`) lifts
//! its cap: whoever does that asked for it by name.

use tracing::metadata::LevelFilter;
use tracing_subscriber::filter::Targets;

use super::TelemetryError;
use crate::model::log_level::{InvalidLogLevel, LogLevels, Verbosity};

/// Targets whose fine lines may carry bytes of a request or a secret of the configuration, with the level at
/// which they were read to be harmless. Checked in actix-http 3.20, actix-web 4.18, rustls 0.23, sqlx 0.9:
/// - actix_http: below info, values of framing headers and parse errors over raw bytes;
/// - actix_web: below info, request paths and the Debug of whatever error a handler gave;
/// - rustls: below info, whole ClientHello and handshake messages, with session tickets;
/// - hyper, h2, reqwest (not in the server today): headers;
/// - sqlx_postgres::options::parse: at warn, the name *and value* of an unknown parameter of `database.url`,
///   which may be a mistyped password.
///
/// sqlx::query is not here: `QueryLogger` holds the statement's text and row counts, never the binds.
const CAPPED: &[(&str, LevelFilter)] = &[
    ("actix_codec", LevelFilter::INFO),
    ("actix_http", LevelFilter::INFO),
    ("actix_router", LevelFilter::INFO),
    ("actix_server", LevelFilter::INFO),
    ("actix_tls", LevelFilter::INFO),
    ("actix_web", LevelFilter::INFO),
    ("h2", LevelFilter::INFO),
    ("hyper", LevelFilter::INFO),
    ("mio", LevelFilter::INFO),
    ("reqwest", LevelFilter::INFO),
    ("rustls", LevelFilter::INFO),
    ("tokio_rustls", LevelFilter::INFO),
    ("sqlx_postgres::options::parse", LevelFilter::ERROR),
];

/// Targets that report as errors what any caller can cause at will (actix-http: one line per malformed request
/// or broken connection). Heard from debug on; below that they would only be a way to fill our disk.
const CALLERS_DOING: &[&str] = &["actix_http::h1::dispatcher"];

/// The parsed `log.level`.
pub(super) struct Levels {
    /// Who may say what.
    pub(super) targets: Targets,
    /// The finest level at which any dependency speaks; lets the `log` bridge drop the rest unseen.
    pub(super) loudest_dependency: tracing_log::log::LevelFilter,
}

impl Levels {
    /// Reads `level` or `level,target=level,…`; without a bare level grantd speaks at info.
    pub(super) fn parse(text: &str) -> Result<Self, TelemetryError> {
        let levels: LogLevels = text
            .parse()
            .map_err(|invalid: InvalidLogLevel| TelemetryError::Level { given: invalid.given })?;
        let own = filter_of(levels.own);
        let named: Vec<_> =
            levels.named.into_iter().map(|(target, level)| (target, filter_of(level))).collect();

        let others = level_of_dependencies(own);
        let capped = CAPPED.iter().map(|(target, cap)| (*target, others.min(*cap)));
        let callers_doing =
            if own >= LevelFilter::DEBUG { others.min(LevelFilter::INFO) } else { LevelFilter::OFF };
        let callers_doing = CALLERS_DOING.iter().map(|target| (*target, callers_doing));
        let loudest = named.iter().map(|(_, level)| *level).chain([others]).max().unwrap_or(others);
        // Later directives replace earlier ones for the same target, so what the operator names wins.
        let targets = Targets::new()
            .with_default(others)
            .with_targets(capped)
            .with_targets(callers_doing)
            .with_target("grantd", own)
            .with_targets(named);

        Ok(Self { targets, loudest_dependency: as_log(loudest) })
    }
}

/// One or two steps below grantd's own level where that is chatty: at info only their warnings are heard.
fn level_of_dependencies(own: LevelFilter) -> LevelFilter {
    match own {
        LevelFilter::TRACE => LevelFilter::DEBUG,
        LevelFilter::DEBUG => LevelFilter::INFO,
        LevelFilter::INFO => LevelFilter::WARN,
        quieter => quieter,
    }
}

const fn filter_of(verbosity: Verbosity) -> LevelFilter {
    match verbosity {
        Verbosity::Off => LevelFilter::OFF,
        Verbosity::Error => LevelFilter::ERROR,
        Verbosity::Warn => LevelFilter::WARN,
        Verbosity::Info => LevelFilter::INFO,
        Verbosity::Debug => LevelFilter::DEBUG,
        Verbosity::Trace => LevelFilter::TRACE,
    }
}

fn as_log(level: LevelFilter) -> tracing_log::log::LevelFilter {
    use tracing_log::log;
    match level.into_level() {
        None => log::LevelFilter::Off,
        Some(tracing::Level::ERROR) => log::LevelFilter::Error,
        Some(tracing::Level::WARN) => log::LevelFilter::Warn,
        Some(tracing::Level::INFO) => log::LevelFilter::Info,
        Some(tracing::Level::DEBUG) => log::LevelFilter::Debug,
        Some(tracing::Level::TRACE) => log::LevelFilter::Trace,
    }
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    fn speaks(setting: &str, target: &str, level: Level) -> bool {
        Levels::parse(setting).expect("a good setting").targets.would_enable(target, &level)
    }

    #[test]
    fn at_info_grantd_tells_its_decisions_and_dependencies_only_warn() {
        assert!(speaks("info", "grantd::http::token", Level::INFO));
        assert!(!speaks("info", "grantd::http::token", Level::DEBUG));
        for dependency in ["sqlx::query", "actix_server::builder", "rustls::server::hs", "some_new_crate"] {
            assert!(speaks("info", dependency, Level::WARN), "{dependency}");
            assert!(!speaks("info", dependency, Level::INFO), "{dependency}");
        }
    }

    #[test]
    fn even_at_trace_the_targets_that_see_raw_requests_stay_quiet() {
        for (target, _) in CAPPED {
            assert!(!speaks("trace", target, Level::DEBUG), "{target}");
        }
        for target in ["actix_http::h1::decoder", "actix_web::types::path", "rustls::server::hs"] {
            assert!(!speaks("trace", target, Level::DEBUG), "{target}");
        }
        assert!(speaks("trace", "sqlx::query", Level::DEBUG));
        assert!(speaks("trace", "grantd::app", Level::TRACE));
    }

    #[test]
    fn a_mistyped_password_in_the_database_url_is_not_repeated_by_sqlx() {
        for setting in ["info", "debug", "trace"] {
            assert!(!speaks(setting, "sqlx_postgres::options::parse", Level::WARN), "{setting}");
        }
    }

    #[test]
    fn a_target_speaks_when_the_operator_names_it() {
        assert!(speaks("info,actix_http=trace", "actix_http::h1::decoder", Level::TRACE));
        assert!(speaks("info,actix_http::h1::dispatcher=error", "actix_http::h1::dispatcher", Level::ERROR));
        assert!(!speaks("info,actix_http=trace", "actix_web::app", Level::INFO));
        assert!(speaks("warn, sqlx = debug", "sqlx::query", Level::DEBUG));
        assert!(speaks("sqlx=debug", "grantd::app", Level::INFO));
        assert!(!speaks("info,grantd=error", "grantd::app", Level::INFO));
    }

    #[test]
    fn naming_a_family_of_targets_does_not_name_the_dangerous_member() {
        assert!(!speaks("info,actix=trace", "actix_http::h1::decoder", Level::DEBUG));
        assert!(!speaks("info,sqlx=trace", "sqlx_postgres::options::parse", Level::WARN));
    }

    #[test]
    fn callers_who_send_garbage_do_not_fill_the_log() {
        assert!(!speaks("info", "actix_http::h1::dispatcher", Level::ERROR));
        assert!(speaks("debug", "actix_http::h1::dispatcher", Level::ERROR));
        assert!(!speaks("trace", "actix_http::h1::dispatcher", Level::DEBUG));
        assert!(speaks("info", "actix_http::h1::service", Level::ERROR));
    }

    #[test]
    fn off_is_off() {
        assert!(!speaks("off", "grantd::app", Level::ERROR));
        assert!(!speaks("off", "sqlx::query", Level::ERROR));
    }

    #[test]
    fn the_bridge_from_the_log_crate_lets_through_what_somebody_may_say() {
        use tracing_log::log::LevelFilter as Log;
        for (setting, loudest) in [
            ("off", Log::Off),
            ("info", Log::Warn),
            ("debug", Log::Info),
            ("trace", Log::Debug),
            ("info,mio=trace", Log::Trace),
        ] {
            assert_eq!(Levels::parse(setting).expect("good").loudest_dependency, loudest, "{setting}");
        }
    }

    #[test]
    fn a_bad_level_is_named_with_what_may_stand_there() {
        for (setting, named) in [
            ("verbose", "verbose"),
            ("", ""),
            ("3", "3"),
            ("info,debug", "debug"),
            ("info,sqlx=loud", "sqlx=loud"),
            ("info,=debug", "=debug"),
            ("info,[request]=debug", "[request]=debug"),
            ("info,", ""),
        ] {
            let error = Levels::parse(setting).err().expect("refused");
            assert!(matches!(error, TelemetryError::Level { given } if given == named), "{setting}");
        }
        assert_eq!(
            Levels::parse("verbose\n").err().map(|error| error.to_string()).as_deref(),
            Some(
                "log.level has \"verbose\", which is not a level: write off, error, warn, info, debug or trace, \
                 and after it, if needed, target=level pairs, all separated by commas"
            )
        );
    }
}
