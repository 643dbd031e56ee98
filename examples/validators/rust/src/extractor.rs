//! The actix-web extractor: who holds a good token gets in, others are refused as RFC 6750 says. Knows nothing of how a
//! token is judged.

use std::pin::Pin;

use actix_web::{FromRequest, HttpRequest, HttpResponse, ResponseError, dev::Payload, http::StatusCode, web};
use serde::Deserialize;
use serde_json::Value;

use crate::shared::{PAUSE, Unavailable};
use crate::validator::Validator;

/// The claims of a good token, and the extractor; RFC 9068 §2.2 says what is always there.
#[derive(Debug, Deserialize)]
pub struct Token {
    pub sub: String,
    pub client_id: String,
    pub jti: String,
    #[serde(default)]
    pub scope: String,
    #[serde(default)]
    pub roles: Vec<String>,
    pub iat: u64,
    pub status: Option<Value>,
    pub cnf: Option<Value>,
    #[serde(skip)]
    pub realm: String,
}

impl Token {
    /// Refuses a token without every one of these.
    pub fn needs(&self, scope: &[&str], roles: &[&str]) -> Result<(), Refusal> {
        let has_role = |role: &&str| self.roles.iter().any(|held| held == role);
        if scope.iter().all(|one| self.scope.split(' ').any(|held| held == *one)) && roles.iter().all(has_role) {
            return Ok(());
        }
        let scope = format!(r#", error="insufficient_scope", scope="{}""#, scope.join(" "));
        Err(Refusal::new(StatusCode::FORBIDDEN, &self.realm, &scope))
    }
}

impl FromRequest for Token {
    type Error = Refusal;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Refusal>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let validator = request.app_data::<web::Data<Validator>>().expect("a Validator in the app's data").clone();
        let sent = request.headers().get("authorization").and_then(|sent| sent.to_str().ok()).unwrap_or_default();
        let bearer = sent.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let sent = bearer.map(|(_, token)| token.trim().to_owned());
        Box::pin(async move {
            // RFC 6750 §3.1: no error code for who sent nothing.
            let refusal = |status, error| Refusal::new(status, &validator.audience, error);
            let sent = sent.ok_or_else(|| refusal(StatusCode::UNAUTHORIZED, ""))?;
            validator.check(&sent).await.map_err(|error| {
                if error.is::<Unavailable>() {
                    return refusal(StatusCode::SERVICE_UNAVAILABLE, "");
                }
                log::info!("token refused: {error}"); // why, for you and not for who sent it
                refusal(StatusCode::UNAUTHORIZED, r#", error="invalid_token""#)
            })
        })
    }
}

/// Why a request is refused: RFC 6750 §3.
#[derive(Debug, thiserror::Error)]
#[error("{status}")]
pub struct Refusal {
    status: StatusCode,
    challenge: String,
}

impl Refusal {
    fn new(status: StatusCode, realm: &str, error: &str) -> Self {
        Self { status, challenge: format!(r#"Bearer realm="{realm}"{error}"#) }
    }
}

impl ResponseError for Refusal {
    fn error_response(&self) -> HttpResponse {
        let header = match self.status {
            StatusCode::SERVICE_UNAVAILABLE => ("retry-after", PAUSE.as_secs().to_string()),
            _ => ("www-authenticate", self.challenge.clone()),
        };
        HttpResponse::build(self.status).insert_header(header).body(self.status.to_string())
    }
}
