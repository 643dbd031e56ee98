//! A service behind grantd: who is asking, notes for those who may read them, and more for editors.

mod extractor;
mod shared;
mod validator;

use std::env::var;

use actix_web::{App, HttpServer, get, web};
use serde_json::{Value, json};

use extractor::{Refusal, Token};
use validator::Validator;

#[get("/me")]
async fn me(token: Token) -> web::Json<Value> {
    web::Json(json!({"sub": token.sub, "client_id": token.client_id, "scope": token.scope}))
}

#[get("/notes")]
async fn notes(token: Token) -> Result<web::Json<Value>, Refusal> {
    token.needs(&["notes:read"], &[])?;
    Ok(web::Json(json!({"notes": [format!("the first note of {}", token.sub)]})))
}

#[get("/drafts")]
async fn drafts(token: Token) -> Result<web::Json<Value>, Refusal> {
    token.needs(&["notes:write"], &["editor"])?;
    log::info!("{} reads drafts with token {}", token.sub, token.jti);
    Ok(web::Json(json!({"drafts": [format!("the first draft of {}", token.sub)]})))
}

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    let issuer = var("ISSUER").unwrap_or_else(|_| "http://127.0.0.1:8080".into());
    let audience = var("AUDIENCE").unwrap_or_else(|_| issuer.clone());
    let fail_open = var("FAIL_OPEN").is_ok_and(|value| value == "true");
    let port = var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(9000);
    let validator = web::Data::new(Validator::new(&issuer, &audience, fail_open));
    HttpServer::new(move || App::new().app_data(validator.clone()).service(me).service(notes).service(drafts))
        .bind(("127.0.0.1", port))?
        .run()
        .await
}
