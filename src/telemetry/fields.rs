//! What a span or an event says about itself, kept until a line is written. Knows nothing of how lines look.

use std::fmt::{self, Write as _};

use serde_json::Value;
use tracing::field::{Field, Visit};

/// A longer value is cut: nobody fills a disk with one request.
pub(super) const LONGEST_VALUE: usize = 8 * 1024;

/// How much room of a text is kept for the next: more than nearly all take.
pub(super) const ROOM_KEPT: usize = 4 * 1024;

/// Whether the line itself uses this name; a field that has it is left out.
fn is_own(name: &str) -> bool {
    matches!(name, "timestamp" | "level" | "target" | "message")
}

/// The fields of a span or an event, in the order they were recorded, one value per name.
///
/// All text stands in one buffer, because each request records a dozen values. What was recorded twice leaves its
/// first text there; spans end with their requests.
#[derive(Default)]
pub(super) struct Fields {
    text: String,
    values: Vec<(&'static str, Recorded)>,
}

#[derive(Clone, Copy)]
enum Recorded {
    /// From here to there in the buffer.
    Text(usize, usize),
    Float(f64),
    Signed(i64),
    Unsigned(u64),
    Truth(bool),
}

/// What is written of a value.
#[derive(Debug, PartialEq)]
pub(super) enum Shown<'a> {
    Text(&'a str),
    Other(Value),
}

impl Fields {
    /// Room for so many values and so many bytes of text.
    pub(super) fn with_room(values: usize, text: usize) -> Self {
        Self { text: String::with_capacity(text), values: Vec::with_capacity(values) }
    }

    /// Forgets all of it, and keeps its room.
    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.text.shrink_to(ROOM_KEPT);
        self.values.clear();
    }

    fn has(&self, name: &str) -> bool {
        self.values.iter().any(|(present, _)| *present == name)
    }

    fn set(&mut self, name: &'static str, value: Recorded) {
        match self.values.iter_mut().find(|(present, _)| *present == name) {
            Some((_, old)) => *old = value,
            None => self.values.push((name, value)),
        }
    }

    /// Leaves out the names that are not wanted.
    pub(super) fn retain(&mut self, wanted: impl Fn(&str) -> bool) {
        self.values.retain(|(name, _)| wanted(name));
    }

    /// What was recorded later.
    pub(super) fn take_over(&mut self, recorded: &Self) {
        for (name, value) in &recorded.values {
            let value = self.adopt(*value, recorded);
            self.set(name, value);
        }
    }

    /// What a span around says, unless it was said already.
    pub(super) fn inherit(&mut self, outer: &Self) {
        let own = self.values.len();
        self.values.reserve(outer.values.len());
        self.text.reserve(outer.text.len());
        for (name, value) in &outer.values {
            if !self.values[..own].iter().any(|(inner, _)| inner == name) {
                let value = self.adopt(*value, outer);
                self.values.push((name, value));
            }
        }
    }

    /// A value of another buffer as one of this.
    fn adopt(&mut self, value: Recorded, of: &Self) -> Recorded {
        let Recorded::Text(from, to) = value else { return value };
        let begin = self.text.len();
        self.text.push_str(&of.text[from..to]);
        Recorded::Text(begin, self.text.len())
    }

    fn shown(&self, value: Recorded) -> Shown<'_> {
        match value {
            Recorded::Text(from, to) => Shown::Text(&self.text[from..to]),
            Recorded::Float(value) => Shown::Other(value.into()),
            Recorded::Signed(value) => Shown::Other(value.into()),
            Recorded::Unsigned(value) => Shown::Other(value.into()),
            Recorded::Truth(value) => Shown::Other(value.into()),
        }
    }

    /// Formats a value up to the limit; what is longer ends in an ellipsis.
    pub(super) fn cut(&mut self, name: &'static str, value: fmt::Arguments<'_>) {
        let begin = self.text.len();
        let mut limited = Limited { text: &mut self.text, end: begin + LONGEST_VALUE };
        if limited.write_fmt(value).is_err() {
            self.text.push('…');
        }
        self.set(name, Recorded::Text(begin, self.text.len()));
    }
}

/// What a line tells: what an event says, and what the span around it says beside.
pub(super) struct Told<'a> {
    pub(super) fields: &'a Fields,
    pub(super) outer: Option<&'a Fields>,
}

impl<'a> Told<'a> {
    /// The words of an event.
    pub(super) fn message(&self) -> &'a str {
        let message = self.fields.values.iter().find(|(name, _)| *name == "message");
        match message.map(|(_, value)| self.fields.shown(*value)) {
            Some(Shown::Text(text)) => text,
            _ => "",
        }
    }

    /// Tells all other fields, the inner ones first.
    pub(super) fn each_other(&self, mut tell: impl FnMut(&'static str, Shown<'a>)) {
        for (name, value) in &self.fields.values {
            if !is_own(name) {
                tell(name, self.fields.shown(*value));
            }
        }
        let Some(outer) = self.outer else { return };
        for (name, value) in &outer.values {
            if !is_own(name) && !self.fields.has(name) {
                tell(name, outer.shown(*value));
            }
        }
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field.name(), Recorded::Float(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field.name(), Recorded::Signed(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field.name(), Recorded::Unsigned(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field.name(), Recorded::Truth(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if value.len() > LONGEST_VALUE {
            return self.cut(field.name(), format_args!("{value}"));
        }
        let begin = self.text.len();
        self.text.push_str(value);
        self.set(field.name(), Recorded::Text(begin, self.text.len()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.cut(field.name(), format_args!("{value:?}"));
    }
}

struct Limited<'a> {
    text: &'a mut String,
    end: usize,
}

impl fmt::Write for Limited<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let fitting = text.floor_char_boundary(self.end - self.text.len());
        self.text.push_str(&text[..fitting]);
        if fitting < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}
