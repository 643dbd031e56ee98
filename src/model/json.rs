//! Texts as JSON, for what is written so often that a serializer's look at each byte counts. RFC 8259 §7.

/// Appends `text` as a JSON string.
pub fn push_string(json: &mut String, text: &str) {
    if is_plain(text) {
        push_plain(json, text);
    } else {
        json.push_str(&serde_json::to_string(text).expect("a text always serializes"));
    }
}

/// Appends a text that [is plain](is_plain).
pub fn push_plain(json: &mut String, text: &str) {
    json.reserve(text.len() + 2);
    json.push('"');
    json.push_str(text);
    json.push('"');
}

/// Whether nothing has to be escaped: visible ASCII without quotes and backslashes, as most texts of a protocol are.
/// Many bytes are looked at together, because none of them ends the look.
pub fn is_plain(text: &str) -> bool {
    let odd = |byte: u8| {
        u8::from(byte.wrapping_sub(b' ') > b'~' - b' ') | u8::from(byte == b'"') | u8::from(byte == b'\\')
    };
    text.bytes().fold(0, |so_far, byte| so_far | odd(byte)) == 0
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
