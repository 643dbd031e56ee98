//! What each pure part of a token request takes: `cargo bench --bench pure`, about a minute.
//!
//! criterion's statistics, one part at a time, nothing of sockets or disks. `-- NAME` measures those with NAME in their
//! names; criterion compares with the run before and says what became slower. Times are those of this machine at this
//! moment: `instructions` counts what does not change with it.

mod parts;

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion};
use grantd::model::key::SigningAlgorithm;
use grantd::protocol::params::Params;
use parts::{FORM, Refresh, SCOPE, Scopes, Token};

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    request(&mut criterion);
    scopes(&mut criterion);
    refresh(&mut criterion);
    tokens(&mut criterion);
    keys(&mut criterion);
    criterion.final_summary();
}

fn request(criterion: &mut Criterion) {
    criterion.bench_function("request/form", |bencher| {
        bencher.iter(|| Params::parse(black_box(FORM)).expect("a form"));
    });
    let params = parts::form();
    criterion.bench_function("request/basic header", |bencher| {
        bencher.iter(|| parts::basic(black_box(&params)));
    });
    criterion.bench_function("request/grant and its parameters", |bencher| {
        bencher.iter(|| parts::token_request(black_box(&params)));
    });
}

fn scopes(criterion: &mut Criterion) {
    let scopes = Scopes::new();
    criterion.bench_function("scope rules", |bencher| {
        bencher.iter(|| scopes.grant(black_box(SCOPE)));
    });
}

fn refresh(criterion: &mut Criterion) {
    let refresh = Refresh::new();
    criterion.bench_function("refresh token/derive", |bencher| {
        bencher.iter(|| refresh.derive(black_box(7)));
    });
    let token = refresh.derive(7);
    criterion.bench_function("refresh token/verify", |bencher| {
        bencher.iter(|| assert!(refresh.verify(black_box(token.expose()))));
    });
}

fn tokens(criterion: &mut Criterion) {
    for algorithm in SigningAlgorithm::ALL {
        let token = Token::new(algorithm);
        criterion.bench_function(&format!("token/{algorithm}"), |bencher| {
            bencher.iter(|| black_box(&token).sign());
        });
    }
    let token = Token::new(SigningAlgorithm::Es256);
    criterion.bench_function("token/claims", |bencher| {
        bencher.iter(|| black_box(&token).claims());
    });
}

fn keys(criterion: &mut Criterion) {
    let keys = parts::published_keys();
    criterion.bench_function("jwks/render", |bencher| {
        bencher.iter_batched(|| keys.clone(), parts::render_jwks, BatchSize::SmallInput);
    });
}
