//! The id of an access token, RFC 7519 §4.1.7: base64url(status index, 6 bytes | 12 random bytes), 24 characters; and for
//! each client that acts with it for somebody else, 6 bytes more: its own index.
//!
//! The indexes are in it so that this server can judge a token that does not say where its status is, and one that ends
//! with any of several. The random bytes make it unique, also where a session gets many tokens.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::model::status::StatusIndex;

const INDEX: usize = 6;
const RANDOM: usize = 12;

/// The `jti` of a token that ends with this index, and with each of those of who acts with it.
pub fn token_id(index: StatusIndex, actors: &[StatusIndex], random: [u8; RANDOM]) -> String {
    let mut bytes = Vec::with_capacity(INDEX + RANDOM + INDEX * actors.len());
    bytes.extend(bytes_of(index));
    bytes.extend(random);
    bytes.extend(actors.iter().copied().flat_map(bytes_of));
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The index in the `jti` of a genuine token; `None` in one that was issued before tokens had an index.
pub fn status_index_of(jti: &str) -> Option<StatusIndex> {
    status_indexes_of(jti).map(|(index, _)| index)
}

/// The same, and the indexes of those who act with it.
pub fn status_indexes_of(jti: &str) -> Option<(StatusIndex, Vec<StatusIndex>)> {
    let bytes = URL_SAFE_NO_PAD.decode(jti).ok()?;
    let (index, rest) = bytes.split_first_chunk::<INDEX>()?;
    let (_, actors) = rest.split_first_chunk::<RANDOM>()?;
    let (actors, odd) = actors.as_chunks::<INDEX>();
    let actors = actors.iter().map(index_in).collect::<Option<_>>()?;
    odd.is_empty().then_some((index_in(index)?, actors))
}

fn bytes_of(index: StatusIndex) -> [u8; INDEX] {
    let [_, _, bytes @ ..] = index.as_u64().to_be_bytes();
    bytes
}

fn index_in(bytes: &[u8; INDEX]) -> Option<StatusIndex> {
    let mut number = [0; 8];
    number[8 - INDEX..].copy_from_slice(bytes);
    StatusIndex::new(u64::from_be_bytes(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_reads_back_out_of_an_id_of_24_characters() {
        for number in [0, 1, 1 << 20, StatusIndex::END - 1] {
            let index = StatusIndex::new(number).expect("there");
            let id = token_id(index, &[], [7; 12]);

            assert_eq!((id.len(), status_index_of(&id)), (24, Some(index)));
            assert_ne!(id, token_id(index, &[], [8; 12]));
        }
    }

    #[test]
    fn those_who_act_with_it_are_in_it_too() {
        let index = |number| StatusIndex::new(number).expect("there");
        let actors = [index(9), index(StatusIndex::END - 1)];

        let id = token_id(index(5), &actors, [7; 12]);

        assert_eq!(status_indexes_of(&id), Some((index(5), actors.to_vec())));
        assert_eq!(status_index_of(&id), Some(index(5)));
    }

    #[test]
    fn what_is_no_such_id_has_no_index() {
        let beyond = URL_SAFE_NO_PAD.encode([255; INDEX + RANDOM]);
        for jti in [
            "",
            "BwcHBwcHBwcHBwcHBwcHBw",
            "AAAAAAAAAAAAAAAAAAAAAAAAAA",
            "AAAAAAAAAAAAAAAAAAAAAAA=",
            "ä",
            &beyond,
        ] {
            assert_eq!(status_index_of(jti), None, "{jti}");
        }
    }
}
