//! cargo add axum serde_json; cargo add serde -F derive; cargo add tokio -F full; cargo add reqwest -F json;
//! cargo add jsonwebtoken -F aws_lc_rs; save as src/main.rs
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router, routing::get};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;

{% include "snippets/check.rs" %}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).expect("a status of ours");
        (status, [self.header], Json(json!({"error": self.error}))).into_response()
    }
}

async fn me(headers: HeaderMap) -> Result<Json<Value>, Refused> {
    let sent = headers
        .get("authorization")
        .and_then(|sent| sent.to_str().ok());
    let claims = check(sent, {{ self.0.scope }}).await?;
    Ok(Json(json!({"sub": claims.sub, "scope": claims.scope})))
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:9000").await?;
    axum::serve(listener, Router::new().route("/me", get(me))).await
}
