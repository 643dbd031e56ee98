//! How a log line looks, for people and for programs, and the escaping that keeps one event one line. Knows no level rules and no HTTP.
//!
//! Both formats show the same fields: those of the event, then those of the spans around it (request id,
//! method, route, …), flat. An inner name wins over an outer one. Names come from our source code; values may
//! come from an attacker, so values are cut at a limit and every character that could move a cursor, start a
//! new line or turn the reading direction is written as an escape. This is more than tracing-subscriber's own
//! formatter does, which escapes ANSI sequences but lets a line feed in a displayed value through.

use std::cell::Cell;
use std::fmt::{self, Write as _};
use std::io::{self, Write as _};

use serde::Serializer as _;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_log::NormalizeEvent as _;
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::fields::{Fields, ROOM_KEPT, Shown, Told};
use super::{LogFormat, second};
use crate::model::json::{is_plain, push_plain};

/// Whether lines for people are coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colours {
    /// On a terminal.
    On,
    /// In a file or pipe.
    Off,
}

impl Colours {
    pub(super) fn when(wanted: bool) -> Self {
        if wanted { Self::On } else { Self::Off }
    }
}

/// The layer that writes each event as one line, by one call of `write`.
pub(super) struct LogLayer<W> {
    format: LogFormat,
    colours: Colours,
    writer: W,
}

impl<W> LogLayer<W> {
    pub(super) fn new(format: LogFormat, colours: Colours, writer: W) -> Self {
        Self { format, colours, writer }
    }
}

impl<S, W> Layer<S> for LogLayer<W>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    W: for<'writer> MakeWriter<'writer> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        // Room for all that such a span will be told, as far as that is known.
        let mut fields = Fields::with_room(attributes.metadata().fields().len(), 160);
        attributes.record(&mut fields);
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        // Read first: a value's Debug may log, and must not meet the lock of its own span.
        let mut recorded = SCRATCH.take();
        values.record(&mut recorded);
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            fields.take_over(&recorded);
        }
        recorded.clear();
        SCRATCH.set(recorded);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        // An event that came over from the `log` crate carries its real target in fields.
        let bridged = event.normalized_metadata();
        let metadata = bridged.as_ref().unwrap_or_else(|| event.metadata());
        let mut said = SCRATCH.take();
        event.record(&mut said);
        if bridged.is_some() {
            said.retain(|name| !name.starts_with("log."));
        }
        let mut scope = context.event_scope(event).into_iter().flatten();
        let mut outermost = scope.next();
        for span in scope {
            if let Some(inner) = outermost.replace(span)
                && let Some(outer) = inner.extensions().get::<Fields>()
            {
                said.inherit(outer);
            }
        }
        // Nearly always the only one, and not worth a copy.
        let extensions = outermost.as_ref().map(|span| span.extensions());
        let outer = extensions.as_ref().and_then(|extensions| extensions.get::<Fields>());
        let fields = Told { fields: &said, outer };

        let level = metadata.level();
        let mut line = LINE.take();
        second::with_now(|timestamp| {
            let head = Head { timestamp, level, target: metadata.target() };
            match self.format {
                LogFormat::Json => json_line(&mut line, &head, &fields),
                LogFormat::Pretty => pretty_line(&mut line, &head, &fields, self.colours),
            }
        });

        // There is nobody to tell that stderr is gone.
        let _ = self.writer.make_writer_for(metadata).write_all(line.as_bytes());
        line.clear();
        line.shrink_to(ROOM_KEPT);
        LINE.set(line);
        said.clear();
        SCRATCH.set(said);
    }
}

thread_local! {
    /// What was recorded last, for the room that it has.
    static SCRATCH: Cell<Fields> = Cell::default();
    /// The last line, for the same.
    static LINE: Cell<String> = Cell::default();
}

struct Head<'a> {
    timestamp: &'a str,
    level: &'a Level,
    target: &'a str,
}

fn json_line(line: &mut String, head: &Head<'_>, fields: &Told<'_>) {
    let own = [
        ("timestamp", head.timestamp),
        ("level", head.level.as_str()),
        ("target", head.target),
        ("message", fields.message()),
    ];
    for (name, text) in own {
        begin_member(line, name);
        push_text(line, text);
    }
    fields.each_other(|name, value| {
        begin_member(line, name);
        match value {
            Shown::Text(text) => push_text(line, text),
            // Writing into a String cannot fail.
            Shown::Other(value) => _ = write!(line, "{value}"),
        }
    });
    line.push_str("}\n");
}

