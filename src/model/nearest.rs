//! What somebody who misspelt a name meant. Knows no particular name.

/// The name that is most like one that does not exist.
pub fn nearest<'a>(unknown: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Bounded, because the comparison takes the product of both lengths.
    let unknown: String = unknown.chars().take(80).collect::<String>().to_lowercase();
    let likeness = |name: &str| {
        let whole = strsim::normalized_damerau_levenshtein(&unknown, name);
        // `listen` at the top level means `server.listen`, whatever else is as short.
        let last = name.rsplit('.').next().unwrap_or(name);
        let forgotten_section = strsim::normalized_damerau_levenshtein(&unknown, last);
        whole.max(forgotten_section * 0.95)
    };
    let mut best: Option<(&str, f64)> = None;
    for name in names {
        let score = likeness(name);
        if best.is_none_or(|(_, highest)| score > highest) {
            best = Some((name, score));
        }
    }
    best.map(|(name, _)| name)
}
