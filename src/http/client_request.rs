//! What every endpoint reads at which a client says who it is: the form, the Authorization header, the source. Must
//! not know what is asked for.

use std::net::IpAddr;

use actix_web::HttpRequest;
use actix_web::http::header::AUTHORIZATION;
use actix_web::web::Payload;
use oxide_auth_actix::{OAuthRequest, OAuthResource};

use crate::protocol::error::TokenError;
use crate::protocol::params::Params;

use super::client_address::ClientAddress;
use super::form;

/// A request of a client, read but not judged.
pub(super) struct ClientRequest {
    /// The form.
    pub(super) params: Params,
    /// Where it comes from.
    pub(super) source: IpAddr,
    credentials: OAuthRequest,
    /// Whether there is an Authorization header, be it text or not.
    has_header: bool,
}

impl ClientRequest {
    /// Reads it, body and all.
    pub(super) async fn read(request: &HttpRequest, body: Payload) -> Result<Self, TokenError> {
        let params = form::read(request, body).await?;
        let credentials = OAuthResource::new(request).map_err(|_| TokenError::TwoAuthorizationHeaders)?;
        let source = ClientAddress::of(request)
            .ok_or_else(|| TokenError::Internal("the connection has no peer address".into()))?;
        let has_header = request.headers().contains_key(AUTHORIZATION);
        Ok(Self { params, source, credentials: credentials.into_request(), has_header })
    }

    /// The Authorization header. One that is no text is there, but of no scheme we know.
    pub(super) fn authorization(&self) -> Option<&[u8]> {
        let text = self.credentials.authorization_header();
        text.or_else(|| self.has_header.then_some("")).map(str::as_bytes)
    }
}