fn begin_member(line: &mut String, name: &str) {
    line.push_str(if line.is_empty() { "{\"" } else { ",\"" });
    // Names stand in our source, and are words.
    line.push_str(name);
    line.push_str("\":");
}

fn push_text(line: &mut String, text: &str) {
    if is_plain(text) {
        return push_plain(line, text);
    }
    let mut escaped = Vec::with_capacity(text.len() + 16);
    let mut serializer = serde_json::Serializer::with_formatter(&mut escaped, NothingRaw);
    // A text into memory: serde_json has no reason to fail here.
    let written = serializer.serialize_str(text).ok().and_then(|()| String::from_utf8(escaped).ok());
    line.push_str(written.as_deref().unwrap_or("null"));
}

fn pretty_line(line: &mut String, head: &Head<'_>, fields: &Told<'_>, colours: Colours) {
    let (dim, colour, plain) = match colours {
        Colours::Off => ("", "", ""),
        Colours::On => ("\x1b[2m", colour_of(head.level), "\x1b[0m"),
    };
    // Writing into a String cannot fail.
    let _ = write!(line, "{dim}{}{plain} {colour}{:>5}{plain} ", head.timestamp, head.level.as_str());
    let _ = write!(line, "{dim}{}:{plain} {}", Escaped(head.target), Escaped(fields.message()));
    fields.each_other(|name, value| {
        let _ = write!(line, " {dim}{name}={plain}");
        let _ = match value {
            Shown::Text(text) if stands_alone(text) => write!(line, "{text}"),
            Shown::Text(text) => write!(line, "\"{}\"", Quoted(text)),
            Shown::Other(value) => write!(line, "{value}"),
        };
    });
    line.push('\n');
}

fn colour_of(level: &Level) -> &'static str {
    match *level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        Level::DEBUG => "\x1b[34m",
        Level::TRACE => "\x1b[35m",
    }
}

/// Whether a reader can see where a value ends without quotes. Else `client_id="a status=200"` could pass for two fields.
fn stands_alone(text: &str) -> bool {
    !text.is_empty()
        && text.chars().all(|c| !c.is_whitespace() && !moves_the_reader(c) && !matches!(c, '"' | '=' | '\\'))
}

/// Control characters, line separators, and the marks that turn the reading direction ("Trojan Source", CVE-2021-42574).
fn moves_the_reader(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Text with every dangerous character as a Rust escape.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match moves_the_reader(c) {
            true => write!(f, "{}", c.escape_default()),
            false => f.write_char(c),
        })
    }
}

/// The same for text that stands between double quotes.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '"' | '\\' => write!(f, "\\{c}"),
            c => write!(f, "{}", Escaped(c.encode_utf8(&mut [0; 4]))),
        })
    }
}

/// JSON in which also the characters above U+001F that move the reader are escaped; RFC 8259 §7 demands only
/// those below. A log file is read with `tail` in a terminal, where U+009B starts a control sequence.
struct NothingRaw;

impl Formatter for NothingRaw {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| moves_the_reader(*c)) {
            writer.write_all(&rest.as_bytes()[..at])?;
            // All of them are in the basic plane: one code unit each.
            write!(writer, "\\u{:04x}", u32::from(c))?;
            rest = &rest[at + c.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }

    fn write_char_escape<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        CompactFormatter.write_char_escape(writer, escape)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tracing::{error_span, field, info};

    use super::super::capture::logs_of;
    use super::super::fields::LONGEST_VALUE;
    use super::*;

    const ATTACK: &str =
        "a\n2026-01-01T00:00:00Z ERROR forged \x1b[2J\u{9b}31m\r\t\0\u{7f}\u{2028}\u{202e}\" status=200 \\";

