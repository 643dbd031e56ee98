//! How Keycloak writes the password of a user in a realm export. Reads no file.

use serde_json::Value;

use super::judge::Refusal;

/// Roles that every user of every realm has, for Keycloak's own use.
pub(super) fn is_keycloaks_own(role: &str) -> bool {
    role.starts_with("default-roles-") || matches!(role, "offline_access" | "uma_authorization")
}

/// The text of the password hash among these credentials; `None` if none of them is a password.
pub(super) fn password_hash(credentials: &Value) -> Result<Option<String>, Refusal> {
    let all = credentials.as_array().map(Vec::as_slice).unwrap_or_default();
    let password = all.iter().find(|one| one.get("type").and_then(Value::as_str) == Some("password"));
    password.map(|password| text(password).ok_or(Refusal::Unreadable(DAMAGED)).flatten()).transpose()
}

const DAMAGED: &str = "its credential is not as Keycloak exports it (secretData and credentialData)";
const UNKNOWN: &str = "its credential is of an algorithm that grantd does not read";

fn text(credential: &Value) -> Option<Result<String, Refusal>> {
    let (secret, data) = (inner(credential, "secretData")?, inner(credential, "credentialData")?);
    let (value, salt) = (secret.get("value")?.as_str()?, secret.get("salt")?.as_str()?);
    let iterations = data.get("hashIterations")?.as_u64()?;
    // Names and numbers of their own; what cannot be is refused when the text is read.
    let text = match data.get("algorithm")?.as_str()? {
        "pbkdf2" => format!("$pbkdf2-sha1$i={iterations}${salt}${value}"),
        "pbkdf2-sha256" => format!("$pbkdf2-sha256$i={iterations}${salt}${value}"),
        "pbkdf2-sha512" => format!("$pbkdf2-sha512$i={iterations}${salt}${value}"),
        "argon2" => {
            let more = data.get("additionalParameters")?;
            let kind = parameter(more, "type").unwrap_or("id");
            let version = match parameter(more, "version").unwrap_or("1.3") {
                "1.3" => 19,
                "1.0" => 16,
                _ => return None,
            };
            let memory: u32 = parameter(more, "memory")?.parse().ok()?;
            let parallelism: u32 = parameter(more, "parallelism")?.parse().ok()?;
            // PHC strings have base64 without padding.
            let (salt, value) = (salt.trim_end_matches('='), value.trim_end_matches('='));
            format!("$argon2{kind}$v={version}$m={memory},t={iterations},p={parallelism}${salt}${value}")
        }
        _ => return Some(Err(Refusal::Unreadable(UNKNOWN))),
    };
    Some(Ok(text))
}

/// JSON in a text in JSON; or, in a file that somebody edited, JSON.
fn inner(credential: &Value, name: &str) -> Option<Value> {
    match credential.get(name)? {
        Value::String(text) => serde_json::from_str(text).ok(),
        object @ Value::Object(_) => Some(object.clone()),
        _ => None,
    }
}

/// Keycloak's parameters are lists of one.
fn parameter<'a>(more: &'a Value, name: &str) -> Option<&'a str> {
    let value = more.get(name)?;
    value.as_str().or_else(|| value.get(0)?.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn credential(secret: &str, data: &str) -> Value {
        json!([{"type": "otp"}, {"type": "password", "secretData": secret, "credentialData": data}])
    }

    #[test]
    fn a_credential_becomes_a_text() {
        let secret = r#"{"value":"aGFzaA==","salt":"c2FsdA==","additionalParameters":{}}"#;
        let pbkdf2 = credential(secret, r#"{"hashIterations":27500,"algorithm":"pbkdf2-sha256"}"#);
        assert_eq!(password_hash(&pbkdf2), Ok(Some("$pbkdf2-sha256$i=27500$c2FsdA==$aGFzaA==".to_owned())));
        let argon2 = credential(
            secret,
            r#"{"hashIterations":5,"algorithm":"argon2","additionalParameters":{"hashLength":["32"],"memory":["7168"],"type":["id"],"version":["1.3"],"parallelism":["1"]}}"#,
        );
        assert_eq!(
            password_hash(&argon2),
            Ok(Some("$argon2id$v=19$m=7168,t=5,p=1$c2FsdA$aGFzaA".to_owned()))
        );
        assert_eq!(password_hash(&json!([])), Ok(None));
        assert_eq!(password_hash(&json!([{"type": "webauthn"}])), Ok(None));
    }

    #[test]
    fn a_credential_that_is_none_is_refused() {
        for (secret, data, why) in [
            ("", "", DAMAGED),
            (r#"{"value":"x"}"#, r#"{"hashIterations":1,"algorithm":"pbkdf2"}"#, DAMAGED),
            (r#"{"value":"x","salt":"y"}"#, r#"{"hashIterations":-1,"algorithm":"pbkdf2"}"#, DAMAGED),
            (r#"{"value":"x","salt":"y"}"#, r#"{"hashIterations":1,"algorithm":"md5"}"#, UNKNOWN),
            (r#"{"value":"x","salt":"y"}"#, r#"{"hashIterations":1,"algorithm":"argon2"}"#, DAMAGED),
        ] {
            assert_eq!(password_hash(&credential(secret, data)), Err(Refusal::Unreadable(why)), "{data}");
        }
    }
}
