//! What every endpoint reads at which a client says who it is: the form, the Authorization header, the source. Must
//! not know what is asked for.

use std::net::IpAddr;

use actix_web::HttpRequest;
use actix_web::http::header::AUTHORIZATION;
use actix_web::web::Payload;
use oxide_auth_actix::{OAuthRequest, OAuthResource};

use crate::app::authenticate_client::FromClient;
use crate::protocol::error::TokenError;
use crate::protocol::params::Params;

use super::client_address::ClientAddress;
use super::form;

/// A request of a client, read but not judged.
pub(super) struct ClientRequest {
    params: Params,
    source: IpAddr,
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

    /// What was sent.
    pub(super) fn sent(&self) -> FromClient<'_> {
        let text = self.credentials.authorization_header();
        // One that is no text is there, but of no scheme we know.
        let authorization = text.or_else(|| self.has_header.then_some("")).map(str::as_bytes);
        FromClient { authorization, params: &self.params, source: self.source }
    }
}
