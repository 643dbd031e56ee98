//! Registered clients, RFC 6749 §2.

use std::fmt;
use std::str::FromStr;

use serde_json::{Value, json};

use super::id::ClientId;
use super::jwk::JwkSet;
use super::key::SigningAlgorithm;
use super::resource::Audience;
use super::scope::Scope;
use super::secret::HashedSecret;
use super::status::StatusIndex;
use super::time::{Timestamp, Ttl};

/// A grant that the token endpoint knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GrantType {
    /// RFC 6749 §4.3.
    Password,
    /// RFC 6749 §4.4.
    ClientCredentials,
    /// RFC 6749 §6.
    RefreshToken,
    /// RFC 8693 §2.1.
    TokenExchange,
}

impl GrantType {
    /// Every grant type; the metadata follows from it.
    pub const ALL: [Self; 4] =
        [Self::ClientCredentials, Self::Password, Self::RefreshToken, Self::TokenExchange];

    /// The value of `grant_type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::ClientCredentials => "client_credentials",
            Self::RefreshToken => "refresh_token",
            Self::TokenExchange => "urn:ietf:params:oauth:grant-type:token-exchange",
        }
    }

    /// The grant that an operator names: its last part will do where the whole is a URN.
    ///
    /// # Errors
    /// If there is none.
    pub fn named(text: &str) -> Result<Self, UnknownName> {
        if text == "token-exchange" { Ok(Self::TokenExchange) } else { text.parse() }
    }
}

/// How a client proves who it is, by the names of RFC 7591 §2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AuthMethod {
    /// HTTP Basic, RFC 6749 §2.3.1.
    ClientSecretBasic,
    /// `client_id` and `client_secret` in the body, RFC 6749 §2.3.1.
    ClientSecretPost,
    /// A JWT that the client signs with a private key, RFC 7523 §2.2, OpenID Connect Core §9.
    PrivateKeyJwt,
    /// A public client: no proof, RFC 6749 §2.1.
    None,
}

impl AuthMethod {
    /// Every method; the metadata follows from it.
    pub const ALL: [Self; 4] =
        [Self::ClientSecretBasic, Self::ClientSecretPost, Self::PrivateKeyJwt, Self::None];

    /// The value of `token_endpoint_auth_method`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientSecretBasic => "client_secret_basic",
            Self::ClientSecretPost => "client_secret_post",
            Self::PrivateKeyJwt => "private_key_jwt",
            Self::None => "none",
        }
    }
}

/// Why a text is not a grant type or an authentication method.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{given}' is not {what} here: use {known}")]
pub struct UnknownName {
    given: String,
    what: &'static str,
    known: &'static str,
}

impl FromStr for GrantType {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|grant| grant.as_str() == text).ok_or_else(|| UnknownName {
            given: super::id::excerpt(text),
            what: "a grant type",
            known: "password, client_credentials, refresh_token or token-exchange",
        })
    }
}

impl FromStr for AuthMethod {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|method| method.as_str() == text).ok_or_else(|| UnknownName {
            given: super::id::excerpt(text),
            what: "a client authentication method",
            known: "client_secret_basic, client_secret_post, private_key_jwt or none",
        })
    }
}

impl fmt::Display for GrantType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for AuthMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an operator decides about a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// A name for people.
    pub name: Option<String>,
    /// The grants it may use; empty only for a client that is nothing but a resource server.
    pub grant_types: Vec<GrantType>,
    /// The scopes it may ask for.
    pub scope: Scope,
    /// The resource servers its tokens may be for; empty means the server's default audience.
    pub audience: Vec<Audience>,
    /// The audiences that it serves: it may introspect their tokens, whoever they were issued to (RFC 7662 §2.1).
    pub resource_servers: Vec<Audience>,
    /// The audiences that it may swap tokens for (RFC 8693 §2.1): where it may act for whoever its own callers are.
    pub may_act_for: Vec<Audience>,
    /// How it may authenticate; never empty, and `none` stands alone.
    pub auth_methods: Vec<AuthMethod>,
    /// How long its access tokens live, if not as long as everybody's.
    pub access_ttl: Option<Ttl>,
    /// How long its refresh-token families live at most, if not as long as everybody's.
    pub refresh_ttl: Option<Ttl>,
    /// What its tokens are signed with, if not with the server's default.
    pub alg: Option<SigningAlgorithm>,
    /// Whether the throttle of failed logins believes the addresses of users that it states.
    pub trust_user_address: bool,
    /// Whether its access tokens say where their status is (`status`).
    pub status: bool,
    /// The public keys of what it signs to authenticate, for `private_key_jwt`.
    pub jwks: Option<JwkSet>,
    /// Whether each of its tokens must be bound to a key (RFC 9449 §5.2).
    pub dpop_bound: bool,
}

