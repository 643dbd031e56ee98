//! What goes wrong at the OAuth endpoints: many causes for the log, few codes for the client.

use std::time::Duration;

use crate::model::client::GrantType;

use super::client_assertion::InvalidAssertion;
use super::dpop::InvalidProof;
use super::params::InvalidForm;

/// An error code of RFC 6749 §5.2, or of the RFCs that extend it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// RFC 6749 §5.2.
    InvalidRequest,
    /// RFC 6749 §5.2.
    InvalidClient,
    /// RFC 6749 §5.2.
    InvalidGrant,
    /// RFC 6749 §5.2.
    UnauthorizedClient,
    /// RFC 6749 §5.2.
    UnsupportedGrantType,
    /// RFC 6749 §5.2.
    InvalidScope,
    /// RFC 7009 §2.2.1.
    UnsupportedTokenType,
    /// RFC 8707 §2.
    InvalidTarget,
    /// RFC 9449 §5.
    InvalidDpopProof,
    /// RFC 9449 §8.
    UseDpopNonce,
    /// RFC 6749 §4.1.2.1; the nearest registered word for "not now".
    TemporarilyUnavailable,
    /// RFC 6749 §4.1.2.1.
    ServerError,
}

impl ErrorCode {
    /// The value of `error`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::InvalidScope => "invalid_scope",
            Self::UnsupportedTokenType => "unsupported_token_type",
            Self::InvalidTarget => "invalid_target",
            Self::InvalidDpopProof => "invalid_dpop_proof",
            Self::UseDpopNonce => "use_dpop_nonce",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
            Self::ServerError => "server_error",
        }
    }
}

/// Why client authentication failed. All of them look alike from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClientAuthFailure {
    /// Nothing in the request says who the client is.
    #[error("no client authentication in the request")]
    Missing,
    /// An Authorization header that is not Basic.
    #[error("the Authorization header is not of the scheme Basic")]
    Scheme,
    /// A Basic header that cannot be read.
    #[error("the Basic credentials cannot be decoded")]
    Encoding,
    /// Half of an assertion, or one of another type.
    #[error("client_assertion and client_assertion_type are not a JWT and its type (RFC 7523 §2.2)")]
    Assertion,
    /// The assertion is no JWS that a private key signed, or says no client.
    #[error("the client assertion cannot be read: {0}")]
    UnreadableAssertion(&'static str),
    /// The assertion is not signed by a key of the client.
    #[error("the client assertion is not by the client: {0}")]
    AssertionSignature(&'static str),
    /// RFC 7521 §4.2: the client_id "MUST identify the same client".
    #[error("client_id is another client than the assertion's")]
    AssertionClient,
    /// The assertion is by the client, and not good here or now.
    #[error("the client assertion is refused: {0}")]
    RefusedAssertion(InvalidAssertion),
    /// The assertion was used before.
    #[error("the client assertion was used before: its jti must be new each time")]
    ReplayedAssertion,
    /// No such client.
    #[error("no such client")]
    Unknown,
    /// The client is switched off.
    #[error("the client is disabled")]
    Disabled,
    /// The secret is wrong, expired or missing.
    #[error("wrong client secret")]
    Secret,
    /// RFC 7662 §2.1: introspection is for clients that prove who they are.
    #[error("a public client may not introspect")]
    Public,
    /// The client is not registered for the method it used.
    #[error("the client is not registered for this authentication method")]
    Method,
}

/// Why a grant is not honoured. The client learns only `invalid_grant`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GrantFailure {
    /// No such user, or a wrong password; deliberately one cause for the client.
    #[error("wrong username or password")]
    Credentials,
    /// The user is switched off.
    #[error("the user is disabled")]
    UserDisabled,
    /// The text is not a refresh token of this server.
    #[error("not a refresh token of this server")]
    UnknownToken,
    /// The refresh token was issued to another client.
    #[error("the refresh token belongs to another client")]
    OtherClient,
    /// The family's time is over.
    #[error("the refresh token has expired")]
    Expired,
    /// The family was ended.
    #[error("the refresh token is revoked")]
    Revoked,
    /// A replaced refresh token came back; the family is ended.
    #[error("a refresh token was used again after its successor; its family is ended")]
    Reused,
    /// The refresh token is bound to another key, RFC 9449 §5.
    #[error("the refresh token is bound to another key than the DPoP proof's")]
    OtherKey,
    /// A public client asked too often for a lost answer.
    #[error("the lost answer was asked for too often")]
    TooManyRetries,
}

