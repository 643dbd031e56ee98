//! Runs trials: one name per test and database, a runtime each, panics as messages, absence as a count.
//!
//! A test module ends its imports with its list of tests; what is written but not listed is dead code, and
//! so an error of the lints:
//!
//! ```ignore
//! trials! {
//!     both: [a_refresh_token_used_twice_ends_its_family],  // async fn(TestDatabase), on SQLite and on Postgres
//!     empty: [every_old_schema_reaches_head],              // the same, before any migration
//!     sqlite: [..], postgres: [..],                        // async fn(TestDatabase), on one of them
//!     alone: [..],                                         // async fn(), no database
//!     plain: [..],                                         // fn()
//! }
//! ```
//!
//! Each async test has a thread, an actix system and a `LocalSet` of its own; actix servers can be started in it.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, resume_unwind};
use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Failed, Trial};

use super::database::TestDatabase;
use super::postgres;

/// Lists a module's tests by what they need; see the top of this file.
macro_rules! trials {
    ($($needs:ident: [$($test:ident),* $(,)?]),* $(,)?) => {
        pub(crate) fn trials() -> Vec<libtest_mimic::Trial> {
            let mut trials = Vec::new();
            $($(trials.extend($crate::support::runner::$needs(module_path!(), stringify!($test), $test));)*)*
            trials
        }
    };
}
pub(crate) use trials;

/// Runs what the command line selects, and takes the throwaway Postgres down again.
pub(crate) fn run<const N: usize>(modules: [Vec<Trial>; N]) -> ExitCode {
    let arguments = Arguments::from_args();
    keep_panics_with_their_trial();
    let trials = modules.into_iter().flatten().collect();

    let conclusion = libtest_mimic::run(&arguments, trials);

    postgres::stop();
    conclusion.exit_code()
}

/// Ends the running test because something it needs is not on this machine: ignored, or failed where
/// `CI=true`. To be called from the test itself, not from a task that it spawned.
pub(crate) fn missing(what: String) -> ! {
    resume_unwind(Box::new(Missing { what, where_ci_has_it: true }))
}

/// The same for a tool that not every CI machine has or may use: ignored everywhere.
pub(crate) fn not_here(what: String) -> ! {
    resume_unwind(Box::new(Missing { what, where_ci_has_it: false }))
}

struct Missing {
    what: String,
    where_ci_has_it: bool,
}

/// Async tests that run on SQLite and on Postgres.
pub(crate) fn both<F, T>(module: &str, name: &str, test: F) -> Vec<Trial>
where
    F: Fn(TestDatabase) -> T + Copy + Send + 'static,
    T: Future<Output = ()>,
{
    [sqlite(module, name, test), postgres(module, name, test)].into_iter().flatten().collect()
}

/// Async tests that run on both databases before any migration.
pub(crate) fn empty<F, T>(module: &str, name: &str, test: F) -> Vec<Trial>
where
    F: Fn(TestDatabase) -> T + Copy + Send + 'static,
    T: Future<Output = ()>,
{
    let of = |database: &str, make: fn() -> TestDatabase| {
        trial(&format!("{database}::"), module, name, move || block_on(|| test(make())))
    };
    vec![of("sqlite", TestDatabase::empty_sqlite), of("postgres", TestDatabase::empty_postgres)]
}

/// Async tests that make sense on SQLite only.
pub(crate) fn sqlite<F, T>(module: &str, name: &str, test: F) -> Vec<Trial>
where
    F: Fn(TestDatabase) -> T + Copy + Send + 'static,
    T: Future<Output = ()>,
{
    vec![trial("sqlite::", module, name, move || block_on(|| test(TestDatabase::sqlite())))]
}

/// Async tests that make sense on Postgres only.
pub(crate) fn postgres<F, T>(module: &str, name: &str, test: F) -> Vec<Trial>
where
    F: Fn(TestDatabase) -> T + Copy + Send + 'static,
    T: Future<Output = ()>,
{
    vec![trial("postgres::", module, name, move || block_on(|| test(TestDatabase::postgres())))]
}

/// Async tests without a database.
pub(crate) fn alone<F, T>(module: &str, name: &str, test: F) -> Vec<Trial>
where
    F: Fn() -> T + Copy + Send + 'static,
    T: Future<Output = ()>,
{
    vec![trial("", module, name, move || block_on(test))]
}

/// Ordinary functions.
pub(crate) fn plain(module: &str, name: &str, test: fn()) -> Vec<Trial> {
    vec![trial("", module, name, test)]
}

fn trial(prefix: &str, module: &str, name: &str, test: impl FnOnce() + Send + 'static) -> Trial {
    let module = module.split_once("::").map_or("", |(_crate, module)| module);
    Trial::ignorable_test(format!("{prefix}{module}::{name}"), move || outcome_of(test, Absence::here()))
}

fn block_on<T: Future<Output = ()>>(test: impl FnOnce() -> T) {
    // The future is made inside the system, so that what it takes along is also dropped inside.
    actix_web::rt::System::new().block_on(async { test().await });
}

/// What the absence of something that a test needs means.
#[derive(Clone, Copy)]
pub(crate) enum Absence {
    IsCounted,
    IsFailure,
}

impl Absence {
    fn here() -> Self {
        let in_ci = std::env::var("CI").is_ok_and(|value| value == "true" || value == "1");
        if in_ci { Self::IsFailure } else { Self::IsCounted }
    }
}

/// Runs a test to its end on this thread.
pub(crate) fn outcome_of(test: impl FnOnce(), absence: Absence) -> Result<Completion, Failed> {
    PANICS.set(Some(Vec::new()));
    let ended = catch_unwind(AssertUnwindSafe(test));
    let mut panics = PANICS.take().unwrap_or_default();

    let Err(payload) = ended else { return Ok(Completion::Completed) };
    match (payload.downcast::<Missing>(), absence) {
        (Ok(missing), Absence::IsFailure) if missing.where_ci_has_it => {
            Err(Failed::from(format!("{}; with CI=true that is a failure", missing.what)))
        }
        (Ok(missing), _) => Ok(Completion::ignored_with(missing.what)),
        (Err(payload), _) => {
            // A panic that was carried over from another thread never met this thread's hook.
            if panics.is_empty() {
                panics.push(message(payload.as_ref()).to_owned());
            }
            Err(Failed::from(panics.join("\n")))
        }
    }
}

thread_local! {
    /// The panics of the trial that runs on this thread; `None` on threads that run no trial.
    static PANICS: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// As libtest does: the output of a test that passes, though a task of it panicked, stays quiet, and that
/// of a test that fails stands under its name, with the place.
fn keep_panics_with_their_trial() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // A thread that is ending has none any more, and a panic in here would be the end of all tests.
        let kept = PANICS.try_with(|panics| match panics.try_borrow_mut().as_deref_mut() {
            Ok(Some(panics)) => {
                panics.push(described(panic));
                panics.len()
            }
            Ok(None) | Err(_) => 0,
        });
        // A second one may be one that cannot unwind: then this is the last that is heard of the process.
        if kept.unwrap_or(0) != 1 {
            print(panic);
        }
    }));
}

fn described(panic: &PanicHookInfo<'_>) -> String {
    let place = panic.location().map_or_else(String::new, |place| format!("panicked at {place}:\n"));
    format!("{place}{}", message(panic.payload()))
}

fn message(payload: &dyn Any) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("a value that is no text")
}
