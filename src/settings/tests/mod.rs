//! The settings as a whole, from their four sources to values or mistakes.

use std::path::{Path, PathBuf};

use super::{Flag, Loaded, Shown, Sources, load};

mod layering;
mod mistakes;
mod shipped;
mod unsafe_values;

/// 32 bytes that look random.
const KEY: &str = "3q2+7wABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhs=";

fn environment(variables: &[(&str, &str)]) -> Sources {
    let environment =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Sources { environment, ..Sources::default() }
}

fn load_environment(variables: &[(&str, &str)]) -> Loaded {
    load(&environment(variables)).expect("settings without mistakes")
}

/// The mistakes of these variables, one line each.
fn mistakes_in(variables: &[(&str, &str)]) -> String {
    load(&environment(variables)).expect_err("settings with mistakes").to_string()
}

fn flag(key: &'static str, value: &str, name: &'static str) -> Flag {
    Flag { key, value: value.to_owned(), name }
}

/// A file `name` with this text, in a directory that lives as long as the result.
fn file(name: &str, text: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join(name);
    std::fs::write(&path, text).expect("a writable temporary directory");
    (directory, path)
}

fn from_file(path: &Path) -> Sources {
    Sources { file: Some(path.to_owned()), ..Sources::default() }
}

/// The mistakes in a settings file with this text, its directory left out.
fn mistakes_in_file(text: &str) -> String {
    let (directory, path) = file("grantd.toml", text);
    let mistakes = load(&from_file(&path)).expect_err("settings with mistakes").to_string();
    mistakes.replace(&format!("{}/", directory.path().display()), "")
}

fn shown<'l>(loaded: &'l Loaded, key: &str) -> &'l Shown {
    loaded.report.iter().find(|shown| shown.key == key).expect("every key is shown")
}
