//! The interface as a document and as a page to try it out: `/openapi.json`, `/docs`, and the files of that page. Must not
//! know what the document says.

use actix_web::http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderValue, VARY};
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;

use super::documents::{Document, has_already};
use super::fallback;
use super::pages::html;
use super::state::HttpState;
use super::swagger_ui::{Assets, takes_gzip};
use super::views::{DOCS_POLICY, DocsPage};

/// The page.
pub(super) const DOCS: &str = "/docs";
/// The document.
pub(super) const OPENAPI: &str = "/openapi.json";

/// `GET /openapi.json`.
pub(super) async fn openapi(request: HttpRequest, state: Data<HttpState>) -> HttpResponse {
    Document::openapi(&state).answer(&request)
}

/// `GET /docs`.
pub(super) async fn docs(state: Data<HttpState>) -> HttpResponse {
    let assets = Assets::all();
    let page = DocsPage {
        issuer: state.app.policy().issuer.clone(),
        version: env!("CARGO_PKG_VERSION"),
        bundle: &assets.bundle.name,
        style: &assets.style.name,
        setup: &assets.setup.name,
        own_style: &assets.own_style.name,
    };
    html(HttpResponse::Ok().body(page.render()), DOCS_POLICY)
}

/// `GET /docs/{file}`. What has another content has another name, so it may be kept for ever (RFC 8246).
pub(super) async fn asset(request: HttpRequest, file: Path<String>) -> HttpResponse {
    let Some(asset) = Assets::all().named(&file) else { return fallback::not_found(request).await };
    if asset.gzipped && !takes_gzip(request.headers()) {
        let description = "This file is there in the content coding gzip only.";
        let body = json!({"error": "not_acceptable", "error_description": description});
        return HttpResponse::NotAcceptable().insert_header((VARY, "Accept-Encoding")).json(body);
    }
    let mut response = match has_already(&request, &asset.etag) {
        true => HttpResponse::NotModified().finish(),
        false => {
            let mut response = HttpResponse::Ok().body(asset.body.clone());
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(asset.media_type));
            if asset.gzipped {
                response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
            response
        }
    };
    let headers = response.headers_mut();
    headers.insert(ETAG, asset.etag.clone());
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    if asset.gzipped {
        headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    response
}
