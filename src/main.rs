//! The binary: forbids core dumps, then hands the command line to `grantd::cli` and its outcome to the shell. Knows nothing else.

use std::process::ExitCode;

/// Many small allocations by many threads are what a request is made of.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    grantd::startup::forbid_core_dumps();
    grantd::cli::run(std::env::args_os())
}