impl Default for Registration {
    /// A client of which nothing is said.
    fn default() -> Self {
        Self {
            name: None,
            grant_types: Vec::new(),
            scope: Scope::empty(),
            audience: Vec::new(),
            resource_servers: Vec::new(),
            may_act_for: Vec::new(),
            auth_methods: vec![AuthMethod::ClientSecretBasic, AuthMethod::ClientSecretPost],
            access_ttl: None,
            refresh_ttl: None,
            alg: None,
            trust_user_address: false,
            status: true,
            jwks: None,
            dpop_bound: false,
        }
    }
}

fn texts(items: &[impl ToString]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

/// Why a registration makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRegistration {
    /// Nothing it could ever do.
    #[error(
        "the client has no grant and serves no audience, so it could do nothing: name at least one with --grant or --resource-server"
    )]
    NoGrant,
    /// No way to prove who it is.
    #[error("the client has no authentication method: name at least one with --auth-method")]
    NoAuthMethod,
    /// Both public and confidential.
    #[error(
        "the method none stands alone: a client that may leave its secret out is not protected by it; use either none or the client_secret methods"
    )]
    MixedWithNone,
    /// RFC 6749 §4.4.
    #[error(
        "a client with the method none cannot use client_credentials (RFC 6749 §4.4): leave the grant out, or give it a secret"
    )]
    PublicClientCredentials,
    /// RFC 7662 §2.1: whoever introspects proves who they are.
    #[error(
        "a client with the method none cannot introspect, for anybody can act as it: take --resource-server away, or give it a secret"
    )]
    PublicResourceServer,
    /// Whoever finds a user's token could swap it.
    #[error(
        "a client with the method none cannot exchange tokens, for anybody can act as it: leave the grant out, or give it a secret"
    )]
    PublicTokenExchange,
    /// Nothing to swap tokens for.
    #[error(
        "the grant token-exchange needs the audiences that tokens may be exchanged for: name them with --may-act-for"
    )]
    ExchangeForNobody,
    /// A permission that nothing asks for; the operator thinks otherwise.
    #[error(
        "the client may act for an audience and has no grant to do so: add --grant token-exchange, or take the audiences away with --may-act-for ''"
    )]
    UnusedMayActFor,
    /// A refresh token that nothing issues.
    #[error("refresh_token alone gives no first token: add --grant password")]
    RefreshWithoutPassword,
    /// Whoever sends the id of a public client would choose the address that is throttled.
    #[error(
        "a client with the method none cannot be trusted to state its users' addresses, for anybody can act as it: use --trust-user-address false, or give it a secret"
    )]
    PublicUserAddress,
    /// Nothing to check its assertions by.
    #[error(
        "a client with the method private_key_jwt needs its public keys: give them as a JWK Set with --jwks FILE"
    )]
    NoKeys,
    /// Keys that nothing is checked by; the operator thinks otherwise.
    #[error(
        "the client has public keys and no method that uses them: add --auth-method private_key_jwt, or take them away with --jwks ''"
    )]
    UnusedKeys,
    /// A token that is never valid.
    #[error("a lifetime of 0s makes tokens that are never valid: use at least 1s")]
    ZeroTtl,
}

impl Registration {
    /// Whether one of its methods wants a shared secret.
    pub fn has_secret(&self) -> bool {
        let wants = |method: &AuthMethod| {
            matches!(method, AuthMethod::ClientSecretBasic | AuthMethod::ClientSecretPost)
        };
        self.auth_methods.iter().any(wants)
    }

