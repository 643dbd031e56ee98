//! The HTTP door: bytes in, protocol types out, and back. Which path leads where is said here and nowhere else.

mod accept;
pub mod client_address;
mod client_request;
mod clock;
mod connection;
mod cors;
mod docs;
mod documents;
mod draining;
mod fallback;
pub mod form;
pub mod framing;
mod guarded_stream;
mod health;
mod introspect;
mod oauth_answer;
mod pages;
mod plain_documents;
mod revoke;
pub mod root_span;
pub mod server;
mod state;
mod swagger_ui;
pub mod tls;
mod token;
mod transport;
mod userinfo;
mod verify;
pub mod views;

use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{Resource, Route, guard};

pub use self::client_address::TrustedProxies;
pub use self::draining::Draining;
pub use self::state::HttpState;

/// Everything that clients reach. Under an issuer with a path, each address is served below that path, and also
/// at the root for proxies that strip it.
pub fn public(state: Data<HttpState>) -> impl FnOnce(&mut ServiceConfig) {
    move |config| {
        let prefixes = [String::new(), state.issuer_path().to_owned()];
        let prefixes = if prefixes[1].is_empty() { &prefixes[..1] } else { &prefixes[..] };
        for prefix in prefixes {
            config
                .service(
                    web::resource(format!("{prefix}/token"))
                        .wrap(cors::endpoints(state.allowed_origins()))
                        .route(web::post().to(token::token))
                        .default_service(web::to(token::wrong_method)),
                )
                .service(
                    web::resource(format!("{prefix}/introspect"))
                        .wrap(cors::endpoints(state.allowed_origins()))
                        .route(web::post().to(introspect::introspection))
                        .default_service(web::to(introspect::wrong_method)),
                )
                .service(
                    web::resource(format!("{prefix}/revoke"))
                        .wrap(cors::endpoints(state.allowed_origins()))
                        .route(web::post().to(revoke::revocation))
                        .default_service(web::to(revoke::wrong_method)),
                )
                .service(
                    web::resource(format!("{prefix}{}", userinfo::PATH))
                        .wrap(cors::endpoints(state.allowed_origins()))
                        .route(web::get().to(userinfo::user))
                        .route(web::post().to(userinfo::user))
                        .default_service(web::to(userinfo::wrong_method)),
                )
                .service(web::resource(format!("{prefix}{}", verify::PATH)).to(verify::request))
                .service(
                    get(format!("{prefix}{}", documents::JWKS), web::to(documents::jwks))
                        .wrap(cors::documents()),
                )
                .service(
                    get(format!("{prefix}{}", documents::OPENID), web::to(documents::metadata))
                        .wrap(cors::documents()),
                )
                .service(
                    get(format!("{prefix}{}", documents::METADATA), web::to(documents::metadata))
                        .wrap(cors::documents()),
                )
                .service(
                    get(format!("{prefix}{}", documents::STATUS), web::to(documents::status_lists))
                        .wrap(cors::documents()),
                )
                .service(
                    get(format!("{prefix}{}", documents::STATUS_LIST), web::to(documents::status_list))
                        .wrap(cors::documents()),
                )
                .service(get(format!("{prefix}/"), web::to(pages::home)));
            health_routes(config, prefix);
            if state.shows_docs() {
                config
                    .service(get(format!("{prefix}{}", docs::DOCS), web::to(docs::docs)))
                    .service(get(format!("{prefix}{}/{{file}}", docs::DOCS), web::to(docs::asset)))
                    .service(
                        get(format!("{prefix}{}", docs::OPENAPI), web::to(docs::openapi))
                            .wrap(cors::documents()),
                    );
            }
        }
        // RFC 8414 §3.1: the well-known string is inserted between the host and the path of the issuer.
        if let [_, path] = prefixes {
            config
                .service(
                    get(format!("{}{path}", documents::METADATA), web::to(documents::metadata))
                        .wrap(cors::documents()),
                )
                .service(get(path.clone(), web::to(pages::home)));
        }
        config.app_data(state).default_service(web::to(fallback::not_found));
    }
}

/// Everything that operators reach, on a listener of its own.
pub fn management(state: Data<HttpState>) -> impl FnOnce(&mut ServiceConfig) {
    move |config| {
        health_routes(config, "");
        // Only where the command line gave the server such a clock, which 'serve' never does.
        if state.app.clock().is_shifted() {
            config.service(
                web::resource("/clock")
                    .route(web::get().to(clock::tell))
                    .route(web::post().to(clock::set))
                    .default_service(web::to(fallback::only_get)),
            );
        }
        config
            .service(get("/metrics".into(), web::to(health::metrics)))
            .app_data(state)
            .default_service(web::to(fallback::not_found));
    }
}

fn health_routes(config: &mut ServiceConfig, prefix: &str) {
    config
        .service(get(format!("{prefix}/health/live"), web::to(health::live)))
        .service(get(format!("{prefix}/health/ready"), web::to(health::ready)));
}

fn get(path: String, route: Route) -> Resource {
    web::resource(path)
        .route(route.guard(guard::Any(guard::Get()).or(guard::Head())))
        .default_service(web::to(fallback::only_get))
}
