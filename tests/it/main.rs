//! The one integration binary: every test against the real server, the real binary and real databases.
//!
//! It has no libtest harness, so that a test whose database or Python is not on this machine is reported
//! as ignored, by count, and as failed where `CI=true`. How to write a test: `support/runner.rs`.

mod support;

mod cross_origin;
mod documents;
mod hostile_bodies;
mod oxide_edges;
mod pages;
mod program;
mod pyjwt;
mod races;
mod refresh;
mod refresh_bounds;
mod refresh_model;
mod requests;
mod rules;
mod support_works;
mod throttle;
mod tidy;
mod tls;
mod token_endpoint;

fn main() -> std::process::ExitCode {
    // Before any test touches jsonwebtoken, which settles on a provider at its first use.
    grantd::keys::install().expect("nobody was here before");
    support::runner::run([
        cross_origin::trials(),
        documents::trials(),
        hostile_bodies::trials(),
        oxide_edges::trials(),
        pages::trials(),
        races::trials(),
        refresh::trials(),
        refresh_bounds::trials(),
        refresh_model::trials(),
        requests::trials(),
        rules::trials(),
        throttle::trials(),
        program::trials(),
        tls::trials(),
        pyjwt::trials(),
        support_works::trials(),
        tidy::trials(),
        tidy::proof(),
        token_endpoint::trials(),
    ])
}
