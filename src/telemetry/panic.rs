//! What is logged when code panics: one line with the place and a message without the data it choked on. Knows nothing of HTTP.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::borrow::Cow;
use std::panic::PanicHookInfo;

/// More of a panic's message is not needed to find its cause.
const LONGEST_MESSAGE: usize = 300;

/// Makes each panic one event at error, inside the span it happened in, in place of the raw text on stderr.
pub(super) fn log_panics() {
    std::panic::set_hook(Box::new(report));
}

fn report(panic: &PanicHookInfo<'_>) {
    let message = panic.payload_as_str().map_or(Cow::Borrowed("(no message)"), without_data);
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    let current = std::thread::current();
    let thread = current.name().unwrap_or("unnamed");
    // Holds names and lines, no values; taken only when RUST_BACKTRACE asks for it.
    let backtrace = Backtrace::capture();
    match backtrace.status() {
        BacktraceStatus::Captured => {
            tracing::error!(%location, thread, %backtrace, "panicked: {message}; this is a bug in grantd");
        }
        _ => tracing::error!(%location, thread, "panicked: {message}; this is a bug in grantd"),
    }
}

/// After these, messages of the standard library quote values: `unwrap` and `expect` show the error (": "),
/// a failed assertion both sides ("\n"), and a text cut at a wrong byte is shown whole ("of `", "slicing `").
const DATA_FOLLOWS: [&str; 5] = [": ", "\n", "; ", " of `", " slicing `"];

/// A panic's message without what may be someone's secret; the place in the code says the rest.
fn without_data(message: &str) -> Cow<'_, str> {
    let end = DATA_FOLLOWS.iter().filter_map(|mark| message.find(mark)).min().unwrap_or(message.len());
    let kept = &message[..message.floor_char_boundary(end.min(LONGEST_MESSAGE))];
    match kept.len() == message.len() {
        true => Cow::Borrowed(kept),
        false => Cow::Owned(format!("{kept} (rest left out)")),
    }
}

#[cfg(test)]
mod tests {
    use std::panic;

    use super::super::LogFormat;
    use super::super::capture::logs_of;
    use super::*;

    #[test]
    fn a_panic_is_logged_once_with_its_place_and_its_request() {
        let before = panic::take_hook();
        log_panics();
        let logs = logs_of(LogFormat::Json, "info", || {
            let outcome = panic::catch_unwind(|| {
                let _inside = tracing::error_span!("request", request_id = "r-1").entered();
                panic!("a canary fell")
            });
            assert!(outcome.is_err(), "it panics");
        });
        panic::set_hook(before);

        let lines = logs.json();
        // Another test may panic on purpose meanwhile, but not into this subscriber.
        let [line] = &lines[..] else { panic!("one line: {}", logs.text()) };
        assert_eq!(line["level"], "ERROR");
        assert_eq!(line["message"], "panicked: a canary fell; this is a bug in grantd");
        assert_eq!(line["request_id"], "r-1");
        assert!(line["location"].as_str().is_some_and(|place| place.starts_with("src/telemetry/panic.rs:")));
    }

    #[test]
    fn what_the_standard_library_quotes_in_a_panic_is_left_out() {
        let secret = "gcs_canaryé";
        let cut = std::hint::black_box(secret.len() - 1);
        let panics: [Box<dyn Fn() + panic::UnwindSafe + panic::RefUnwindSafe>; 4] = [
            Box::new(move || drop(secret[..cut].to_owned())),
            Box::new(move || drop(secret[cut + 20..].to_owned())),
            Box::new(move || std::hint::black_box(Err::<(), _>(secret)).expect("a promise")),
            Box::new(move || assert_eq!(secret, "something else")),
        ];
        for choke in panics {
            let payload = panic::catch_unwind(choke).expect_err("it panics");
            let message = payload
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| payload.downcast_ref::<&str>().copied())
                .expect("a text");
            assert!(message.contains("canary"), "the test lost its point: {message}");

            let kept = without_data(message);

            assert!(!kept.contains("canary") && !kept.contains('é'), "{kept}");
            assert!(kept.ends_with(" (rest left out)"), "{kept}");
        }
    }

    #[test]
    fn a_message_without_data_is_kept() {
        assert_eq!(without_data("not a number"), "not a number");
        assert_eq!(without_data(&"é".repeat(200)).chars().filter(|c| *c == 'é').count(), LONGEST_MESSAGE / 2);
    }
}