    #[test]
    fn json_is_one_flat_object_per_line_with_the_fields_of_all_spans() {
        let logs = logs_of(LogFormat::Json, "info", || {
            let root = error_span!("request", request_id = "r-1", status = field::Empty, depth = 1);
            root.in_scope(|| {
                let inner = error_span!("inner", depth = 2);
                root.record("status", 200);
                inner.in_scope(|| {
                    info!(count = 3_u64, fine = true, ratio = 0.5, text = "x", "hello {}", "world")
                });
            });
        });

        let [line] = &logs.json()[..] else { panic!("one line: {}", logs.text()) };
        assert!(line["timestamp"].as_str().is_some_and(|time| time.ends_with('Z') && time.contains('T')));
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["target"], "grantd::telemetry::format::tests");
        assert_eq!(line["message"], "hello world");
        assert_eq!(line["request_id"], "r-1");
        assert_eq!((&line["count"], &line["fine"], &line["ratio"]), (&json!(3), &json!(true), &json!(0.5)));
        assert_eq!((&line["text"], &line["status"], &line["depth"]), (&json!("x"), &json!(200), &json!(2)));
    }

    #[test]
    fn pretty_is_one_line_for_people() {
        let logs = logs_of(LogFormat::Pretty, "info", || {
            let root = error_span!("request", request_id = "r-1", status = field::Empty);
            root.record("status", 200);
            root.in_scope(|| info!(name = "two words", empty = "", "token issued"));
        });

        let text = logs.text();
        let (_, after_time) = text.split_once(' ').expect("a time first");
        assert_eq!(
            after_time,
            " INFO grantd::telemetry::format::tests: token issued name=\"two words\" empty=\"\" request_id=r-1 status=200\n"
        );
    }

    #[test]
    fn an_attacker_cannot_start_a_new_line_or_speak_to_the_terminal_in_any_way_a_value_is_recorded() {
        for format in [LogFormat::Pretty, LogFormat::Json] {
            let logs = logs_of(format, "info", || {
                let span = error_span!("request", displayed = %ATTACK, recorded = field::Empty);
                span.record("recorded", ATTACK);
                span.in_scope(|| info!(plain = ATTACK, shown = %ATTACK, debugged = ?ATTACK, "said {ATTACK}"));
            });

            let text = logs.text();
            assert_eq!(text.lines().count(), 1, "{format:?}: {text:?}");
            let line = text.strip_suffix('\n').expect("ends the line");
            assert!(!line.contains(moves_the_reader), "{format:?}: {line:?}");
        }
    }

    #[test]
    fn what_was_escaped_in_json_reads_back_unchanged() {
        let logs = logs_of(LogFormat::Json, "info", || info!(plain = ATTACK, "said {ATTACK}"));

        let line = &logs.json()[0];
        assert_eq!(line["plain"], ATTACK);
        assert_eq!(line["message"], format!("said {ATTACK}"));
    }

    #[test]
    fn a_value_cannot_pass_for_a_second_field() {
        let logs = logs_of(LogFormat::Pretty, "info", || info!(client_id = %"evil status=200", "refused"));

        assert!(logs.text().ends_with("refused client_id=\"evil status=200\"\n"), "{}", logs.text());
    }

    #[test]
    fn a_value_as_long_as_a_body_is_cut() {
        let logs = logs_of(LogFormat::Json, "info", || info!(long = "é".repeat(LONGEST_VALUE), "big"));

        let line = &logs.json()[0];
        let long = line["long"].as_str().expect("a text");
        assert!(long.len() <= LONGEST_VALUE + '…'.len_utf8() && long.ends_with("é…"));
    }

    #[test]
    fn a_value_that_logs_while_it_is_formatted_does_not_hang_its_span() {
        struct Talkative;
        impl fmt::Debug for Talkative {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                info!("formatting");
                f.write_str("done")
            }
        }

        let logs = logs_of(LogFormat::Json, "info", || {
            let span = error_span!("request", outcome = field::Empty).entered();
            span.record("outcome", field::debug(Talkative));
            info!("after");
        });

        let lines = logs.json();
        assert_eq!((&lines[0]["message"], &lines[1]["outcome"]), (&json!("formatting"), &json!("done")));
    }

    #[test]
    fn a_field_cannot_replace_the_names_of_the_line_itself() {
        let logs = logs_of(LogFormat::Json, "info", || info!(level = "forged", timestamp = 0, "real"));

        assert_eq!(logs.text().matches("\"level\"").count(), 1);
        assert_eq!(logs.json()[0]["level"], "INFO");
    }

    #[test]
    fn colours_never_come_from_a_value() {
        let head = Head { timestamp: "t", level: &Level::WARN, target: "grantd" };
        let mut fields = Fields::default();
        fields.cut("message", format_args!("\x1b[31mred"));
        fields.cut("x", format_args!("\x1b[0m"));

        let mut line = String::new();
        pretty_line(&mut line, &head, &Told { fields: &fields, outer: None }, Colours::On);

        assert_eq!(
            line,
            "\x1b[2mt\x1b[0m \x1b[33m WARN\x1b[0m \x1b[2mgrantd:\x1b[0m \\u{1b}[31mred \x1b[2mx=\x1b[0m\"\\u{1b}[0m\"\n"
        );
    }
}
