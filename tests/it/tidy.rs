//! Keeps the house as `src/lib.rs` draws it: who may see whom, what no room may contain, how long a file may be.
//!
//! Reads sources as text and knows nothing of what they do. Test modules inside `src` are free to import what
//! they like; the rules for every file hold for them too. What is found reads `file:line: rule`.

mod paths;
mod proof;
mod rooms;
mod source;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::support::runner::trials;
use source::Source;

trials! {
    plain: [
        every_room_sees_only_the_rooms_below_it_and_stays_free_of_what_it_must_not_contain,
        every_file_says_what_it_is_for_is_short_and_is_finished,
        both_databases_have_the_same_migrations,
    ],
}

pub(crate) use proof::trials as proof;

/// A file of more lines is two rooms.
const LONGEST_FILE: usize = 500;

fn every_room_sees_only_the_rooms_below_it_and_stays_free_of_what_it_must_not_contain() {
    let violations: Vec<String> =
        rust_files("src").flat_map(|(file, text)| rooms::violations(&file, &text)).collect();

    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

fn every_file_says_what_it_is_for_is_short_and_is_finished() {
    let files = ["src", "tests", "benches", "examples", "fuzz"].into_iter().flat_map(rust_files);
    let violations: Vec<String> = files.flat_map(|(file, text)| untidy_lines(&file, &text)).collect();

    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

fn both_databases_have_the_same_migrations() {
    let [sqlite, postgres] = ["migrations/sqlite", "migrations/postgres"].map(file_names);
    assert!(!sqlite.is_empty(), "migrations/sqlite holds no migration");

    let violations = unpaired_migrations(&sqlite, &postgres);

    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

/// The rules that hold for every file, wherever it is.
fn untidy_lines(file: &str, text: &str) -> Vec<String> {
    let mut violations = Vec::new();
    let mut found = |line: usize, rule: String| violations.push(format!("{file}:{line}: {rule}"));

    if !text.starts_with("//!") {
        found(1, String::from("a file begins with //! and what it is for and must not know"));
    }
    let lines = text.lines().count();
    if lines > LONGEST_FILE {
        found(LONGEST_FILE + 1, format!("a file of {lines} lines is two rooms, {LONGEST_FILE} is the most"));
    }
    let source = Source::read(text);
    for comment in &source.comments {
        let words = || comment.text.split(|c: char| !c.is_alphanumeric());
        for mark in ["TODO", "FIXME", "XXX"] {
            if words().any(|word| word == mark) {
                found(comment.line, format!("{mark} is a promise that nothing keeps; do it or leave it out"));
            }
        }
    }
    for window in source.tokens.windows(3) {
        let [first, second, third] = window else { continue };
        match (first.text.as_str(), second.text.as_str(), third.text.as_str()) {
            (name @ ("todo" | "unimplemented"), "!", _) => {
                found(first.line, format!("{name}! is unfinished work"))
            }
            ("[", "allow", "(") => {
                found(first.line, String::from("expect a lint with its reason, never allow it"))
            }
            _ => {}
        }
    }
    violations
}

/// Migrations that only one of the databases has.
fn unpaired_migrations(sqlite: &BTreeSet<String>, postgres: &BTreeSet<String>) -> Vec<String> {
    let alone =
        |names: &BTreeSet<String>, here: &str, others: &BTreeSet<String>, there: &str| -> Vec<String> {
            let alone = names.difference(others);
            alone
                .map(|name| format!("migrations/{here}/{name}:1: has no twin in migrations/{there}"))
                .collect()
        };
    let mut violations = alone(sqlite, "sqlite", postgres, "postgres");
    violations.extend(alone(postgres, "postgres", sqlite, "sqlite"));
    violations
}

/// The Rust files below a directory of the package, by their path from its root, with their text.
fn rust_files(directory: &str) -> impl Iterator<Item = (String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    collect_rust_files(&root.join(directory), &mut found);
    found.sort();
    found.into_iter().map(move |path| {
        let text = std::fs::read_to_string(&path).expect("a source file is readable UTF-8");
        let name = path.strip_prefix(root).expect("it was found there");
        (name.to_string_lossy().replace('\\', "/"), text)
    })
}

fn collect_rust_files(directory: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for path in entries.map(|entry| entry.expect("a directory is readable").path()) {
        if path.is_dir() && !path.ends_with("target") {
            collect_rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn file_names(directory: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(directory));
    let names = entries.into_iter().flatten().flatten().map(|entry| entry.file_name());
    names.map(|name| name.to_string_lossy().into_owned()).collect()
}
