//! Passwords and secrets on their way in: from stdin, a file or a terminal, never from an argument, which every user of
//! the machine can see. Knows no rule about what a good one is.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::path::Path;

use zeroize::{Zeroize as _, Zeroizing};

use crate::model::secret::PlainSecret;

use super::failure::Failure;

/// More than any password, secret or token; a bound against a stdin that never ends.
const MOST_BYTES: usize = 64 * 1024;

/// A secret from stdin, less one trailing newline. `what` is its name in sentences: `the password`.
pub(super) fn from_stdin(what: &str) -> Result<PlainSecret, Failure> {
    from_reader(io::stdin().lock(), &format!("{what} on stdin"))
}

/// A secret from a file, read in the same way.
pub(super) fn from_file(path: &Path, what: &str) -> Result<PlainSecret, String> {
    let what = format!("{what} in {}", path.display());
    let file =
        File::open(path).map_err(|error| format!("{what} cannot be read ({error}): correct the path"))?;
    from_reader(file, &what).map_err(Failure::into_sentence)
}

/// A secret that is typed twice on the terminal, if there is one. `instead` says what to do where there is none.
pub(super) fn ask_twice(what: &str, instead: &str) -> Result<PlainSecret, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::because(format!("stdin is not a terminal to ask for {what} on: {instead}")));
    }
    let ask = |prompt: String| {
        rpassword::prompt_password(prompt).map(PlainSecret::new).map_err(|error| {
            Failure::because(format!("{what} cannot be read from the terminal ({error}): {instead}"))
        })
    };
    let first = ask(format!("Type {what}: "))?;
    if first.expose().is_empty() {
        return Err(empty(what));
    }
    if ask(format!("Type {what} again: "))? != first {
        return Err(Failure::because(format!("{what} was not the same both times: try again")));
    }
    Ok(first)
}

/// A token from stdin, without the white space around it.
pub(super) fn token_from_stdin() -> Result<PlainSecret, Failure> {
    let token = read(io::stdin().lock(), "the token on stdin")?;
    let trimmed = token.trim();
    if trimmed.is_empty() { Err(empty("the token")) } else { Ok(PlainSecret::new(trimmed.to_owned())) }
}

fn from_reader(from: impl Read, what: &str) -> Result<PlainSecret, Failure> {
    let mut secret = read(from, what)?;
    // Exactly one line end, the one that `echo` adds; further ones are part of the secret.
    if secret.ends_with('\n') {
        secret.pop();
        if secret.ends_with('\r') {
            secret.pop();
        }
    }
    if secret.is_empty() {
        return Err(empty(what));
    }
    Ok(PlainSecret::new(std::mem::take(&mut *secret)))
}

fn read(from: impl Read, what: &str) -> Result<Zeroizing<String>, Failure> {
    // As large as it may become, so that it is never moved and leaves no copy behind.
    let mut bytes = Vec::with_capacity(MOST_BYTES + 1);
    let read = from.take(MOST_BYTES as u64 + 1).read_to_end(&mut bytes);
    let text = match read {
        Err(error) => Err(format!("{what} cannot be read ({error}): give it again")),
        Ok(_) if bytes.len() > MOST_BYTES => {
            Err(format!("{what} is longer than {MOST_BYTES} bytes: give nothing else"))
        }
        Ok(_) => Ok(()),
    };
    if let Err(sentence) = text {
        bytes.zeroize();
        return Err(Failure::because(sentence));
    }
    String::from_utf8(bytes).map(Zeroizing::new).map_err(|error| {
        error.into_bytes().zeroize();
        Failure::because(format!("{what} is not UTF-8: convert it, for example with iconv"))
    })
}

fn empty(what: &str) -> Failure {
    Failure::because(format!("{what} is empty: give one"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(text: &str) -> Result<String, Failure> {
        from_reader(text.as_bytes(), "the password").map(|secret| secret.expose().to_owned())
    }

    #[test]
    fn a_secret_on_stdin_loses_exactly_one_line_end() {
        for (text, secret) in [
            ("pass", "pass"),
            ("pass\n", "pass"),
            ("pass\r\n", "pass"),
            ("pass\n\n", "pass\n"),
            ("pass\r", "pass\r"),
            (" pass \n", " pass "),
        ] {
            assert_eq!(given(text).as_deref(), Ok(secret), "{text:?}");
        }
    }

    #[test]
    fn an_empty_secret_is_refused() {
        for text in ["", "\n", "\r\n"] {
            assert!(given(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_stdin_that_never_ends_or_is_not_text_is_refused_without_being_repeated() {
        assert!(given(&"x".repeat(MOST_BYTES)).is_ok());
        assert!(from_reader(io::repeat(b'x'), "the password").is_err());

        let refused = from_reader(&b"caf\xe9"[..], "the password").expect_err("not UTF-8");

        assert!(!format!("{refused:?}").contains("caf"));
    }
}
