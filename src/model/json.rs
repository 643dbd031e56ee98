//! Texts as JSON, for what is written so often that a serializer's look at each byte counts. RFC 8259 §7.

/// Appends `text` as a JSON string.
pub fn push_string(json: &mut String, text: &str) {
    if is_plain(text) {
        json.push('"');
        json.push_str(text);
        json.push('"');
    } else {
        json.push_str(&serde_json::to_string(text).expect("a text always serializes"));
    }
}

/// Whether nothing has to be escaped: visible ASCII without quotes and backslashes, as most texts of a protocol are.
/// Many bytes are looked at together, because none of them ends the look.
pub fn is_plain(text: &str) -> bool {
    let plain = |byte: u8| matches!(byte, b' '..=b'~') & (byte != b'"') & (byte != b'\\');
    text.bytes().fold(true, |so_far, byte| so_far & plain(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn it_is_what_a_serializer_writes(text in "[ -~]{0,40}|\\PC{0,20}|[\0-\u{ff}]{0,20}") {
            let mut json = String::from("[");

            push_string(&mut json, &text);

            proptest::prop_assert_eq!(&json[1..], serde_json::to_string(&text).expect("a text"));
        }
    }
}