/// Why a subject token is not exchanged, RFC 8693 §2.2.2. The client learns only `invalid_request`, so that nobody finds
/// out anything about tokens of others.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubjectTokenFailure {
    /// Not a token of ours, or not now.
    #[error("the subject token is not live: {0}")]
    NotLive(String),
    /// Whoever gave it out did not mean it for the client that presents it.
    #[error("the subject token was neither issued to the client nor is it for an audience that it serves")]
    NotForClient,
}

/// Everything that can go wrong at `/token`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The body is not a form.
    #[error(transparent)]
    Form(#[from] InvalidForm),
    /// The request is not `application/x-www-form-urlencoded`.
    #[error("the body is not of type application/x-www-form-urlencoded")]
    ContentType,
    /// The request has a content coding.
    #[error("the body has a Content-Encoding")]
    ContentEncoding,
    /// The body is larger than the endpoint reads.
    #[error("the body is too large")]
    TooLarge,
    /// The body did not arrive in time.
    #[error("the body did not arrive in time")]
    BodyTimeout,
    /// The connection broke while the body was read.
    #[error("the body broke off")]
    BodyBroken,
    /// The method is not POST.
    #[error("the method is not POST")]
    Method,
    /// A parameter that the grant needs is not there.
    #[error("the parameter {0} is missing")]
    Missing(&'static str),
    /// More than one Authorization header.
    #[error("more than one Authorization header")]
    TwoAuthorizationHeaders,
    /// A client that is trusted to state its user's address states none that can be read.
    #[error("the stated user address is not one IP address")]
    UserAddress,
    /// RFC 6749 §2.3: "The client MUST NOT use more than one authentication method in each request."
    #[error("more than one client authentication method")]
    TwoMethods,
    /// The client did not prove who it is.
    #[error("client authentication failed: {cause}")]
    Client {
        /// The real cause, for the log.
        cause: ClientAuthFailure,
        /// Whether the Authorization header was used, which asks for a challenge in the answer.
        header_used: bool,
    },
    /// `grant_type` is none of ours.
    #[error("the grant type is not supported")]
    UnsupportedGrantType,
    /// The client is not registered for this grant.
    #[error("the client is not registered for the grant {0}")]
    UnauthorizedClient(GrantType),
    /// The grant itself is no good.
    #[error("{0}")]
    Grant(GrantFailure),
    /// RFC 8693 §2.2.2.
    #[error(transparent)]
    SubjectToken(#[from] SubjectTokenFailure),
    /// The subject token has as many actors as a token may have.
    #[error("the subject token was exchanged too often")]
    TooManyActors,
    /// RFC 8693 §3: a `subject_token_type` of which there are none here.
    #[error("subject_token_type is no type of an access token")]
    SubjectTokenType,
    /// RFC 8693 §3: a `requested_token_type` of which there are none here.
    #[error("requested_token_type is no type of an access token")]
    RequestedTokenType,
    /// RFC 8693 §2.1: an actor other than the client itself.
    #[error("the request has an actor token")]
    ActorToken,
    /// Which of several audiences a token is exchanged for is not said.
    #[error("no audience is named, and the client may act for several")]
    TargetMissing,
    /// The scope goes beyond what the subject token allows.
    #[error("the scope goes beyond that of the subject token")]
    ScopeBeyondSubject,
    /// A token by exchange, given back by whoever exchanged it: its index is not theirs.
    #[error("the token is of a token exchange, which did not begin its session")]
    ExchangedToken,
    /// RFC 7009 §2.2.1: an API key is not a client's to give back, even to whoever holds it.
    #[error("an API key cannot be given back here")]
    ApiKeyGivenBack,
    /// RFC 7009 §2.1: a client may give back what it was given, and nothing else.
    #[error("the token was issued to another client")]
    OtherClientsToken,
    /// The scope is malformed.
    #[error("the scope is malformed")]
    MalformedScope,
    /// The scope goes beyond what may be asked for.
    #[error("the scope goes beyond what the client may ask for")]
    ScopeNotAllowed,
    /// Something was asked for and nothing of it may be given.
    #[error("nothing of the scope may be granted")]
    NothingGranted,
    /// A `resource` that is not an absolute URI or not the client's.
    #[error("the resource is not among the client's audiences")]
    Target,
    /// The DPoP proof is no good, or there is none where there must be.
    #[error(transparent)]
    Dpop(#[from] InvalidProof),
    /// Too many failed logins.
    #[error("too many failed logins")]
    Throttled {
        /// How long to wait.
        retry_after: Duration,
    },
    /// The login queue is full.
    #[error("the login queue is full")]
    Busy,
    /// The database does not answer.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// A fault of ours.
    #[error("internal error: {0}")]
    Internal(String),
}

impl TokenError {
    /// The code, the status and the sentence that the client gets. The sentence is fixed: nothing of the
    /// request, the database or the cause is in it.
    pub const fn answer(&self) -> (ErrorCode, u16, &'static str) {
        use ErrorCode as Code;
        match self {
            Self::Form(InvalidForm::Repeated) => (
                Code::InvalidRequest,
                400,
                "A parameter is included more than once; send each parameter at most once.",
            ),
            Self::Form(InvalidForm::PercentEncoding) => {
                (Code::InvalidRequest, 400, "The body is not percent-encoded correctly.")
            }
            Self::Form(InvalidForm::Utf8) => (Code::InvalidRequest, 400, "The body is not UTF-8."),
            Self::Form(InvalidForm::Nul) => (Code::InvalidRequest, 400, "The body contains a NUL byte."),
            // RFC 6749 §5.2: invalid_request is 400 "unless specified otherwise", and nobody does for this.
            Self::ContentType => (
                Code::InvalidRequest,
                400,
                "Send the parameters in the body as application/x-www-form-urlencoded.",
            ),
            Self::ContentEncoding => (Code::InvalidRequest, 415, "Send the body without a Content-Encoding."),
            Self::TooLarge => (Code::InvalidRequest, 413, "The body is larger than 16 KiB."),
            Self::BodyTimeout => (Code::InvalidRequest, 408, "The body did not arrive within 5 seconds."),
            Self::BodyBroken => (Code::InvalidRequest, 400, "The body is not complete."),
            Self::Method => (Code::InvalidRequest, 405, "This endpoint takes POST requests only."),
            Self::Missing(name) => (Code::InvalidRequest, 400, missing_sentence(name)),
            Self::TwoAuthorizationHeaders => {
                (Code::InvalidRequest, 400, "The request has more than one Authorization header.")
            }
            Self::TwoMethods => (
                Code::InvalidRequest,
                400,
                "The request authenticates the client in more than one way; use one (RFC 6749 section 2.3).",
            ),
            Self::UserAddress => (
                Code::InvalidRequest,
                400,
                "The header Grantd-User-Address is not one IP address; send it once, such as 203.0.113.7.",
            ),
            Self::Client { .. } => (
                Code::InvalidClient,
                401,
                "Client authentication failed: unknown client, wrong secret or assertion, or a method the client is not registered for.",
            ),
            Self::UnsupportedGrantType => (
                Code::UnsupportedGrantType,
                400,
                "This server offers the grant types client_credentials, password, refresh_token and urn:ietf:params:oauth:grant-type:token-exchange.",
            ),
            Self::UnauthorizedClient(_) => {
                (Code::UnauthorizedClient, 400, "The client is not registered for this grant type.")
            }
            Self::Grant(GrantFailure::Credentials | GrantFailure::UserDisabled) => {
                (Code::InvalidGrant, 400, "The username or password is wrong.")
            }
            Self::Grant(
                GrantFailure::UnknownToken
                | GrantFailure::OtherClient
                | GrantFailure::Expired
                | GrantFailure::Revoked
                | GrantFailure::Reused
                | GrantFailure::OtherKey
                | GrantFailure::TooManyRetries,
            ) => (
                Code::InvalidGrant,
                400,
                "The refresh token is invalid, expired, revoked or was issued to another client or key.",
            ),
            Self::SubjectToken(SubjectTokenFailure::NotLive(_) | SubjectTokenFailure::NotForClient) => (
                Code::InvalidRequest,
                400,
                "The subject token is invalid, expired or revoked, or was not meant for this client.",
            ),
            Self::TooManyActors => (
                Code::InvalidRequest,
                400,
                "The subject token has been exchanged too often; exchange one that is nearer to the user's.",
            ),
            Self::SubjectTokenType => (
                Code::InvalidRequest,
                400,
                "Subject tokens are access tokens of this server (urn:ietf:params:oauth:token-type:access_token or :jwt) or API keys (urn:grantd:params:oauth:token-type:api-key).",
            ),
            Self::RequestedTokenType => (
                Code::InvalidRequest,
                400,
                "Tokens are exchanged for access tokens only: urn:ietf:params:oauth:token-type:access_token or :jwt.",
            ),
            Self::ActorToken => (
                Code::InvalidRequest,
                400,
                "Leave actor_token and actor_token_type out: the actor is the client that authenticates.",
            ),
            Self::TargetMissing => (
                Code::InvalidTarget,
                400,
                "This client may act for several audiences; name at least one with audience or resource.",
            ),
            Self::ScopeBeyondSubject => {
                (Code::InvalidScope, 400, "The scope goes beyond that of the subject token.")
            }
            Self::ExchangedToken => (
                Code::UnsupportedTokenType,
                400,
                "A token by token exchange ends with the token that it was exchanged for, and not by itself.",
            ),
            Self::ApiKeyGivenBack => (
                Code::UnsupportedTokenType,
                400,
                "API keys are ended by whoever runs this server, with 'grantd token revoke'; tell them that it was found.",
            ),
            Self::OtherClientsToken => {
                (Code::InvalidGrant, 400, "The token was issued to another client, so it was not revoked.")
            }
            Self::MalformedScope => (
                Code::InvalidScope,
                400,
                "The scope is malformed: names separated by single spaces (RFC 6749 section 3.3).",
            ),
            Self::ScopeNotAllowed => {
                (Code::InvalidScope, 400, "The scope goes beyond what this client may ask for.")
            }
            Self::NothingGranted => {
                (Code::InvalidScope, 400, "Nothing of the requested scope can be granted.")
            }
            Self::Target => (
                Code::InvalidTarget,
                400,
                "The resource is not among the audiences that this client may ask for.",
            ),
            Self::Dpop(InvalidProof::Nonce) => (
                Code::UseDpopNonce,
                400,
                "Send a new DPoP proof with the nonce in the DPoP-Nonce header (RFC 9449 section 8).",
            ),
            Self::Dpop(_) => (
                Code::InvalidDpopProof,
                400,
                "The DPoP proof is missing, invalid, not for this request or used already (RFC 9449 section 4.3).",
            ),
            Self::Throttled { .. } => (
                Code::TemporarilyUnavailable,
                429,
                "Too many failed logins; try again after the time in Retry-After.",
            ),
            Self::Busy => (
                Code::TemporarilyUnavailable,
                503,
                "Too many logins at once; try again after the time in Retry-After.",
            ),
            Self::Unavailable(_) => (
                Code::TemporarilyUnavailable,
                503,
                "The server cannot use its database; try again after the time in Retry-After.",
            ),
            Self::Internal(_) => {
                (Code::ServerError, 500, "The server made a mistake; its log has the details.")
            }
        }
    }

    /// The `Retry-After` that belongs to the answer, if any.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Throttled { retry_after } => Some(*retry_after),
            Self::Busy | Self::Unavailable(_) => Some(Duration::from_secs(1)),
            _ => None,
        }
    }
}

impl From<GrantFailure> for TokenError {
    fn from(failure: GrantFailure) -> Self {
        Self::Grant(failure)
    }
}

const fn missing_sentence(name: &str) -> &'static str {
    match name.as_bytes() {
        b"grant_type" => "The parameter grant_type is missing.",
        b"username" => "The parameter username is missing.",
        b"password" => "The parameter password is missing.",
        b"refresh_token" => "The parameter refresh_token is missing.",
        b"subject_token" => "The parameter subject_token is missing.",
        b"subject_token_type" => "The parameter subject_token_type is missing.",
        b"token" => "The parameter token is missing.",
        b"client_id" => "The parameter client_id is missing.",
        _ => "A required parameter is missing.",
    }
}
