//! cargo add actix-web serde_json; cargo add serde -F derive; cargo add tokio -F sync; cargo add reqwest -F json;
//! cargo add jsonwebtoken -F aws_lc_rs; save as src/main.rs
use std::fmt;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use actix_web::http::StatusCode;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, ResponseError, get};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Mutex;

{% include "snippets/check.rs" %}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.error)
    }
}

impl ResponseError for Refused {
    fn error_response(&self) -> HttpResponse {
        let status = StatusCode::from_u16(self.status).expect("a status of ours");
        let mut answer = HttpResponse::build(status);
        answer.insert_header((self.header.0, self.header.1.as_str()));
        answer.json(json!({"error": self.error}))
    }
}

#[get("/me")]
async fn me(request: HttpRequest) -> Result<HttpResponse, Refused> {
    let sent = request
        .headers()
        .get("authorization")
        .and_then(|sent| sent.to_str().ok());
    let claims = check(sent, {{ self.0.scope }}).await?;
    Ok(HttpResponse::Ok().json(json!({"sub": claims.sub, "scope": claims.scope})))
}

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    HttpServer::new(|| App::new().service(me))
        .bind("127.0.0.1:9000")?
        .run()
        .await
}
