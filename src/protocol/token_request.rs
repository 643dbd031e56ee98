//! The token request by grant, RFC 6749 §4.3.2, §4.4.2 and §6, RFC 8693 §2.1: parsed once, complete or refused.

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
    /// RFC 8693 §2.1.
    TokenExchange {
        /// `subject_token`, not yet looked at.
        token: PlainSecret,
        /// `subject_token_type`: what it is said to be.
        given: Given,
        /// `requested_token_type`, which the answer is to name.
        wanted: TokenKind,
        /// What is asked for; `resource` has the values of `audience` too.
        wish: Wish,
    },
}

/// The `subject_token_type` of API keys, which are in no RFC.
pub const API_KEY_TYPE: &str = "urn:grantd:params:oauth:token-type:api-key";

/// What is given to be exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    /// An access token of this server.
    AccessToken,
    /// An API key of this server.
    ApiKey,
}

impl Given {
    fn of(text: &str) -> Option<Self> {
        if text == API_KEY_TYPE { Some(Self::ApiKey) } else { TokenKind::of(text).map(|_| Self::AccessToken) }
    }
}

/// A kind of token that can be exchanged for another, by its URI in RFC 8693 §3. Ours are both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// An access token, which here is a JWT.
    AccessToken,
    /// A JWT, which here is an access token.
    Jwt,
}

impl TokenKind {
    /// All of them; the first is what is issued unless another is asked for.
    pub const ALL: [Self; 2] = [Self::AccessToken, Self::Jwt];

    /// The value of `subject_token_type`, `requested_token_type` and `issued_token_type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AccessToken => "urn:ietf:params:oauth:token-type:access_token",
            Self::Jwt => "urn:ietf:params:oauth:token-type:jwt",
        }
    }

    fn of(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
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
            GrantType::TokenExchange => {
                // The actor is the client, which proves who it is anyway. To leave out who else is said to act would be
                // to issue another token than was asked for.
                if params.value("actor_token").or(params.value("actor_token_type")).is_some() {
                    return Err(TokenError::ActorToken);
                }
                let token = required("subject_token")?;
                let given = params.value("subject_token_type");
                let given = given.ok_or(TokenError::Missing("subject_token_type"))?;
                let given = Given::of(given).ok_or(TokenError::SubjectTokenType)?;
                let wanted = match params.value("requested_token_type") {
                    Some(wanted) => TokenKind::of(wanted).ok_or(TokenError::RequestedTokenType)?,
                    None => TokenKind::AccessToken,
                };
                let mut wish = Wish::parse(params)?;
                wish.resource.extend(targets(params, "audience")?);
                Self::TokenExchange { token, given, wanted, wish }
            }
        })
    }

    /// Which grant it is.
    pub const fn grant_type(&self) -> GrantType {
        match self {
            Self::ClientCredentials(_) => GrantType::ClientCredentials,
            Self::Password { .. } => GrantType::Password,
            Self::RefreshToken { .. } => GrantType::RefreshToken,
            Self::TokenExchange { .. } => GrantType::TokenExchange,
        }
    }
}

impl Wish {
    fn parse(params: &Params) -> Result<Self, TokenError> {
        let scope =
            params.value("scope").map(str::parse).transpose().map_err(|_| TokenError::MalformedScope)?;
        Ok(Self { scope, resource: targets(params, "resource")? })
    }
}

/// RFC 8707 §2: "The resource parameter … MUST be an absolute URI", else invalid_target. RFC 8693 §2.1 gives `audience` as
/// names that both sides know; ours are the URIs that clients are registered for.
fn targets(params: &Params, name: &str) -> Result<Vec<Audience>, TokenError> {
    params.values(name).map(str::parse).collect::<Result<_, _>>().map_err(|_| TokenError::Target)
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
    fn an_exchange_says_what_it_gives_and_what_it_wants() {
        let grant = GrantType::TokenExchange.as_str();
        let kind = |kind: &str| format!("urn:ietf:params:oauth:token-type:{kind}");
        let of = |rest: &str| parse(&format!("grant_type={grant}&subject_token=a.b.c{rest}"));
        let good = format!("&subject_token_type={}", kind("jwt"));

        let Ok(TokenRequest::TokenExchange { wanted, wish, .. }) =
            of(&format!("{good}&resource=urn:a&audience=urn:b&audience=urn:c"))
        else {
            panic!("a request")
        };
        assert_eq!((wanted, wish.resource.len()), (TokenKind::AccessToken, 3));
        for (of_key, expected) in [(API_KEY_TYPE, Given::ApiKey), (&kind("access_token"), Given::AccessToken)]
        {
            let read = of(&format!("&subject_token_type={of_key}"));
            assert!(
                matches!(read, Ok(TokenRequest::TokenExchange { given, .. }) if given == expected),
                "{read:?}"
            );
        }
        let for_key = format!("{good}&requested_token_type={API_KEY_TYPE}");
        assert_eq!(of(&for_key), Err(TokenError::RequestedTokenType), "nobody gets one that way");
        for (rest, expected) in [
            ("", TokenError::Missing("subject_token_type")),
            (&format!("&subject_token_type={}", kind("refresh_token")), TokenError::SubjectTokenType),
            ("&subject_token_type=jwt", TokenError::SubjectTokenType),
            (&format!("{good}&requested_token_type={}", kind("saml2")), TokenError::RequestedTokenType),
            (&format!("{good}&actor_token=x"), TokenError::ActorToken),
            (&format!("{good}&actor_token_type={}", kind("jwt")), TokenError::ActorToken),
            (&format!("{good}&audience=billing"), TokenError::Target),
        ] {
            assert_eq!(of(rest), Err(expected), "{rest}");
        }
        assert_eq!(parse(&format!("grant_type={grant}{good}")), Err(TokenError::Missing("subject_token")));
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
