//! Reads files without types: CSV, and `name:hash` lines. Judges no row.

use std::io::{self, BufRead, Read};

use super::fields::Field;
use super::judge::{Judge, Refusal, Row};
use super::outcome::ImportError;
use super::reading::{Collector, Gone};

/// Longer lines are no users.
pub(super) const LONGEST_LINE: u64 = 1024 * 1024;

/// A column that means something: its place, its name, and what it means.
pub(super) type Column = (usize, String, Field);

/// What the columns of a header mean; they must say who the users are and how they log in.
pub(super) fn resolve<'a>(
    judge: &Judge,
    header: impl Iterator<Item = &'a str> + Clone,
) -> Result<Vec<Column>, ImportError> {
    let columns = || header.clone().collect::<Vec<_>>().join(", ");
    if let Some(missing) = judge.map.named().find(|name| !header.clone().any(|column| column == *name)) {
        return Err(ImportError::NoSuchColumn(missing.to_owned(), columns()));
    }
    let resolved = judge.map.resolve(header.clone());
    let has = |wanted: Field| resolved.iter().any(|(_, field)| *field == wanted);
    if !has(Field::Username) {
        let columns = columns();
        return Err(ImportError::Missing { what: "what the users log in with", field: "username", columns });
    }
    if !has(Field::PasswordHash) && !judge.without_password {
        let what = "how their passwords are hashed";
        return Err(ImportError::Missing { what, field: "password_hash", columns: columns() });
    }
    let place = |name: &str| header.clone().position(|column| column == name).unwrap_or(usize::MAX);
    Ok(resolved.into_iter().map(|(name, field)| (place(name), name.to_owned(), field)).collect())
}

/// A header and rows (RFC 4180), with whatever stands between values.
pub(super) fn csv(reader: impl Read, delimiter: u8, collector: &mut Collector) -> Result<(), ImportError> {
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(reader);
    let header = reader.byte_headers().map_err(|error| damaged(&error))?.clone();
    let header: Vec<String> =
        header.iter().map(|name| String::from_utf8_lossy(name).trim().to_owned()).collect();
    let columns = resolve(&collector.judge, header.iter().map(String::as_str))?;
    let mut record = csv::ByteRecord::new();
    while reader.read_byte_record(&mut record).map_err(|error| damaged(&error))? {
        let line = record.position().map_or(0, csv::Position::line);
        let row = csv_row(&record, header.len(), &columns);
        if let Err(Gone) = collector.row(line, row) {
            return Ok(());
        }
    }
    Ok(())
}

fn csv_row(record: &csv::ByteRecord, width: usize, columns: &[Column]) -> Result<Row, Refusal> {
    if record.len() != width {
        return Err(Refusal::Unreadable("it has more or fewer columns than the header"));
    }
    let mut row = Row::default();
    for (place, name, field) in columns {
        let text = record.get(*place).unwrap_or_default();
        let text = std::str::from_utf8(text).map_err(|_| Refusal::Unreadable("it is not UTF-8"))?;
        row.set_text(field, name, text.trim())?;
    }
    Ok(row)
}

/// Without what stands in the file.
fn damaged(error: &csv::Error) -> ImportError {
    let place = error.position().map_or_else(String::new, |at| format!("at line {}", at.line()));
    ImportError::Damaged(place)
}

/// `name:hash`, as an htpasswd file has it.
pub(super) fn lines(mut reader: impl BufRead, collector: &mut Collector) -> io::Result<()> {
    let mut number = 0;
    while let Some(line) = next_line(&mut reader)? {
        number += 1;
        let row = match &line {
            Err(refusal) => Err(refusal.clone()),
            Ok(line) if line.is_empty() || line.starts_with('#') => continue,
            Ok(line) => line_row(line),
        };
        if let Err(Gone) = collector.row(number, row) {
            return Ok(());
        }
    }
    Ok(())
}

fn line_row(line: &str) -> Result<Row, Refusal> {
    let (name, hash) = line.split_once(':').ok_or(Refusal::Unreadable("it is not NAME:HASH"))?;
    let mut row = Row::default();
    row.set_text(&Field::Username, "name", name)?;
    row.set_text(&Field::PasswordHash, "hash", hash)?;
    Ok(row)
}

/// The next line without what ends it, or why it cannot be read; `None` at the end. However long it is, no more of it
/// is kept than a line may have.
pub(super) fn next_line(reader: &mut impl BufRead) -> io::Result<Option<Result<String, Refusal>>> {
    let mut bytes = Vec::new();
    if reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut bytes)? == 0 {
        return Ok(None);
    }
    if bytes.len() as u64 == LONGEST_LINE && !bytes.ends_with(b"\n") {
        reader.skip_until(b'\n')?;
        return Ok(Some(Err(Refusal::Unreadable("it is longer than 1 MiB"))));
    }
    let line = String::from_utf8(bytes).map_err(|_| Refusal::Unreadable("it is not UTF-8"));
    Ok(Some(line.map(|line| line.trim_start_matches('\u{feff}').trim().to_owned())))
}
