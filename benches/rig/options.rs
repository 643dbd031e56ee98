//! The few numbers that may be given behind `cargo bench --bench NAME --`.

use std::process::exit;

/// Reads `--name number` pairs; every name must be known.
pub(crate) fn read<const N: usize>(known: [(&'static str, u64); N]) -> [u64; N] {
    read_from(given(), known)
}

/// What was given; cargo itself adds `--bench`.
pub(crate) fn given() -> Vec<String> {
    std::env::args().skip(1).filter(|argument| argument != "--bench").collect()
}

/// The same as [`read`] from these.
pub(crate) fn read_from<const N: usize>(given: Vec<String>, known: [(&'static str, u64); N]) -> [u64; N] {
    let mut values = known.map(|(_, default)| default);
    let mut arguments = given.into_iter();
    while let Some(name) = arguments.next() {
        let place = known.iter().position(|(known, _)| name.strip_prefix("--") == Some(known));
        let value = arguments.next().and_then(|value| value.parse().ok());
        let (Some(place), Some(value)) = (place, value) else {
            explain(&known);
            exit(2);
        };
        values[place] = value;
    }
    values
}

#[expect(clippy::print_stderr, reason = "this is where a person reads it")]
fn explain(known: &[(&str, u64)]) {
    eprintln!("options, each with a number: ");
    for (name, default) in known {
        eprintln!("  --{name} {default}");
    }
}
