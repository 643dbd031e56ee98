//! The one integration binary: every test against the real server, the real binary and real databases.
//!
//! It has no libtest harness, so that a test whose database or Python is not on this machine is reported
//! as ignored, by count, and as failed where `CI=true`. How to write a test: `support/runner.rs`.

mod support;

mod support_works;
mod tidy;

fn main() -> std::process::ExitCode {
    support::runner::run([support_works::trials(), tidy::trials(), tidy::proof()])
}
