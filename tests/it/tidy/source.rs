//! Splits Rust source into tokens and comments, so that no rule is fooled by the inside of a string.
//!
//! Just enough of the Rust reference's lexical structure; source that does not compile may come out as nonsense.

/// One identifier, `::`, or other character outside comments and literals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) line: usize,
    pub(super) text: String,
}

impl Token {
    pub(super) fn is(&self, text: &str) -> bool {
        self.text == text
    }

    pub(super) fn is_identifier(&self) -> bool {
        self.text.starts_with(|c: char| c.is_alphabetic() || c == '_')
    }
}

/// One comment, with its slashes, and the line it begins on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Comment {
    pub(super) line: usize,
    pub(super) text: String,
}

/// A source file taken apart.
#[derive(Default)]
pub(super) struct Source {
    pub(super) tokens: Vec<Token>,
    pub(super) comments: Vec<Comment>,
}

impl Source {
    /// Takes source apart. A literal leaves the token `"`.
    pub(super) fn read(text: &str) -> Self {
        let mut lexer = Lexer { rest: text, line: 1, source: Self::default() };
        while !lexer.rest.is_empty() {
            lexer.step();
        }
        lexer.source
    }

    /// The tokens without the items under `#[cfg(test)]`.
    pub(super) fn tokens_outside_tests(&self) -> Vec<Token> {
        const TEST_ONLY: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
        let mut kept = Vec::new();
        let mut rest = self.tokens.as_slice();
        while let Some((first, after)) = rest.split_first() {
            let begins = rest.len() >= TEST_ONLY.len()
                && rest.iter().zip(TEST_ONLY).all(|(token, text)| token.is(text));
            if begins {
                rest = after_item(&rest[TEST_ONLY.len()..]);
            } else {
                kept.push(first.clone());
                rest = after;
            }
        }
        kept
    }
}

/// What follows an item: all after its `;`, or after the brace that closes its body.
fn after_item(tokens: &[Token]) -> &[Token] {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate() {
        match token.text.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 && matches!(token.text.as_str(), ";" | "}") {
            return &tokens[at + 1..];
        }
    }
    &[]
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    source: Source,
}

impl<'a> Lexer<'a> {
    fn step(&mut self) {
        let first = self.rest.chars().next().unwrap_or_default();
        if self.rest.starts_with("//") {
            let length = self.rest.find('\n').unwrap_or(self.rest.len());
            self.comment(length);
        } else if self.rest.starts_with("/*") {
            self.comment(block_comment_length(self.rest));
        } else if let Some(length) = literal_length(self.rest) {
            self.push("\"");
            self.take(length);
        } else if first.is_alphanumeric() || first == '_' {
            let rest = self.rest.strip_prefix("r#").unwrap_or(self.rest);
            let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            self.push(&rest[..length]);
            self.take(self.rest.len() - rest.len() + length);
        } else if self.rest.starts_with("::") {
            self.push("::");
            self.take(2);
        } else {
            if !first.is_whitespace() {
                self.push(first.encode_utf8(&mut [0; 4]));
            }
            self.take(first.len_utf8());
        }
    }

    fn push(&mut self, text: &str) {
        self.source.tokens.push(Token { line: self.line, text: text.to_owned() });
    }

    fn comment(&mut self, length: usize) {
        let line = self.line;
        let text = self.take(length).to_owned();
        self.source.comments.push(Comment { line, text });
    }

    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(length);
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }
}

fn block_comment_length(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// The length of the string or character literal that a text begins with, if it does.
fn literal_length(text: &str) -> Option<usize> {
    for prefix in ["br", "cr", "r"] {
        let Some(rest) = text.strip_prefix(prefix) else { continue };
        let inside = rest.trim_start_matches('#');
        let hashes = &rest[..rest.len() - inside.len()];
        if let Some(inside) = inside.strip_prefix('"') {
            let end = format!("\"{hashes}");
            let opened = text.len() - inside.len();
            return Some(inside.find(&end).map_or(text.len(), |at| opened + at + end.len()));
        }
    }
    let unprefixed = text.strip_prefix(['b', 'c']).unwrap_or(text);
    let prefix = text.len() - unprefixed.len();
    if unprefixed.starts_with('"') {
        return Some(prefix + quoted_length(unprefixed, '"'));
    }
    let mut characters = unprefixed.strip_prefix('\'')?.chars();
    // 'a' is a character, 'a is a lifetime.
    let is_character =
        matches!((characters.next(), characters.next()), (Some('\\'), _) | (Some(_), Some('\'')));
    is_character.then(|| prefix + quoted_length(unprefixed, '\''))
}

/// The length of a literal between quotes in which a backslash takes the next character's meaning.
fn quoted_length(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if character == quote => return at + character.len_utf8(),
            _ => {}
        }
    }
    text.len()
}
