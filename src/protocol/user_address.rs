//! The address of the user, as a back-end states it that is trusted to. Not `Forwarded`: a back-end is no proxy, and
//! what proxies write is read for every request, before it is known whose it is.

use std::net::IpAddr;

use super::error::TokenError;

/// The header that states it.
pub const HEADER: &str = "grantd-user-address";

/// Reads the lines of the header. To be asked only for a client that is trusted to state addresses.
pub fn read(lines: &[&[u8]]) -> Result<Option<IpAddr>, TokenError> {
    match lines {
        [] => Ok(None),
        [line] => {
            let text = std::str::from_utf8(line).map_err(|_| TokenError::UserAddress)?;
            let address: IpAddr = text.trim_ascii().parse().map_err(|_| TokenError::UserAddress)?;
            Ok(Some(address.to_canonical()))
        }
        // Which of them the back-end wrote, and which its caller, nobody can tell.
        [_, _, ..] => Err(TokenError::UserAddress),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_is_read_and_nothing_else() {
        let read = |lines: &[&str]| read(&lines.iter().map(|line| line.as_bytes()).collect::<Vec<_>>());
        let address = |text: &str| Ok(Some(text.parse().expect("an address")));

        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&["203.0.113.7"]), address("203.0.113.7"));
        assert_eq!(read(&[" 2001:db8::1 "]), address("2001:db8::1"));
        assert_eq!(read(&["::ffff:203.0.113.7"]), address("203.0.113.7"));
        for wrong in
            ["", "203.0.113.7:443", "[2001:db8::1]", "203.0.113.7, 203.0.113.8", "fe80::1%eth0", "me"]
        {
            assert_eq!(read(&[wrong]), Err(TokenError::UserAddress), "{wrong}");
        }
        assert_eq!(read(&["203.0.113.7", "203.0.113.7"]), Err(TokenError::UserAddress));
    }

    proptest::proptest! {
        #[test]
        fn no_line_panics(line in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..60)) {
            let _ = read(&[&line]);
        }
    }
}
