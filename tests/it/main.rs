//! The one integration binary: every test against the real server, the real binary and real databases.
//!
//! It has no libtest harness, so that a test whose database or Python is not on this machine is reported
//! as ignored, by count, and as failed where `CI=true`. How to write a test: `support/runner.rs`.

mod advertised;
mod api_keys;
mod api_keys_end;
mod apply;
mod apply_races;
mod audit;
mod audit_commands;
mod beside_token;
mod clients;
mod clock_jumps;
mod crashes;
mod cross_origin;
mod dev;
mod docs_page;
mod documents;
mod dpop;
mod draining;
mod ended_workers;
mod fastapi;
mod first_start;
mod first_start_refusals;
mod forward_auth;
mod fsyncs;
mod fuzz_corpora;
mod history;
mod hostile_bodies;
mod hostile_heads;
mod hostile_logs;
mod incidents;
mod instances;
mod introspection;
mod introspection_signed;
mod known_families;
mod login_storm;
mod many_connections;
mod openapi;
mod outage;
mod outage_writes;
mod oxide_edges;
mod pages;
mod postgres_crashes;
mod private_key_jwt;
mod program;
mod pyjwt;
mod races;
mod refresh;
mod refresh_bounds;
mod refresh_model;
mod requests;
mod reseal;
mod revocations;
mod revoke;
mod rolling_restart;
mod rules;
mod signing_keys;
mod signing_keys_elsewhere;
mod skewed_clocks;
mod slow_handshakes;
mod slow_peers;
mod snippets;
mod status_lists;
mod storage;
mod storage_api_keys;
mod storage_audit;
mod storage_families;
mod storage_keys;
mod storage_logins;
mod storage_revocations;
mod storage_rotations;
mod storage_used_ids;
mod storage_user_import;
mod support;
mod support_works;
mod throttle;
mod throttle_attacks;
mod throttle_timing;
mod tidy;
mod tls;
mod token_endpoint;
mod token_exchange;
mod token_exchange_life;
mod user_address;
mod user_import;
mod user_import_files;
mod userinfo;
mod validators;
mod validators_issuer;
mod verifiers;
mod verify;

fn main() -> std::process::ExitCode {
    // Before any test touches jsonwebtoken, which settles on a provider at its first use.
    grantd::keys::install().expect("nobody was here before");
    support::runner::run([
        advertised::trials(),
        apply::trials(),
        apply_races::trials(),
        api_keys::trials(),
        api_keys_end::trials(),
        audit::trials(),
        audit_commands::trials(),
        beside_token::trials(),
        clients::trials(),
        clock_jumps::trials(),
        crashes::trials(),
        cross_origin::trials(),
        dev::trials(),
        docs_page::trials(),
        documents::trials(),
        dpop::trials(),
        draining::trials(),
        fastapi::trials(),
        ended_workers::trials(),
        first_start::trials(),
        first_start_refusals::trials(),
        fsyncs::trials(),
        forward_auth::trials(),
        fuzz_corpora::trials(),
        history::trials(),
        hostile_bodies::trials(),
        hostile_heads::trials(),
        hostile_logs::trials(),
        incidents::trials(),
        instances::trials(),
        introspection::trials(),
        introspection_signed::trials(),
        known_families::trials(),
        login_storm::trials(),
        many_connections::trials(),
        openapi::trials(),
        outage::trials(),
        outage_writes::trials(),
        oxide_edges::trials(),
        pages::trials(),
        postgres_crashes::trials(),
        private_key_jwt::trials(),
        program::trials(),
        pyjwt::trials(),
        races::trials(),
        refresh::trials(),
        refresh_bounds::trials(),
        refresh_model::trials(),
        requests::trials(),
        reseal::trials(),
        revocations::trials(),
        revoke::trials(),
        rolling_restart::trials(),
        rules::trials(),
        signing_keys::trials(),
        signing_keys_elsewhere::trials(),
        skewed_clocks::trials(),
        slow_handshakes::trials(),
        slow_peers::trials(),
        snippets::trials(),
        status_lists::trials(),
        storage::trials(),
        storage_api_keys::trials(),
        storage_audit::trials(),
        storage_families::trials(),
        storage_keys::trials(),
        storage_logins::trials(),
        storage_revocations::trials(),
        storage_rotations::trials(),
        storage_used_ids::trials(),
        storage_user_import::trials(),
        support_works::trials(),
        throttle::trials(),
        throttle_attacks::trials(),
        throttle_timing::trials(),
        tidy::proof(),
        tidy::trials(),
        tls::trials(),
        token_endpoint::trials(),
        token_exchange::trials(),
        token_exchange_life::trials(),
        user_address::trials(),
        user_import::trials(),
        user_import_files::trials(),
        userinfo::trials(),
        validators::trials(),
        validators_issuer::trials(),
        verifiers::trials(),
        verify::trials(),
    ])
}
