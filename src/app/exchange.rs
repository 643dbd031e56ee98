//! A token request from credentials to tokens: the use case behind `POST /token`.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use crate::protocol::dpop::InvalidProof;
use crate::protocol::error::TokenError;
use crate::protocol::grants::client_credentials;
use crate::protocol::token_request::TokenRequest;
use crate::protocol::token_response::TokenResponse;
use crate::protocol::user_address;
use crate::telemetry::metrics::count;

use super::App;
use super::authenticate_client::{AuthenticatedClient, FromClient, authenticate_client};
use super::issue::{Issue, OnBehalfOf, issue, signer_for};
use super::login::{Login, login};
use super::patience::within;
use super::refresh::{Place, refresh};
use super::token_exchange::{Swap, swap};

/// A request as the wire gives it, read but not judged.
pub struct Exchange<'a> {
    /// What every request of a client has.
    pub sent: FromClient<'a>,
    /// The headers that state the user's address, if the client is trusted to.
    pub user_address: &'a [&'a [u8]],
    /// The `DPoP` headers.
    pub proofs: &'a [&'a [u8]],
}

/// How long a request may take once it is read.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Answers a token request, in ten seconds at most.
pub async fn exchange(app: &Arc<App>, request: Exchange<'_>) -> Result<TokenResponse, TokenError> {
    // A refresh that was cut off is met by the retry rule.
    in_time(app, exchange_in_the_end(app, request)).await
}

/// Gives `answer` ten seconds: a database that hangs is a database that is away.
pub(super) async fn in_time<T>(
    app: &App,
    answer: impl Future<Output = Result<T, TokenError>>,
) -> Result<T, TokenError> {
    let answered = within(PATIENCE, answer).await;
    let answered = answered.unwrap_or_else(|| Err(TokenError::Unavailable("no answer in time".into())));
    if let Err(TokenError::Unavailable(_)) = &answered {
        app.database.doubt();
    }
    answered
}

async fn exchange_in_the_end(app: &Arc<App>, request: Exchange<'_>) -> Result<TokenResponse, TokenError> {
    let sent = request.sent;
    let presented = sent.presented()?;
    let wanted = TokenRequest::parse(sent.params);
    // Before the client: who is asked for a nonce has neither spent an assertion nor a guess.
    let proof = app.read_proof(request.proofs)?;
    let authenticated = authenticate_client(app, &presented, sent.source).await?;
    let client = authenticated.client();
    let trusted = client.registration.trust_user_address && !client.is_public();
    let stated = if trusted { user_address::read(request.user_address)? } else { None };
    let wanted = wanted?;
    let grant_type = wanted.grant_type();
    tracing::Span::current().record("grant_type", grant_type.as_str());
    if !client.allows(grant_type) {
        return Err(TokenError::UnauthorizedClient(grant_type));
    }
    // RFC 9449 §5.2: "MUST reject token requests from the client that do not contain the DPoP header".
    if client.registration.dpop_bound && proof.is_none() {
        return Err(InvalidProof::Missing.into());
    }
    // Before anything is consumed: a client's algorithm may be a moment older here than its first key.
    let algorithm = signer_for(app, client)?.algorithm();

    // What waits for the database or a hash is on the heap: a future is moved several times, and most requests need none
    // of this.
    let answered = match wanted {
        TokenRequest::ClientCredentials(wish) => {
            let granted = client_credentials::decide(&wish, client)?;
            if let Some(proof) = &proof {
                proof.use_up(app).await?;
            }
            let jkt = proof.as_ref().map(|proof| proof.jkt.as_str());
            let on_behalf_of = OnBehalfOf::Itself;
            issue(app, Issue { client, on_behalf_of, granted, refresh_token: None, jkt })
        }
        TokenRequest::Password { username, password, wish } => {
            let source = login_source(&authenticated, sent.source, stated);
            let family_source = network_of(sent.source);
            let client = authenticated;
            let asked = Login { client, username, password, wish, source, family_source, proof };
            Box::pin(login(app, asked)).await
        }
        TokenRequest::RefreshToken { token, wish } => {
            let place = Place { address: sent.source, proof: proof.as_ref() };
            Box::pin(refresh(app, &authenticated, &token, &wish, place)).await
        }
        TokenRequest::TokenExchange { token, given, wanted, wish } => {
            let (token, wish, proof) = (&token, &wish, proof.as_ref());
            Box::pin(swap(app, Swap { client, token, given, wanted, wish, proof })).await
        }
    };
    if answered.is_ok() {
        count("grantd_tokens_issued_total", "alg", algorithm.as_str());
    }
    answered
}

/// Where a password guess counts as coming from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LoginSource {
    /// A client that authenticates and says no more: all its users are at one place.
    Client(String),
    /// A place that only few people share, and where each has a standing of their own.
    Address(String),
}

/// A back-end that is trusted to states where its user is; else it is its own source, whatever address it sends from.
fn login_source(client: &AuthenticatedClient, address: IpAddr, stated: Option<IpAddr>) -> LoginSource {
    let id = &client.client().id;
    match stated {
        _ if client.client().is_public() => LoginSource::Address(network_of(address)),
        // Apart from the same address at another client: back-ends do not vouch for each other.
        Some(stated) => LoginSource::Address(format!("client {id} at {}", network_of(stated))),
        None => LoginSource::Client(format!("client {id}")),
    }
}

/// The address, or for IPv6 the network of it that one subscriber has: whoever owns a /64 owns 2^64 addresses, and
/// an honest phone changes among them.
pub(super) fn network_of(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("{}/64", Ipv6Addr::from_bits(v6.to_bits() & (!0u128 << 64))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_addresses_of_one_subscriber_are_one_source() {
        let of = |text: &str| network_of(text.parse().expect("an address"));

        assert_eq!(of("192.0.2.7"), "192.0.2.7");
        assert_eq!(of("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
    }
}
