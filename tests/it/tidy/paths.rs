//! Lists every path that source names: in `use` trees, in types, in expressions and in attributes.
//!
//! Follows `crate`, `self` and `super`; does not follow what a `use` renamed, since that `use` is listed itself.

use super::source::Token;

/// A path as it stands in the source, seen from the crate's root.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// `crate::storage::clients` is `["storage", "clients"]`.
    Here(Vec<String>),
    /// `sqlx::query` is `["sqlx", "query"]`; so is anything else that does not begin with `crate`, `self` or `super`.
    Elsewhere(Vec<String>),
}

/// Every path in the tokens of the module `module`, with its line.
pub(super) fn named_paths(tokens: &[Token], module: &[String]) -> Vec<(usize, Named)> {
    let mut walk =
        Walk { tokens, at: 0, module: module.to_vec(), inline: Vec::new(), depth: 0, found: Vec::new() };
    while walk.at < tokens.len() {
        walk.step();
    }
    walk.found
}

struct Walk<'a> {
    tokens: &'a [Token],
    at: usize,
    module: Vec<String>,
    /// The brace depths at which the inline modules around us began.
    inline: Vec<usize>,
    depth: usize,
    found: Vec<(usize, Named)>,
}

impl Walk<'_> {
    fn step(&mut self) {
        let token = &self.tokens[self.at];
        match token.text.as_str() {
            "{" => self.depth += 1,
            "}" => {
                self.depth = self.depth.saturating_sub(1);
                if self.inline.last() == Some(&self.depth) {
                    self.inline.pop();
                    self.module.pop();
                }
            }
            "mod" if self.text(2) == "{" => {
                self.module.push(self.text(1).to_owned());
                self.inline.push(self.depth);
            }
            // `use<'a>` in a return type is no import.
            "use" if self.text(1) != "<" => {
                self.at += 1;
                self.use_tree(Vec::new());
                return;
            }
            _ if token.is_identifier() && !self.continues_a_path() => {
                self.path();
                return;
            }
            _ => {}
        }
        self.at += 1;
    }

    /// The token `ahead` of this one; empty after the end.
    fn text(&self, ahead: usize) -> &str {
        self.tokens.get(self.at + ahead).map_or("", |token| &token.text)
    }

    /// Whether this identifier is a field, a method, or the tail of `<T as Trait>::name`.
    fn continues_a_path(&self) -> bool {
        let before = |back: usize| self.at.checked_sub(back).map(|at| &self.tokens[at]);
        match before(1) {
            // `..name` is a range or a rest; `.name` is a field.
            Some(token) if token.is(".") => !before(2).is_some_and(|token| token.is(".")),
            Some(token) if token.is("::") => {
                before(2).is_some_and(|token| token.is_identifier() || token.is(">"))
            }
            _ => false,
        }
    }

    /// A path outside `use`; a single identifier is none.
    fn path(&mut self) {
        let line = self.tokens[self.at].line;
        let mut segments = vec![self.text(0).to_owned()];
        self.at += 1;
        while self.text(0) == "::" && self.tokens.get(self.at + 1).is_some_and(Token::is_identifier) {
            segments.push(self.text(1).to_owned());
            self.at += 2;
        }
        if segments.len() > 1 {
            self.found(line, segments);
        }
    }

    fn use_tree(&mut self, mut prefix: Vec<String>) {
        let line = self.tokens.get(self.at).map_or(0, |token| token.line);
        loop {
            match self.text(0) {
                "::" => self.at += 1,
                "{" => {
                    self.at += 1;
                    while !matches!(self.text(0), "}" | "") {
                        self.use_tree(prefix.clone());
                        if self.text(0) == "," {
                            self.at += 1;
                        }
                    }
                    self.at += 1;
                    return;
                }
                "," | "}" | ";" | "as" | "" => break,
                "*" => self.at += 1,
                "self" if !prefix.is_empty() => self.at += 1,
                segment => {
                    prefix.push(segment.to_owned());
                    self.at += 1;
                }
            }
        }
        if self.text(0) == "as" {
            self.at += 2;
        }
        self.found(line, prefix);
    }

    fn found(&mut self, line: usize, segments: Vec<String>) {
        let named = match segments.first().map(String::as_str) {
            Some("crate") => Named::Here(segments[1..].to_vec()),
            Some("self" | "super") => {
                let mut resolved = self.module.clone();
                let mut rest = segments.as_slice();
                while let Some((first, after)) = rest.split_first() {
                    match first.as_str() {
                        "self" => {}
                        "super" => drop(resolved.pop()),
                        _ => break,
                    }
                    rest = after;
                }
                resolved.extend_from_slice(rest);
                Named::Here(resolved)
            }
            Some(_) => Named::Elsewhere(segments),
            None => return,
        };
        self.found.push((line, named));
    }
}
