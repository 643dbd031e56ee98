//! The answer to a token request that succeeds, RFC 6749 §5.1.

use crate::model::json::push_string;
use crate::model::scope::Scope;
use crate::model::secret::PlainSecret;
use crate::model::time::Ttl;

/// The members of the answer.
pub struct TokenResponse {
    /// The signed access token. Not wiped: it is about to leave in the clear, and others see it for as long as it lives.
    pub access_token: String,
    /// How long it lives.
    pub expires_in: Ttl,
    /// The refresh token, if the grant comes with one.
    pub refresh_token: Option<PlainSecret>,
    /// What was granted; always written, because a client must not guess.
    pub scope: Scope,
    /// How the access token is used.
    pub token_type: TokenType,
    /// What the access token is in the words of RFC 8693 §2.2.1, where it was exchanged for another.
    pub issued_token_type: Option<&'static str>,
}

/// How an access token is used, RFC 6749 §7.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenType {
    /// RFC 6750: whoever has it may use it.
    Bearer,
    /// RFC 9449 §5: with a proof by the key that it is bound to.
    Dpop,
}

impl TokenType {
    /// The value of `token_type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bearer => "Bearer",
            Self::Dpop => "DPoP",
        }
    }
}

impl TokenResponse {
    /// The JSON document.
    pub fn to_json(&self) -> String {
        let refresh_token = self.refresh_token.as_ref().map(PlainSecret::expose);
        let texts = [&*self.access_token, refresh_token.unwrap_or_default(), self.scope.as_str()];
        let mut json = String::with_capacity(100 + texts.map(str::len).iter().sum::<usize>());
        let mut member = |name: &str, value: &dyn Fn(&mut String)| {
            json.push(if json.is_empty() { '{' } else { ',' });
            push_string(&mut json, name);
            json.push(':');
            value(&mut json);
        };
        member("access_token", &|json| push_string(json, &self.access_token));
        if let Some(kind) = self.issued_token_type {
            member("issued_token_type", &|json| push_string(json, kind));
        }
        member("token_type", &|json| push_string(json, self.token_type.as_str()));
        member("expires_in", &|json| json.push_str(&self.expires_in.as_secs().to_string()));
        if let Some(token) = refresh_token {
            member("refresh_token", &|json| push_string(json, token));
        }
        member("scope", &|json| push_string(json, self.scope.as_str()));
        json.push('}');
        json
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_answer_is_that_of_rfc_6749_section_5_1() {
        let answer = |refresh_token: Option<&str>, scope: &str| TokenResponse {
            access_token: "a.b-_.c".into(),
            expires_in: Ttl::from_secs(600),
            refresh_token: refresh_token.map(|token| PlainSecret::new(token.into())),
            scope: scope.parse().expect("a scope"),
            token_type: TokenType::Bearer,
            issued_token_type: None,
        };
        let read = |answer: TokenResponse| -> serde_json::Value {
            serde_json::from_str(&answer.to_json()).expect("JSON")
        };

        let plain =
            json!({"access_token": "a.b-_.c", "token_type": "Bearer", "expires_in": 600, "scope": ""});
        assert_eq!(read(answer(None, "")), plain);
        let mut full = plain;
        full["refresh_token"] = "grt_x".into();
        full["scope"] = "a:b read/'%".into();
        assert_eq!(read(answer(Some("grt_x"), "read/'% a:b")), full);
        full["issued_token_type"] = "urn:x".into();
        let exchanged =
            TokenResponse { issued_token_type: Some("urn:x"), ..answer(Some("grt_x"), "read/'% a:b") };
        assert_eq!(read(exchanged), full);
    }
}
