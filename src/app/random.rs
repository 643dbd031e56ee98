//! The one place that draws randomness (private keys and salts are drawn by their own rooms' libraries).

use std::cell::RefCell;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// `N` bytes from the operating system's random source.
#[expect(clippy::disallowed_methods, reason = "the one place that draws randomness")]
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes)
        .expect("the operating system's random source does not fail once it works");
    bytes
}

/// As many as two dozen names of tokens take.
const DRAWN: usize = 288;

thread_local! {
    /// Bytes that were drawn and not given yet: those at the end, so many.
    static LEFT: RefCell<([u8; DRAWN], usize)> = const { RefCell::new(([0; DRAWN], 0)) };
}

/// `N` bytes for a name that everybody may read, drawn many at a time: a call of the generator takes two thousand
/// instructions, however little is asked for. Not for secrets: those to come lie in memory for a while, and a process that
/// is copied while it runs gives some of them twice.
pub fn name_bytes<const N: usize>() -> [u8; N] {
    const { assert!(N <= DRAWN) };
    LEFT.with_borrow_mut(|(drawn, left)| {
        if *left < N {
            (*drawn, *left) = (bytes(), DRAWN);
        }
        let from = DRAWN - *left;
        *left -= N;
        std::array::from_fn(|place| drawn[from + place])
    })
}

/// A name of 128 random bits, as URL-safe text.
pub fn name() -> String {
    URL_SAFE_NO_PAD.encode(bytes::<16>())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_bytes_are_given_twice_also_where_more_are_drawn_and_by_other_threads() {
        let draw = || (0..10_000).map(|_| name_bytes::<12>()).collect::<Vec<_>>();
        let other = std::thread::spawn(draw);
        let mut given: Vec<_> = draw();
        given.extend(other.join().expect("the other thread"));
        // Sizes that do not divide what is drawn.
        given.extend((0..10_000).map(|_| {
            let [rest @ .., _] = name_bytes::<13>();
            rest
        }));

        let all = given.len();
        assert_eq!(given.into_iter().collect::<HashSet<_>>().len(), all);
    }
}
