//! What a Token Status List says, draft-ietf-oauth-status-list §4 and §5: bits, compressed, in claims. Knows no key, and
//! not why an index is revoked.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use miniz_oxide::deflate::compress_to_vec_zlib;
use serde::Serialize;

use crate::model::status::StatusIndex;
use crate::model::time::{Timestamp, Ttl};

/// The `typ` of a signed list, §5.1.
pub const STATUS_LIST_TYP: &str = "statuslist+jwt";
/// The media type of a signed list, §8.2.
pub const STATUS_LIST_MEDIA_TYPE: &str = "application/statuslist+jwt";

/// A list of 2^20 bits as it stands in the claim: whatever is not revoked reads as valid, also what was never handed
/// out, so that nobody can tell how many there are.
pub fn encode(revoked: impl IntoIterator<Item = u32>) -> String {
    let mut bits = vec![0_u8; StatusIndex::PER_LIST as usize / 8];
    for idx in revoked {
        // §4.1: the first index is the least significant bit of the first byte.
        if let Some(byte) = bits.get_mut(idx as usize / 8) {
            *byte |= 1 << (idx % 8);
        }
    }
    // §4.1 recommends the highest level; beyond 9 miniz only grows slower.
    URL_SAFE_NO_PAD.encode(compress_to_vec_zlib(&bits, 9))
}

/// What a signed list is made from.
#[derive(Clone, Copy, Debug)]
pub struct StatusListFacts<'a> {
    /// The issuer, exactly as configured: libraries ask every JWT for it.
    pub issuer: &'a str,
    /// Its own address.
    pub uri: &'a str,
    /// When it is signed.
    pub issued_at: Timestamp,
    /// How long a validator may use it before it looks for a newer one.
    pub ttl: Ttl,
    /// [`encode`]d.
    pub lst: &'a str,
}

/// The claims set, §5.1.
#[derive(Debug, Serialize)]
pub struct StatusListClaims<'a> {
    iss: &'a str,
    sub: &'a str,
    iat: i64,
    exp: i64,
    ttl: i64,
    status_list: StatusList<'a>,
}

#[derive(Debug, Serialize)]
struct StatusList<'a> {
    bits: u8,
    lst: &'a str,
}

impl<'a> StatusListClaims<'a> {
    /// Puts the facts into claims.
    pub fn new(facts: &StatusListFacts<'a>) -> Self {
        Self {
            iss: facts.issuer,
            sub: facts.uri,
            iat: facts.issued_at.as_secs(),
            exp: facts.issued_at.plus(lifetime(facts.ttl)).as_secs(),
            ttl: facts.ttl.as_secs(),
            status_list: StatusList { bits: 1, lst: facts.lst },
        }
    }
}

/// How long a signed list is good: so that a validator which cannot reach the server for a while goes on, but not for
/// long, because whoever keeps newer lists from it keeps revoked tokens alive so long.
pub const fn lifetime(ttl: Ttl) -> Ttl {
    let mut sum = ttl;
    let mut times = 1;
    while times < 10 {
        sum = sum.plus(ttl);
        times += 1;
    }
    sum
}

/// The document that names all lists, §9.3.
pub fn aggregation<'a>(uris: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
    #[derive(Serialize)]
    struct Aggregation<'a> {
        status_lists: Vec<&'a str>,
    }
    let document = Aggregation { status_lists: uris.into_iter().collect() };
    serde_json::to_vec(&document).expect("strings always serialize")
}

#[cfg(test)]
mod tests {
    use miniz_oxide::inflate::decompress_to_vec_zlib;

    use super::*;

    fn bits_of(lst: &str) -> Vec<u8> {
        decompress_to_vec_zlib(&URL_SAFE_NO_PAD.decode(lst).expect("base64url")).expect("zlib")
    }

    /// Appendix C.1 of the draft: a list of 2^20 entries of one bit, and which of them are 1.
    #[test]
    fn the_draft_s_test_vector_comes_out_bit_by_bit() {
        const ONES: [u32; 11] =
            [0, 1993, 25460, 159_495, 495_669, 554_353, 645_645, 723_232, 854_545, 934_534, 1_000_345];
        const LST: &str = "eNrt3AENwCAMAEGogklACtKQPg9LugC9k_ACvreiogEAAKkeCQAAAAAAAAAAAAAAAAAAAIBylgQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAXG9IAAAAAAAAAPwsJAAAAAAAAAAAAAAAvhsSAAAAAAAAAAAA7KpLAAAAAAAAAAAAAAAAAAAAAJsLCQAAAAAAAAAAADjelAAAAAAAAAAAKjDMAQAAAACAZC8L2AEb";

        assert_eq!(bits_of(&encode(ONES)), bits_of(LST));
        assert_eq!(bits_of(LST).len(), 1 << 17);
    }

    /// §4.1 of the draft: sixteen entries in two bytes.
    #[test]
    fn the_first_index_is_the_least_significant_bit_of_the_first_byte() {
        let bits = bits_of(&encode([0, 3, 4, 5, 7, 8, 9, 13, 15]));

        assert_eq!(bits[..3], [0xb9, 0xa3, 0]);
        let last = bits_of(&encode([StatusIndex::PER_LIST - 1]));
        assert_eq!(last[last.len() - 1], 0x80);
    }

    #[test]
    fn a_list_of_which_nothing_is_revoked_is_short_and_whole() {
        let lst = encode([]);

        assert!(lst.len() < 256, "{}", lst.len());
        assert_eq!(bits_of(&lst), vec![0; 1 << 17]);
    }

    #[test]
    fn a_list_says_what_the_draft_asks_for() {
        let facts = StatusListFacts {
            issuer: "https://auth.example.com",
            uri: "https://auth.example.com/status/3",
            issued_at: Timestamp::from_secs(1000),
            ttl: Ttl::from_secs(30),
            lst: "eNo",
        };

        assert_eq!(
            serde_json::to_string(&StatusListClaims::new(&facts)).expect("json"),
            r#"{"iss":"https://auth.example.com","sub":"https://auth.example.com/status/3","iat":1000,"exp":1300,"ttl":30,"status_list":{"bits":1,"lst":"eNo"}}"#
        );
        assert_eq!(aggregation(["a", "b"]), br#"{"status_lists":["a","b"]}"#);
    }
}
