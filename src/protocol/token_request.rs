//! The token request by grant, RFC 6749 §4.3.2, §4.4.2 and §6: parsed once, complete or refused.

use crate::model::client::GrantType;
use crate::model::resource::Audience;
use crate::model::scope::Scope;
use crate::model::secret::PlainSecret;

use super::error::TokenError;
use super::params::Params;

/// What every grant may say about the token it wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// `scope`; `None` asks for all there is.
    pub scope: Option<Scope>,
    /// `resource`, RFC 8707 §2; empty asks for all there are.
    pub resource: Vec<Audience>,
}

/// A token request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenRequest {
    /// RFC 6749 §4.4.2.
    ClientCredentials(Wish),
    /// RFC 6749 §4.3.2.
    Password {
        /// `username`, not yet prepared.
        username: String,
        /// `password`, not yet prepared.
        password: PlainSecret,
        /// What is asked for.
        wish: Wish,
    },
    /// RFC 6749 §6.
    RefreshToken {
        /// `refresh_token`, not yet looked at.
        token: PlainSecret,
        /// What is asked for.
        wish: Wish,
    },
}

impl TokenRequest {
    /// Reads the parameters of whatever grant is asked for.
    pub fn parse(params: &Params) -> Result<Self, TokenError> {
        let grant = params.value("grant_type").ok_or(TokenError::Missing("grant_type"))?;
        let grant: GrantType = grant.parse().map_err(|_| TokenError::UnsupportedGrantType)?;
        let required = |name| params.secret(name).ok_or(TokenError::Missing(name));

        Ok(match grant {
            GrantType::ClientCredentials => Self::ClientCredentials(Wish::parse(params)?),
            GrantType::Password => Self::Password {
                username: params.value("username").ok_or(TokenError::Missing("username"))?.to_owned(),
                password: required("password")?,
                wish: Wish::parse(params)?,
            },
            GrantType::RefreshToken => {
                Self::RefreshToken { token: required("refresh_token")?, wish: Wish::parse(params)? }
            }
        })
    }

    /// Which grant it is.
    pub const fn grant_type(&self) -> GrantType {
        match self {
            Self::ClientCredentials(_) => GrantType::ClientCredentials,
            Self::Password { .. } => GrantType::Password,
            Self::RefreshToken { .. } => GrantType::RefreshToken,
        }
    }
}

impl Wish {
    fn parse(params: &Params) -> Result<Self, TokenError> {
        let scope =
            params.value("scope").map(str::parse).transpose().map_err(|_| TokenError::MalformedScope)?;
        // RFC 8707 §2: "The resource parameter … MUST be an absolute URI", else invalid_target.
        let resource = params.values("resource").map(str::parse).collect::<Result<_, _>>();
        Ok(Self { scope, resource: resource.map_err(|_| TokenError::Target)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Result<TokenRequest, TokenError> {
        TokenRequest::parse(&Params::parse(body.as_bytes()).expect("a form"))
    }

    #[test]
    fn each_grant_names_what_is_missing() {
        for (body, name) in [
            ("", "grant_type"),
            ("grant_type=", "grant_type"),
            ("grant_type=password&password=x", "username"),
            ("grant_type=password&username=x&password=", "password"),
            ("grant_type=refresh_token", "refresh_token"),
        ] {
            assert_eq!(parse(body), Err(TokenError::Missing(name)), "{body}");
        }
        assert_eq!(parse("grant_type=authorization_code"), Err(TokenError::UnsupportedGrantType));
    }

    #[test]
    fn scope_and_resource_are_parsed_or_refused() {
        let request = parse("grant_type=client_credentials&scope=&resource=urn:a&resource=urn:b");
        let Ok(TokenRequest::ClientCredentials(wish)) = request else { panic!("{request:?}") };

        assert_eq!((wish.scope, wish.resource.len()), (None, 2));
        assert_eq!(parse("grant_type=client_credentials&scope=a++b"), Err(TokenError::MalformedScope));
        assert_eq!(parse("grant_type=client_credentials&resource=nowhere"), Err(TokenError::Target));
    }
}
