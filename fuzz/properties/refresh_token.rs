//! Refresh tokens: those that strangers make up, and those that grantd made and somebody changed.
//!
//! The input is a token's text; after `!` its 52 bytes, to which the checksum is added; after `#` the family, the
//! secrets and the change of a token that grantd makes. Must not know of databases.

use arbitrary::{Result, Unstructured};
use grantd::model::id::FamilyId;
use grantd::model::secret::{REFRESH_TOKEN_PREFIX, decode_checked, encode_checked};
use grantd::model::session::FamilySecret;
use grantd::protocol::refresh_token::{PresentedRefreshToken, RefreshTokenKey};

/// Family id, generation and HMAC.
const LENGTH: usize = 16 + 4 + 32;

/// A token reads back as what it was made of, and only the key and the family's secret make one.
pub(crate) fn holds(data: &[u8]) {
    match data.split_first() {
        Some((b'#', rest)) => drop(check_made(&mut Unstructured::new(rest))),
        Some((b'!', body)) => {
            let token = encode_checked(REFRESH_TOKEN_PREFIX, body);
            assert_eq!(check_presented(token.expose()), body.len() == LENGTH);
        }
        _ => drop(std::str::from_utf8(data).map(check_presented)),
    }
}

/// Says whether the text is well-formed. A stranger's text is never more than that.
fn check_presented(text: &str) -> bool {
    let Some(presented) = PresentedRefreshToken::read(text) else { return false };

    // One token has one spelling, or a changed one could pass for another.
    let body = decode_checked::<LENGTH>(REFRESH_TOKEN_PREFIX, text).expect("well-formed");
    assert_eq!(encode_checked(REFRESH_TOKEN_PREFIX, &*body).expose(), text);
    assert_eq!(presented.family.as_bytes(), &body[..16]);
    assert_eq!(presented.generation.to_be_bytes(), body[16..20]);
    assert!(!RefreshTokenKey::new(&[1; 32]).vouches_for(&presented, &FamilySecret([2; 32])), "forged");
    true
}

fn check_made(u: &mut Unstructured<'_>) -> Result<()> {
    let (at, flip): (usize, u8) = (u.int_in_range(0..=LENGTH - 1)?, u.int_in_range(1..=255)?);
    let (typed_at, typed) = (u.int_in_range(0..=79)?, u.int_in_range(b'!'..=b'~')?);
    let generation: u32 = u.arbitrary()?;
    let family = FamilyId::from_bytes(u.arbitrary()?);
    let (secret, server): ([u8; 32], [u8; 32]) = (u.arbitrary()?, u.arbitrary()?);
    let (secret, key) = (FamilySecret(secret), RefreshTokenKey::new(&server));

    let token = key.token(family, &secret, generation);
    let presented = PresentedRefreshToken::read(token.expose()).expect("grantd made it");
    assert_eq!((presented.family, presented.generation), (family, generation));
    assert!(key.vouches_for(&presented, &secret));
    assert!(token == key.token(family, &secret, generation), "a lost answer could not be given again");

    // A mistyped character is seen without any key.
    let mut mistyped = token.expose().as_bytes().to_vec();
    if mistyped[typed_at] != typed {
        mistyped[typed_at] = typed;
        let mistyped = String::from_utf8(mistyped).expect("ASCII");
        assert!(PresentedRefreshToken::read(&mistyped).is_none(), "{mistyped}");
    }
    // A changed byte, be it in the family, the generation or the HMAC, needs the key.
    let body = decode_checked::<LENGTH>(REFRESH_TOKEN_PREFIX, token.expose()).expect("well-formed");
    for at in [at, 16 + at % 4] {
        let mut forged = *body;
        forged[at] ^= flip;
        let forged = encode_checked(REFRESH_TOKEN_PREFIX, &forged);
        let forged = PresentedRefreshToken::read(forged.expose()).expect("well-formed");
        assert!(!key.vouches_for(&forged, &secret), "byte {at} was changed");
    }

    // Neither half of the secret is enough: not a stolen key, not a stolen database.
    let (mut other_secret, mut other_server) = (secret.clone(), server);
    other_secret.0[at % 32] ^= flip;
    other_server[at % 32] ^= flip;
    assert!(!key.vouches_for(&presented, &other_secret));
    assert!(!RefreshTokenKey::new(&other_server).vouches_for(&presented, &secret));
    Ok(())
}
