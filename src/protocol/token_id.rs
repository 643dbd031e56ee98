//! The id of an access token, RFC 7519 §4.1.7: base64url(status index, 6 bytes | 12 random bytes), 24 characters.
//!
//! The index is in it so that this server can judge a token that does not say where its status is. The random bytes make
//! it unique, also where a session gets many tokens.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::model::status::StatusIndex;

const INDEX: usize = 6;
const LENGTH: usize = INDEX + 12;

/// The `jti` of a token with this index.
pub fn token_id(index: StatusIndex, random: [u8; 12]) -> String {
    let mut bytes = [0; LENGTH];
    bytes[..INDEX].copy_from_slice(&index.as_u64().to_be_bytes()[8 - INDEX..]);
    bytes[INDEX..].copy_from_slice(&random);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The index in the `jti` of a genuine token; `None` in one that was issued before tokens had an index.
pub fn status_index_of(jti: &str) -> Option<StatusIndex> {
    let bytes: [u8; LENGTH] = URL_SAFE_NO_PAD.decode(jti).ok()?.try_into().ok()?;
    let mut number = [0; 8];
    number[8 - INDEX..].copy_from_slice(&bytes[..INDEX]);
    StatusIndex::new(u64::from_be_bytes(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_reads_back_out_of_an_id_of_24_characters() {
        for number in [0, 1, 1 << 20, StatusIndex::END - 1] {
            let index = StatusIndex::new(number).expect("there");
            let id = token_id(index, [7; 12]);

            assert_eq!((id.len(), status_index_of(&id)), (24, Some(index)));
            assert_ne!(id, token_id(index, [8; 12]));
        }
    }

    #[test]
    fn what_is_no_such_id_has_no_index() {
        let beyond = URL_SAFE_NO_PAD.encode([255; LENGTH]);
        for jti in ["", "BwcHBwcHBwcHBwcHBwcHBw", "AAAAAAAAAAAAAAAAAAAAAAA=", "ä", &beyond] {
            assert_eq!(status_index_of(jti), None, "{jti}");
        }
    }
}