    /// All of it, by the names that `--json`, the audit and files of clients use.
    pub fn members(&self) -> [(&'static str, Value); 14] {
        let Self {
            name,
            grant_types,
            scope,
            audience,
            resource_servers,
            may_act_for,
            auth_methods,
            access_ttl,
            refresh_ttl,
            alg,
            trust_user_address,
            status,
            jwks,
            dpop_bound,
        } = self;
        let ttl = |ttl: &Option<Ttl>| json!(ttl.map(|ttl| ttl.to_string()));
        [
            ("name", json!(name)),
            ("grant_types", json!(texts(grant_types))),
            ("scope", json!(scope.to_string())),
            ("audience", json!(texts(audience))),
            ("resource_servers", json!(texts(resource_servers))),
            ("may_act_for", json!(texts(may_act_for))),
            ("token_endpoint_auth_methods", json!(texts(auth_methods))),
            ("access_ttl", ttl(access_ttl)),
            ("refresh_ttl", ttl(refresh_ttl)),
            ("alg", json!(alg.map(SigningAlgorithm::as_str))),
            ("trust_user_address", json!(trust_user_address)),
            ("status", json!(status)),
            // Whole, for whoever has one of these keys can act as the client, under whatever kid.
            ("jwks", json!(jwks.as_ref().map(JwkSet::to_json))),
            ("dpop_bound_access_tokens", json!(dpop_bound)),
        ]
    }

    /// Checks what no single flag can tell.
    pub fn check(&self) -> Result<(), InvalidRegistration> {
        if self.grant_types.is_empty() && self.resource_servers.is_empty() {
            return Err(InvalidRegistration::NoGrant);
        }
        if self.auth_methods.is_empty() {
            return Err(InvalidRegistration::NoAuthMethod);
        }
        let public = self.auth_methods.contains(&AuthMethod::None);
        if public && self.auth_methods.len() > 1 {
            return Err(InvalidRegistration::MixedWithNone);
        }
        // RFC 6749 §4.4: "MUST only be used by confidential clients"
        if public && self.grant_types.contains(&GrantType::ClientCredentials) {
            return Err(InvalidRegistration::PublicClientCredentials);
        }
        if public && !self.resource_servers.is_empty() {
            return Err(InvalidRegistration::PublicResourceServer);
        }
        let exchanges = self.grant_types.contains(&GrantType::TokenExchange);
        match (exchanges, self.may_act_for.is_empty()) {
            (true, _) if public => return Err(InvalidRegistration::PublicTokenExchange),
            (true, true) => return Err(InvalidRegistration::ExchangeForNobody),
            (false, false) => return Err(InvalidRegistration::UnusedMayActFor),
            (true, false) | (false, true) => {}
        }
        match (self.auth_methods.contains(&AuthMethod::PrivateKeyJwt), &self.jwks) {
            (true, None) => return Err(InvalidRegistration::NoKeys),
            (false, Some(_)) => return Err(InvalidRegistration::UnusedKeys),
            (true, Some(_)) | (false, None) => {}
        }
        if public && self.trust_user_address {
            return Err(InvalidRegistration::PublicUserAddress);
        }
        if self.grant_types.contains(&GrantType::RefreshToken)
            && !self.grant_types.contains(&GrantType::Password)
        {
            return Err(InvalidRegistration::RefreshWithoutPassword);
        }
        let zero = |ttl: Option<Ttl>| ttl.is_some_and(Ttl::is_zero);
        if zero(self.access_ttl) || zero(self.refresh_ttl) {
            return Err(InvalidRegistration::ZeroTtl);
        }
        Ok(())
    }
}

/// One of a client's secrets; two live at once while it is being rotated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientSecret {
    /// What is stored of it.
    pub hashed: HashedSecret,
    /// When it was set.
    pub created_at: Timestamp,
    /// When it stops working; `None` for the current one.
    pub expires_at: Option<Timestamp>,
}

/// A registered client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its id.
    pub id: ClientId,
    /// What an operator decided about it.
    pub registration: Registration,
    /// Its secrets; empty where no method wants one.
    pub secrets: Vec<ClientSecret>,
    /// Since when it is switched off.
    pub disabled_at: Option<Timestamp>,
    /// When it was registered.
    pub created_at: Timestamp,
    /// What the tokens that it got for itself carry, to be revoked by. A client that was cut off gets another one.
    pub status_index: StatusIndex,
}

impl Client {
    /// Whether it may act at all.
    pub const fn is_enabled(&self) -> bool {
        self.disabled_at.is_none()
    }

    /// Whether it authenticates with `none`, RFC 6749 §2.1.
    pub fn is_public(&self) -> bool {
        self.registration.auth_methods.contains(&AuthMethod::None)
    }

