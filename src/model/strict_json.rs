//! JSON objects in which every name stands once, at every depth: where a name stands twice, two readers see two different
//! objects, and whoever sends one chooses what each of them sees (RFC 7515 §4, RFC 7519 §4, RFC 8259 §4). Knows no member.

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The object in `json`, or `None` if it is anything else or a name in it stands twice.
pub fn object(json: &[u8]) -> Option<Map<String, Value>> {
    match serde_json::from_slice::<Strict>(json).ok()?.0 {
        Value::Object(object) => Some(object),
        _ => None,
    }
}

struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OnceEach).map(Self)
    }
}

struct OnceEach;

impl<'de> Visitor<'de> for OnceEach {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number that is none"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((name, Strict(value))) = members.next_entry::<String, Strict>()? {
            if object.insert(name, value).is_some() {
                return Err(A::Error::custom("a name stands twice"));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_stands_twice_is_refused_at_every_depth() {
        for twice in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"jwk":{"kty":"EC","kty":"oct"}}"#,
            r#"{"keys":[{"kid":"a"},{"kid":"a","kid":"b"}]}"#,
        ] {
            assert_eq!(object(twice.as_bytes()), None, "{twice}");
        }
        assert!(object(br#"{"a":{"b":1},"b":[{"a":1},{"a":2}]}"#).is_some());
    }

    #[test]
    fn what_is_no_object_or_too_deep_is_refused() {
        let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(500), "]".repeat(500));
        for json in ["", "1", "null", "[]", "\"x\"", "{", "{} {}", "{\"a\":1e999}", "\u{feff}{}", &deep] {
            assert_eq!(object(json.as_bytes()), None, "{json}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_taken_reads_as_everybody_reads_it(bytes in ".{0,60}") {
            if let Some(object) = object(bytes.as_bytes()) {
                proptest::prop_assert_eq!(Value::Object(object), serde_json::from_str::<Value>(&bytes).expect("json"));
            }
        }

        #[test]
        fn every_object_of_one_writer_is_taken(
            members in proptest::collection::btree_map(".{0,8}", proptest::prelude::any::<i64>(), 0..6)
        ) {
            let value = serde_json::json!({"inner": members, "list": [members]});
            let read = object(value.to_string().as_bytes()).map(Value::Object);
            proptest::prop_assert_eq!(read, Some(value));
        }
    }
}
