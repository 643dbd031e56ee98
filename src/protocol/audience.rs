//! Which resource servers a token is for: RFC 8707 §2 and RFC 9068 §3.

use crate::model::resource::Audience;

use super::error::TokenError;

/// The audiences of a token of a client that is registered for `registered`. Empty means that nothing was
/// registered and nothing asked for: the server's default audience.
pub fn choose(named: &[Audience], registered: &[Audience]) -> Result<Vec<Audience>, TokenError> {
    if named.iter().any(|resource| !registered.contains(resource)) {
        return Err(TokenError::Target);
    }
    let chosen = |audience: &&Audience| named.is_empty() || named.contains(audience);
    Ok(registered.iter().filter(chosen).cloned().collect())
}

/// The audiences of a refreshed token: of those of the family's first request, RFC 8707 §2.2, the ones that
/// are named and still registered.
pub fn choose_again(
    named: &[Audience],
    family: &[Audience],
    registered: &[Audience],
) -> Result<Vec<Audience>, TokenError> {
    // RFC 8707 §2.2: what was granted under the default audience never grows to a registered one.
    if family.is_empty() {
        return choose(named, &[]);
    }
    let allowed: Vec<Audience> =
        family.iter().filter(|audience| registered.contains(audience)).cloned().collect();
    if allowed.is_empty() {
        return Err(TokenError::Target);
    }
    choose(named, &allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Vec<Audience> {
        text.split_whitespace().map(|uri| uri.parse().expect("an audience")).collect()
    }

    #[test]
    fn a_resource_must_be_registered() {
        for (named, registered, expected) in [
            ("", "", Ok("")),
            ("", "urn:a urn:b", Ok("urn:a urn:b")),
            ("urn:b", "urn:a urn:b", Ok("urn:b")),
            ("urn:b urn:b urn:a", "urn:a urn:b", Ok("urn:a urn:b")),
            ("urn:c", "urn:a urn:b", Err(TokenError::Target)),
            ("urn:a urn:c", "urn:a", Err(TokenError::Target)),
            ("urn:a", "", Err(TokenError::Target)),
        ] {
            assert_eq!(
                choose(&list(named), &list(registered)),
                expected.map(list),
                "{named} of {registered}"
            );
        }
    }

    #[test]
    fn a_refresh_keeps_to_the_first_request_and_to_the_registration_of_now() {
        for (named, family, registered, expected) in [
            ("", "urn:a", "urn:a urn:b", Ok("urn:a")),
            ("urn:b", "urn:a", "urn:a urn:b", Err(TokenError::Target)),
            ("urn:a", "urn:a urn:b", "urn:a urn:b", Ok("urn:a")),
            ("", "urn:a urn:b", "urn:b", Ok("urn:b")),
            ("", "urn:a", "urn:b", Err(TokenError::Target)),
            ("", "urn:a", "", Err(TokenError::Target)),
            ("", "", "", Ok("")),
            ("", "", "urn:b", Ok("")),
            ("urn:b", "", "urn:b", Err(TokenError::Target)),
        ] {
            let chosen = choose_again(&list(named), &list(family), &list(registered));

            assert_eq!(chosen, expected.map(list), "{named}, {family}, {registered}");
        }
    }
}