    /// Whether it may use `grant`.
    pub fn allows(&self, grant: GrantType) -> bool {
        self.registration.grant_types.contains(&grant)
    }

    /// The secrets that work at `now`.
    pub fn live_secrets(&self, now: Timestamp) -> impl Iterator<Item = &ClientSecret> {
        self.secrets.iter().filter(move |secret| secret.expires_at.is_none_or(|end| now < end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registration(grants: &[GrantType], methods: &[AuthMethod]) -> Registration {
        Registration {
            grant_types: grants.to_vec(),
            auth_methods: methods.to_vec(),
            ..Registration::default()
        }
    }

    #[test]
    fn registrations_that_make_no_sense_are_refused() {
        use AuthMethod::{ClientSecretBasic as Basic, None as Public};
        use GrantType::{ClientCredentials, Password, RefreshToken, TokenExchange};
        use InvalidRegistration as No;

        for (grants, methods, expected) in [
            (&[ClientCredentials][..], &[Basic][..], Ok(())),
            (&[Password, RefreshToken], &[Public], Ok(())),
            (&[], &[Basic], Err(No::NoGrant)),
            (&[Password], &[], Err(No::NoAuthMethod)),
            (&[Password], &[Public, Basic], Err(No::MixedWithNone)),
            (&[ClientCredentials], &[Public], Err(No::PublicClientCredentials)),
            (&[RefreshToken], &[Basic], Err(No::RefreshWithoutPassword)),
        ] {
            assert_eq!(registration(grants, methods).check(), expected, "{grants:?} {methods:?}");
        }
        let mut zero = registration(&[Password], &[Basic]);
        zero.access_ttl = Some(Ttl::ZERO);
        assert_eq!(zero.check(), Err(No::ZeroTtl));
        let served = vec!["https://api.example".parse().expect("a URI")];
        for (grants, method, expected) in [
            (&[][..], Basic, Ok(())),
            (&[Password], Basic, Ok(())),
            (&[Password], Public, Err(No::PublicResourceServer)),
        ] {
            let resource_servers = served.clone();
            let serves = Registration { resource_servers, ..registration(grants, &[method]) };
            assert_eq!(serves.check(), expected);
        }
        let target = vec!["urn:b".parse().expect("a URI")];
        for (grant, method, may_act_for, expected) in [
            (TokenExchange, Basic, &target, Ok(())),
            (TokenExchange, Public, &target, Err(No::PublicTokenExchange)),
            (TokenExchange, Basic, &Vec::new(), Err(No::ExchangeForNobody)),
            (Password, Basic, &target, Err(No::UnusedMayActFor)),
        ] {
            let may_act_for = may_act_for.clone();
            let exchanges = Registration { may_act_for, ..registration(&[grant], &[method]) };
            assert_eq!(exchanges.check(), expected);
        }
        for (method, expected) in [(Basic, Ok(())), (Public, Err(No::PublicUserAddress))] {
            let trusted = Registration { trust_user_address: true, ..registration(&[Password], &[method]) };
            assert_eq!(trusted.check(), expected);
        }
        let key =
            r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
        let jwks = Some(JwkSet::parse(key.as_bytes()).expect("a set"));
        for (method, jwks, expected) in [
            (AuthMethod::PrivateKeyJwt, &jwks, Ok(())),
            (AuthMethod::PrivateKeyJwt, &None, Err(No::NoKeys)),
            (Basic, &jwks, Err(No::UnusedKeys)),
            (Public, &jwks, Err(No::UnusedKeys)),
        ] {
            let with_keys = Registration { jwks: jwks.clone(), ..registration(&[Password], &[method]) };
            assert_eq!(with_keys.check(), expected);
            assert_eq!(with_keys.has_secret(), method == Basic);
        }
    }

    #[test]
    fn only_an_operator_may_name_a_grant_by_its_last_part() {
        assert_eq!(GrantType::named("token-exchange"), Ok(GrantType::TokenExchange));
        assert!("token-exchange".parse::<GrantType>().is_err(), "on the wire it is no grant type");
        for grant in GrantType::ALL {
            assert_eq!((GrantType::named(grant.as_str()), grant.as_str().parse()), (Ok(grant), Ok(grant)));
        }
    }
}
