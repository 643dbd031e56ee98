//! Logs and metrics: where a line goes, what it looks like, what must never be in it. Knows no grant, no table and no setting.
//!
//! Everything that is logged leaves through one layer (`format`), which escapes whatever an attacker may have
//! put into a value, and passes one gate (`filter`), which keeps dependencies quiet and away from secrets.
//! Logs go to stderr; stdout belongs to the data of the commands. `RUST_LOG` is not read: what is logged is a
//! setting like any other, so that `config show` tells the truth.

mod batched;
mod fields;
mod filter;
mod format;
pub mod metrics;
mod panic;
mod second;
mod traces;

use std::io::{IsTerminal as _, Stderr, stderr};
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::Subscriber;
use tracing_log::LogTracer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use url::Url;

use self::batched::Batched;
use self::filter::Levels;
use self::format::{Colours, LogLayer};
use self::traces::Traces;
pub use crate::model::log_level::LogFormat;

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The text of `log.level` cannot be read.
    #[error(
        "log.level has {given:?}, which is not a level: write off, error, warn, info, debug or trace, \
         and after it, if needed, target=level pairs, all separated by commas"
    )]
    Level {
        /// The part that was not understood.
        given: String,
    },
    /// The exporter cannot be made.
    #[error("telemetry.otlp_endpoint cannot be used: {0}")]
    Traces(String),
    /// The system refuses a thread.
    #[error("the thread that writes the logs cannot be started: {0}")]
    Thread(std::io::Error),
    /// Another subscriber or logger is in place.
    #[error(
        "logging is already set up in this process and can be set up only once; call telemetry::init one time"
    )]
    AlreadySetUp,
}

/// How soon a line must be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Haste {
    /// At once: between what a command says.
    Now,
    /// A moment later, with others, unless it is a warning or somebody watches.
    Soon,
}

/// The logs of this process. Dropped when nothing is left to be said: writes and sends what was gathered.
#[must_use]
pub struct Logs {
    traces: Option<Traces>,
    lines: Batched<Stderr>,
}

impl Drop for Logs {
    fn drop(&mut self) {
        // Whose end may have something to say.
        self.traces = None;
        self.lines.write_out();
    }
}

/// Sends the logs of this process to stderr and panics to the logs. Call it once, before anything else speaks.
///
/// `level` is a level (`off`, `error`, `warn`, `info`, `debug`, `trace`), optionally followed by `target=level`
/// pairs, all separated by commas: `info,sqlx=debug`. The bare level is grantd's own; dependencies speak
/// more quietly unless they are named (see `filter`).
/// Traces go to the collector at `otlp_endpoint`, if there is one, until the value that is given back is dropped.
pub fn init(
    format: LogFormat,
    level: &str,
    otlp_endpoint: Option<&Url>,
    haste: Haste,
) -> Result<Logs, TelemetryError> {
    let levels = Levels::parse(level)?;
    let loudest_dependency = levels.loudest_dependency;
    let terminal = stderr().is_terminal();
    let colours = Colours::when(terminal && std::env::var_os("NO_COLOR").is_none());
    let lines = match haste {
        Haste::Soon if !terminal => Batched::in_batches(stderr()).map_err(TelemetryError::Thread)?,
        Haste::Soon | Haste::Now => Batched::hastily(stderr()),
    };
    let traces = otlp_endpoint.map(Traces::to).transpose()?;
    let subscriber = assemble(LogLayer::new(format, colours, lines.clone()), levels)
        .with(traces.as_ref().map(Traces::layer));

    tracing::subscriber::set_global_default(subscriber).map_err(|_| TelemetryError::AlreadySetUp)?;
    EXPORTS_TRACES.store(traces.is_some(), Ordering::Relaxed);
    // rustls, mio and parts of actix-web and sqlx speak through the `log` crate.
    LogTracer::init_with_filter(loudest_dependency).map_err(|_| TelemetryError::AlreadySetUp)?;
    panic::log_panics();
    Ok(Logs { traces, lines })
}

static EXPORTS_TRACES: AtomicBool = AtomicBool::new(false);

/// Whether spans go to a collector, whatever the level of the logs.
pub fn traces_are_exported() -> bool {
    EXPORTS_TRACES.load(Ordering::Relaxed)
}

/// The subscriber that [`init`] installs, writing elsewhere and without colours: for tests that read the logs.
pub fn subscriber<W>(
    format: LogFormat,
    level: &str,
    writer: W,
) -> Result<impl Subscriber + Send + Sync, TelemetryError>
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    Ok(assemble(LogLayer::new(format, Colours::Off, writer), Levels::parse(level)?))
}

fn assemble<W>(
    layer: LogLayer<W>,
    levels: Levels,
) -> impl Subscriber + Send + Sync + for<'span> LookupSpan<'span>
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    tracing_subscriber::registry().with(levels.targets).with(layer)
}

/// What the tests of this room share: a place that keeps what was logged.
#[cfg(test)]
pub(crate) mod capture {
    use std::io;
    use std::sync::{Arc, Mutex, Once};

    use serde_json::Value;
    use tracing::subscriber::DefaultGuard;
    use tracing_subscriber::filter::dynamic_filter_fn;
    use tracing_subscriber::fmt::MakeWriter;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::LogFormat;

    #[derive(Clone, Default)]
    pub(crate) struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Captured {
        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().expect("not poisoned").clone()).expect("logs are UTF-8")
        }

        pub(crate) fn json(&self) -> Vec<Value> {
            self.text()
                .lines()
                .map(|line| serde_json::from_str(line).expect("one JSON object per line"))
                .collect()
        }
    }

    impl io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("not poisoned").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'writer> MakeWriter<'writer> for Captured {
        type Writer = Self;

        fn make_writer(&'writer self) -> Self {
            self.clone()
        }
    }

    /// Logs of this thread go into the answer for as long as the guard lives.
    pub(crate) fn listen(format: LogFormat, level: &str) -> (Captured, DefaultGuard) {
        // tracing caches per line of code whether anybody listens. A thread without a subscriber could reach a
        // line first, just while ours is being made, and "nobody" would stick; with this one, somebody always does.
        static SOMEBODY: Once = Once::new();
        SOMEBODY.call_once(|| {
            let somebody = tracing_subscriber::registry().with(dynamic_filter_fn(|_, _| true));
            let _ = tracing::subscriber::set_global_default(somebody);
        });
        let captured = Captured::default();
        let subscriber = super::subscriber(format, level, captured.clone()).expect("a level");
        (captured, tracing::subscriber::set_default(subscriber))
    }

    /// Runs `story` and returns what it logged.
    pub(crate) fn logs_of(format: LogFormat, level: &str, story: impl FnOnce()) -> Captured {
        let (captured, _listening) = listen(format, level);
        story();
        captured
    }
}
