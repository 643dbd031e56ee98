//! Replays the corpora of `fuzz/` through the properties of the fuzz targets, on any toolchain: what the fuzzers
//! found worth keeping stays true with every change. How to fuzz: `fuzz/README.md`.
//!
//! Beside each input, its near relatives are tried: cut short and changed in one place. Must not know what a
//! target proves.

use std::path::{Path, PathBuf};

use crate::support::runner::trials;

#[path = "../../fuzz/properties/basic_header.rs"]
mod basic_header;
#[path = "../../fuzz/properties/forwarded.rs"]
mod forwarded;
#[path = "../../fuzz/properties/framing.rs"]
mod framing;
#[path = "../../fuzz/properties/jwt_inspection.rs"]
mod jwt_inspection;
#[path = "../../fuzz/properties/names.rs"]
mod names;
#[path = "../../fuzz/properties/refresh_token.rs"]
mod refresh_token;
#[path = "../../fuzz/properties/request.rs"]
mod request;
#[path = "../../fuzz/properties/settings.rs"]
mod settings;
#[path = "../../fuzz/properties/stored_hash.rs"]
mod stored_hash;

trials! {
    plain: [
        every_target_is_built_described_and_replayed,
        requests_that_were_fuzzed_keep_their_promises,
        basic_headers_that_were_fuzzed_keep_their_promises,
        refresh_tokens_that_were_fuzzed_keep_their_promises,
        tokens_that_were_fuzzed_keep_their_promises,
        settings_that_were_fuzzed_keep_their_promises,
        forwarded_headers_that_were_fuzzed_keep_their_promises,
        connections_that_were_fuzzed_keep_their_promises,
        stored_hashes_that_were_fuzzed_keep_their_promises,
        names_that_were_fuzzed_keep_their_promises,
    ],
}

fn requests_that_were_fuzzed_keep_their_promises() {
    replay("request", request::holds);
}

fn basic_headers_that_were_fuzzed_keep_their_promises() {
    replay("basic_header", basic_header::holds);
}

fn refresh_tokens_that_were_fuzzed_keep_their_promises() {
    replay("refresh_token", refresh_token::holds);
}

fn tokens_that_were_fuzzed_keep_their_promises() {
    replay("jwt_inspection", jwt_inspection::holds);
}

fn settings_that_were_fuzzed_keep_their_promises() {
    replay("settings", settings::holds);
}

fn forwarded_headers_that_were_fuzzed_keep_their_promises() {
    replay("forwarded", forwarded::holds);
}

fn connections_that_were_fuzzed_keep_their_promises() {
    replay("framing", framing::holds);
}

fn stored_hashes_that_were_fuzzed_keep_their_promises() {
    replay("stored_hash", stored_hash::holds);
}

fn names_that_were_fuzzed_keep_their_promises() {
    replay("names", names::holds);
}

/// How many near relatives of each input are tried: seconds in all, where a fuzzer takes hours.
const RELATIVES: usize = 24;

fn replay(target: &str, holds: fn(&[u8])) {
    let inputs = files(&fuzz().join("corpus").join(target));
    assert!(!inputs.is_empty(), "fuzz/corpus/{target} is empty");
    for path in inputs {
        let input = std::fs::read(&path).expect("a readable corpus");
        // A failure prints the input's name after the panic's own message; see fuzz/README.md.
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let held = std::panic::catch_unwind(|| {
            holds(&input);
            relatives(&input).for_each(|relative| holds(&relative));
        });
        if let Err(panic) = held {
            let message = panic.downcast_ref::<String>().map(String::as_str);
            let message = message.or(panic.downcast_ref::<&str>().copied()).unwrap_or_default();
            panic!("fuzz/corpus/{target}/{name}, or a near relative: {message}");
        }
    }
}

/// The same each time: an input cut short, and with one byte exchanged, doubled or left out, at even distances.
fn relatives(input: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let step = input.len().div_ceil(RELATIVES / 4).max(1);
    (0..input.len()).step_by(step).flat_map(move |at| {
        let (before, from) = input.split_at(at);
        let byte = [from[0] ^ 1];
        [
            vec![before],
            vec![before, &byte, &from[1..]],
            vec![before, &from[..1], from],
            vec![before, &from[1..]],
        ]
        .map(|parts| parts.concat())
    })
}

fn every_target_is_built_described_and_replayed() {
    let manifest = std::fs::read_to_string(fuzz().join("Cargo.toml")).expect("a manifest");
    let readme = std::fs::read_to_string(fuzz().join("README.md")).expect("a page");
    let own = include_str!("fuzz_corpora.rs");

    for path in files(&fuzz().join("properties")) {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();

        let target = fuzz().join(format!("fuzz_targets/{name}.rs"));
        assert!(target.exists(), "{} is missing", target.display());
        assert!(manifest.contains(&format!("name = \"{name}\"")), "fuzz/Cargo.toml does not build {name}");
        assert!(readme.contains(&format!("| `{name}` |")), "fuzz/README.md does not say what {name} proves");
        assert!(own.contains(&format!("replay(\"{name}\", {name}::holds)")), "{name} is not replayed here");
        let corpus = files(&fuzz().join("corpus").join(&name));
        assert!((1..50).contains(&corpus.len()), "fuzz/corpus/{name} has {} files", corpus.len());
        let size: u64 = corpus.iter().map(|path| path.metadata().expect("a file").len()).sum();
        assert!(size < 64 * 1024, "fuzz/corpus/{name} has {size} bytes: minimise it");
    }
}

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable directory").path()).collect();
    files.sort();
    files
}
