//! What `client create` and `client update` may say about a client. Knows no use case.

use std::io::Read as _;
use std::path::Path;
use std::str::FromStr;

use clap::Args;

use crate::cli::or_nothing::{self, OrNothing};
use crate::model::client::{AuthMethod, Registration};
use crate::model::jwk::{JwkSet, LONGEST_SET};
use crate::model::key::SigningAlgorithm;
use crate::model::resource::Audience;
use crate::model::scope::Scope;
use crate::model::time::Ttl;

/// What `create` and `update` have in common.
#[derive(Args, Debug, Default)]
pub(super) struct RegistrationFlags {
    /// A name for people
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The scopes it may ask for, separated by spaces
    #[arg(long, value_name = "\"A B\"")]
    scope: Option<Scope>,
    /// A resource server its tokens are for (repeatable) [default: tokens.default_audience]
    #[arg(long = "audience", value_name = "URI")]
    audiences: Vec<OrNothing<Audience>>,
    /// An audience that it serves: it may introspect tokens for it (repeatable)
    #[arg(long = "resource-server", value_name = "URI")]
    resource_servers: Vec<OrNothing<Audience>>,
    /// An audience that it may exchange tokens for, with the grant token-exchange (repeatable)
    #[arg(long, value_name = "URI")]
    may_act_for: Vec<OrNothing<Audience>>,
    /// client_secret_basic, client_secret_post, private_key_jwt or none (repeatable) [default: the first two]
    #[arg(long = "auth-method", value_name = "METHOD")]
    auth_methods: Vec<AuthMethod>,
    /// Life of its access tokens, such as 10m [default: tokens.access_ttl]
    #[arg(long, value_name = "TIME")]
    access_ttl: Option<OrNothing<Ttl>>,
    /// Longest life of its refresh tokens, such as 30d [default: tokens.refresh_ttl]
    #[arg(long, value_name = "TIME")]
    refresh_ttl: Option<OrNothing<Ttl>>,
    /// What signs its tokens: ES256, RS256, PS256, EdDSA, ES384 [default: keys.algorithm]
    #[arg(long, value_name = "ALG")]
    alg: Option<OrNothing<SigningAlgorithm>>,
    /// Whether Grantd-User-Address of its logins is believed, for the throttle of failed ones [default: false]
    #[arg(long, value_name = "true|false")]
    trust_user_address: Option<bool>,
    /// Leave out of its tokens where their status is, for the smallest ones: only introspection sees them revoked
    #[arg(long, conflicts_with = "status")]
    no_status: bool,
    /// Let its tokens say where their status is, so that everybody sees them revoked [default]
    #[arg(long)]
    status: bool,
    /// The public keys that it signs with, as a JWK Set (RFC 7517), for private_key_jwt
    #[arg(long, value_name = "FILE")]
    jwks: Option<OrNothing<JwksFile>>,
    /// Give it no token that is not bound to a key of its own (DPoP, RFC 9449); =false takes that back
    #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    dpop_bound_access_tokens: Option<bool>,
}

/// A JWK Set, named on the command line by the file that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct JwksFile(JwkSet);

impl FromStr for JwksFile {
    type Err = String;

    fn from_str(path: &str) -> Result<Self, String> {
        read_jwks(path.as_ref()).map(Self)
    }
}

/// The JWK Set in a file.
pub(in crate::cli) fn read_jwks(path: &Path) -> Result<JwkSet, String> {
    let mut json = Vec::new();
    // One byte more than is taken, so that what is longer is seen to be.
    let read =
        std::fs::File::open(path).and_then(|file| file.take(LONGEST_SET as u64 + 1).read_to_end(&mut json));
    read.map_err(|error| format!("the file cannot be read: {error}"))?;
    JwkSet::parse(&json).map_err(|error| error.to_string())
}

impl RegistrationFlags {
    pub(super) fn names_nothing(&self) -> bool {
        let Self {
            name,
            scope,
            audiences,
            resource_servers,
            may_act_for,
            auth_methods,
            access_ttl,
            refresh_ttl,
            alg,
            trust_user_address,
            no_status,
            status,
            jwks,
            dpop_bound_access_tokens,
        } = self;
        name.is_none()
            && scope.is_none()
            && audiences.is_empty()
            && resource_servers.is_empty()
            && may_act_for.is_empty()
            && auth_methods.is_empty()
            && access_ttl.is_none()
            && refresh_ttl.is_none()
            && alg.is_none()
            && trust_user_address.is_none()
            && !(*no_status || *status)
            && jwks.is_none()
            && dpop_bound_access_tokens.is_none()
    }

    /// The registration with what is named replaced.
    pub(super) fn laid_over(self, old: Registration) -> Registration {
        let or_kept = |new: Vec<AuthMethod>, old| if new.is_empty() { old } else { new };
        Registration {
            name: self.name.map_or(old.name, |name| Some(name).filter(|name| !name.is_empty())),
            grant_types: old.grant_types,
            scope: self.scope.unwrap_or(old.scope),
            audience: or_nothing::list(self.audiences).unwrap_or(old.audience),
            resource_servers: or_nothing::list(self.resource_servers).unwrap_or(old.resource_servers),
            may_act_for: or_nothing::list(self.may_act_for).unwrap_or(old.may_act_for),
            auth_methods: or_kept(self.auth_methods, old.auth_methods),
            access_ttl: self.access_ttl.map_or(old.access_ttl, OrNothing::into_option),
            refresh_ttl: self.refresh_ttl.map_or(old.refresh_ttl, OrNothing::into_option),
            alg: self.alg.map_or(old.alg, OrNothing::into_option),
            trust_user_address: self.trust_user_address.unwrap_or(old.trust_user_address),
            status: self.status || (old.status && !self.no_status),
            jwks: self.jwks.map_or(old.jwks, |given| given.into_option().map(|file| file.0)),
            dpop_bound: self.dpop_bound_access_tokens.unwrap_or(old.dpop_bound),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::client::GrantType;

    fn registered() -> Registration {
        RegistrationFlags {
            name: Some("Old".into()),
            scope: Some("a b".parse().expect("a scope")),
            audiences: vec!["https://api.example".parse().expect("a URI")],
            access_ttl: Some("1m".parse().expect("a time")),
            ..RegistrationFlags::default()
        }
        .laid_over(Registration { grant_types: vec![GrantType::Password], ..Registration::default() })
    }

    #[test]
    fn what_is_not_named_stays() {
        assert!(RegistrationFlags::default().names_nothing());
        assert_eq!(RegistrationFlags::default().laid_over(registered()), registered());
    }

    #[test]
    fn what_is_named_is_replaced_and_an_empty_text_takes_away() {
        let flags = RegistrationFlags {
            name: Some(String::new()),
            scope: Some("c".parse().expect("a scope")),
            audiences: vec!["".parse().expect("nothing")],
            auth_methods: vec![AuthMethod::None],
            access_ttl: Some("".parse().expect("nothing")),
            alg: Some("RS256".parse().expect("an algorithm")),
            no_status: true,
            ..RegistrationFlags::default()
        };

        let changed = flags.laid_over(registered());

        assert_eq!(changed.name, None);
        assert_eq!(changed.scope.to_string(), "c");
        assert_eq!(changed.audience, []);
        assert_eq!(changed.auth_methods, [AuthMethod::None]);
        assert_eq!(changed.access_ttl, None);
        assert_eq!(changed.alg, Some(SigningAlgorithm::Rs256));
        assert!(!changed.status);
        let back = RegistrationFlags { status: true, ..RegistrationFlags::default() };
        assert!(back.laid_over(changed).status);
    }
}
