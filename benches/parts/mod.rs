//! The pure parts of a token request, each with an input like those of real clients, for benches that take them one by
//! one. Knows nothing of how they are measured.

use std::sync::Arc;

use grantd::keys::{KeyRing, PublishedKey, SigningKey};
use grantd::model::id::{ClientId, FamilyId, UserId};
use grantd::model::key::{ACCESS_TOKEN_TYP, KeyState, SigningAlgorithm, SigningKeyInfo};
use grantd::model::role::{Role, RoleName, RoleTable};
use grantd::model::scope::Scope;
use grantd::model::secret::PlainSecret;
use grantd::model::session::FamilySecret;
use grantd::model::status::StatusIndex;
use grantd::model::time::{Timestamp, Ttl};
use grantd::protocol::access_token::{Claims, Facts, Subject, UserClaims};
use grantd::protocol::client_auth::Presented;
use grantd::protocol::params::Params;
use grantd::protocol::refresh_token::{PresentedRefreshToken, RefreshTokenKey};
use grantd::protocol::scope_rules;
use grantd::protocol::token_request::TokenRequest;

/// A login with everything that may stand in it.
pub(crate) const FORM: &[u8] = b"grant_type=password&username=alice%40example.com&\
    password=correct+horse+battery+staple&scope=read+write+profile&resource=https%3A%2F%2Fapi.example.com";
/// `app` with a secret of grantd's length.
pub(crate) const BASIC: &[u8] =
    b"Basic YXBwOmdjc19BQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB";
/// What a client asks for.
pub(crate) const SCOPE: &str = "read write profile email orders:read orders:write";

pub(crate) fn form() -> Params {
    Params::parse(FORM).expect("a form")
}

pub(crate) fn basic(params: &Params) -> Presented {
    Presented::read(&[BASIC], params).expect("credentials")
}

pub(crate) fn token_request(params: &Params) -> TokenRequest {
    TokenRequest::parse(params).expect("a request")
}

/// A user of three roles among thirty.
pub(crate) struct Scopes {
    registered: Scope,
    roles: RoleTable,
    held: Vec<RoleName>,
}

impl Scopes {
    pub(crate) fn new() -> Self {
        let name = |number| format!("role-{number}").parse::<RoleName>().expect("a name");
        let role = |number| Role {
            name: name(number),
            scope: format!("orders:read orders:write own:{number}").parse().expect("a scope"),
            description: None,
            created_at: Timestamp::from_secs(0),
        };
        let roles: Vec<Role> = (0..30).map(role).collect();
        Self {
            registered: format!("{SCOPE} admin").parse().expect("a scope"),
            roles: RoleTable::new(&roles),
            held: vec![name(3), name(4), name(5)],
        }
    }

    /// From the text of the parameter to what is granted.
    pub(crate) fn grant(&self, asked: &str) -> Scope {
        let asked = asked.parse().expect("a scope");
        let asked = scope_rules::ask(Some(&asked), &self.registered).expect("registered");
        scope_rules::reach(&asked, &self.roles, &self.held).expect("something")
    }
}

/// A family and the key of its tokens.
pub(crate) struct Refresh {
    key: RefreshTokenKey,
    family: FamilyId,
    secret: FamilySecret,
}

impl Refresh {
    pub(crate) fn new() -> Self {
        Self {
            key: RefreshTokenKey::new(&[1; 32]),
            family: FamilyId::from_random([2; 16]),
            secret: FamilySecret([3; 32]),
        }
    }

    pub(crate) fn derive(&self, generation: u32) -> PlainSecret {
        self.key.token(self.family, &self.secret, generation)
    }

    pub(crate) fn verify(&self, token: &str) -> bool {
        PresentedRefreshToken::read(token).is_some_and(|read| self.key.vouches_for(&read, &self.secret))
    }
}

/// A user's token: who, what, and the key that signs.
pub(crate) struct Token {
    key: SigningKey,
    client: ClientId,
    user: UserId,
    roles: Vec<RoleName>,
    scope: Scope,
}

impl Token {
    pub(crate) fn new(algorithm: SigningAlgorithm) -> Self {
        let roles = ["admin", "editor"].map(|name| name.parse().expect("a name"));
        Self {
            key: SigningKey::generate(algorithm).expect("a key").0,
            client: "app".parse().expect("an id"),
            user: UserId::from_random([4; 16]),
            roles: roles.into(),
            scope: SCOPE.parse().expect("a scope"),
        }
    }

    /// The claims as JSON, as they are signed.
    pub(crate) fn claims(&self) -> Vec<u8> {
        serde_json::to_vec(&self.set()).expect("JSON")
    }

    /// The claims, and the whole token.
    pub(crate) fn sign(&self) -> String {
        self.key.sign(ACCESS_TOKEN_TYP, &self.set()).expect("a token")
    }

    fn set(&self) -> Claims<'_> {
        let user = UserClaims {
            id: self.user,
            username: "alice@example.com",
            roles: &self.roles,
            auth_time: Some(Timestamp::from_secs(1_700_000_000)),
        };
        Claims::new(&Facts {
            jkt: None,
            issuer: "https://auth.example.com",
            client_id: &self.client,
            subject: Subject::User(user),
            actor: None,
            audience: &[],
            default_audience: "https://auth.example.com",
            scope: &self.scope,
            token_id: "AAAAAAxNBwcHBwcHBwcHBwcH",
            status: StatusIndex::new(3149),
            issued_at: Timestamp::from_secs(1_700_000_000),
            ttl: Ttl::from_secs(600),
        })
    }
}

/// An active and a pending key of each algorithm that a server is likely to have.
pub(crate) fn published_keys() -> Vec<PublishedKey> {
    let at = Timestamp::from_secs(0);
    let published = |algorithm, state| {
        let key = Arc::new(SigningKey::generate(algorithm).expect("a key").0);
        let info = SigningKeyInfo {
            kid: key.kid().clone(),
            algorithm,
            state,
            created_at: at,
            longest_ttl: Ttl::ZERO,
        };
        PublishedKey { key, info, seen_at: at, signs_from: at }
    };
    [SigningAlgorithm::Es256, SigningAlgorithm::Rs256]
        .into_iter()
        .flat_map(|algorithm| {
            [KeyState::Active { since: at }, KeyState::Pending { activates_at: at }]
                .map(|state| published(algorithm, state))
        })
        .collect()
}

/// The whole ring, JWK set and entity tag included.
pub(crate) fn render_jwks(keys: Vec<PublishedKey>) -> KeyRing {
    KeyRing::new(keys)
}
