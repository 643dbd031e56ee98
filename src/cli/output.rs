//! Data on stdout, for people or as one JSON document; talk on stderr. Knows no command and no use case.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Write as _};

use clap::Args;
use comfy_table::{ContentArrangement, Table, presets};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::{Serialize, de};
use serde_json::Value;

use super::failure::Failure;

/// The flag of every command that prints data.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct JsonFlag {
    /// Print one JSON document instead of text for people
    #[arg(long)]
    json: bool,
}

/// Who reads stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// A person: an aligned table or `name: value` lines.
    People,
    /// A program: one JSON document.
    Json,
}

impl JsonFlag {
    /// Who reads stdout.
    pub(super) const fn format(self) -> Format {
        if self.json { Format::Json } else { Format::People }
    }
}

/// Prints one thing. People see the fields that programs see, in the same order.
pub(super) fn record(format: Format, thing: &impl Serialize) -> Result<(), Failure> {
    write(&match format {
        Format::People => lines(&fields(thing)?),
        Format::Json => json(thing)?,
    })
}

/// Prints a list: an array for programs; for people a table of these columns, and `none` on stderr if it is empty.
pub(super) fn list(
    format: Format,
    rows: &[impl Serialize],
    columns: &[&str],
    none: &str,
) -> Result<(), Failure> {
    match format {
        Format::People if rows.is_empty() => {
            talk(none);
            Ok(())
        }
        Format::People => write(&table(rows, columns)?),
        Format::Json => write(&json(&rows)?),
    }
}

/// Writes text to stdout.
pub(super) fn write(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    written.map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Failure::NobodyReads,
        _ => Failure::because(format!(
            "the answer cannot be written to stdout ({error}), but what was asked for is done: make room and look with the list and show commands (a secret that was not delivered is replaced by 'grantd client rotate-secret')"
        )),
    })
}

/// Tells the person at the terminal. A closed stderr is nobody to tell.
pub(super) fn talk(text: &str) {
    let mut stderr = io::stderr().lock();
    let _ = writeln!(stderr, "{}", printable(text));
}

/// The text without characters that move a terminal's cursor, change its colours or turn its writing direction;
/// line breaks stay.
pub(super) fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if character != '\n' && deceives(character) {
            safe.extend(character.escape_unicode());
        } else {
            safe.push(character);
        }
    }
    safe
}

/// A JSON document for programs, safe to be looked at.
pub(super) fn json(thing: &impl Serialize) -> Result<String, Failure> {
    escaped(&serde_json::to_string_pretty(thing)?)
}

/// The same on one line, for programs that read line by line.
pub(super) fn json_line(thing: &impl Serialize) -> Result<String, Failure> {
    escaped(&serde_json::to_string(thing)?)
}

fn escaped(text: &str) -> Result<String, Failure> {
    let mut safe = String::with_capacity(text.len() + 1);
    for character in text.chars() {
        // JSON's own line breaks are the only ones left; whatever else deceives stands inside a string, where
        // RFC 8259 §7 allows this form.
        if character != '\n' && deceives(character) {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                write!(safe, "\\u{unit:04x}")?;
            }
        } else {
            safe.push(character);
        }
    }
    safe.push('\n');
    Ok(safe)
}

/// Control characters, and the invisible ones that reorder what stands around them (Unicode UAX #9).
fn deceives(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A value as people read it, on one line.
pub(super) fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) => printable(text).replace('\n', "\\n"),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(", "),
        Value::Number(_) | Value::Object(_) => printable(&value.to_string()),
    };
    if text.is_empty() { "-".to_owned() } else { text }
}

/// `name: value` lines, the values below one another.
pub(super) fn lines(fields: &[(String, Value)]) -> String {
    let width = fields.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0) + 1;
    let mut text = String::new();
    for (name, value) in fields {
        let name = format!("{}:", cell(&Value::String(name.clone())));
        text.push_str(&format!("{name:<width$} {}\n", cell(value)));
    }
    text
}

fn table(rows: &[impl Serialize], columns: &[&str]) -> Result<String, Failure> {
    let mut table = Table::new();
    // Lines stay whole, so that `grep` and `awk` find what they look for.
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.iter().map(|column| column.to_uppercase()));
    for row in rows {
        let fields = fields(row)?;
        let of = |column: &&str| fields.iter().find(|(name, _)| name == column).map(|(_, value)| value);
        table.add_row(columns.iter().map(|column| cell(of(column).unwrap_or(&Value::Null))));
    }
    let mut text = String::new();
    for line in table.lines() {
        // The preset pads each cell on both sides; the outer padding is of no use.
        text.push_str(line.strip_prefix(' ').unwrap_or(&line).trim_end());
        text.push('\n');
    }
    Ok(text)
}

/// The fields of a thing in the order in which it has them, which `serde_json::Map` forgets.
pub(super) fn fields(thing: &impl Serialize) -> Result<Vec<(String, Value)>, Failure> {
    struct Fields(Vec<(String, Value)>);

    impl<'de> Deserialize<'de> for Fields {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct InOrder;

            impl<'de> Visitor<'de> for InOrder {
                type Value = Fields;

                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }

                fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                    let mut fields = Vec::new();
                    while let Some(field) = map.next_entry()? {
                        fields.push(field);
                    }
                    Ok(Fields(fields))
                }
            }
            de::Deserializer::deserialize_map(deserializer, InOrder)
        }
    }

    let Fields(fields) = serde_json::from_str(&serde_json::to_string(thing)?)?;
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Thing {
        zebra: &'static str,
        ant: Option<&'static str>,
        list: Vec<&'static str>,
        enabled: bool,
    }

    const THING: Thing = Thing { zebra: "z", ant: None, list: Vec::new(), enabled: true };

    #[test]
    fn people_see_the_fields_of_the_json_in_its_order_with_the_values_below_one_another() {
        let text = lines(&fields(&THING).expect("serializes"));

        assert_eq!(text, "zebra:   z\nant:     -\nlist:    -\nenabled: yes\n");
    }

    #[test]
    fn a_table_is_aligned_and_has_no_borders_and_no_trailing_spaces() {
        let longer = Thing { zebra: "longer", list: vec!["a", "b"], ..THING };

        let text = table(&[THING, longer], &["zebra", "list"]).expect("serializes");

        assert_eq!(text, "ZEBRA   LIST\nz       -\nlonger  a, b\n");
    }

    #[test]
    fn nothing_in_the_data_moves_the_cursor_or_turns_the_text_around() {
        let evil = Thing { zebra: "a\u{1b}[2J\u{9b}31m\u{202e}b\nc\u{7f}", ..THING };

        let people = lines(&fields(&evil).expect("serializes"));
        let programs = json(&evil).expect("serializes");

        for text in [&people, &programs] {
            assert!(!text.chars().any(|c| c != '\n' && deceives(c)), "{text:?}");
        }
        assert_eq!(people.lines().count(), 4, "a value cannot begin a line of its own");
        let read: Value = serde_json::from_str(&programs).expect("still JSON");
        assert_eq!(read["zebra"], evil.zebra);
    }
}
