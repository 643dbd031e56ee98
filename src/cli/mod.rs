//! The door for operators: argv in, use cases, text or JSON out. Knows no SQL, no hash, no rule.
//!
//! One file for each noun; data goes to stdout and talk to stderr through `output`, and nothing else prints.

mod apikey;
mod apply;
mod audit;
mod client;
mod config;
mod consent;
mod dev;
mod document;
mod failure;
mod incident;
mod key;
mod migrate;
mod or_nothing;
mod output;
mod role;
mod secret_input;
mod serve;
mod session;
mod settings;
mod shell;
mod snippet;
mod token;
mod user;
mod user_import;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::failure::Failure;

const HELP: &str = "{about-with-newline}{usage-heading} {usage}\n\n{subcommands}\n{options}";

/// A standalone OAuth 2.0 authorization server
#[derive(Debug, Parser)]
// Without headings, so that all of it fits one screen.
#[command(name = "grantd", version, disable_help_subcommand = true, help_template = HELP)]
struct Cli {
    /// Settings file (TOML); GRANTD_* variables win over it
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server; makes database and keys at the first start
    Serve,
    /// Try it out: a throwaway server with a demo client and user
    Dev(dev::DevCommand),
    /// Bring the database schema up to date, or say where it stands
    Migrate(migrate::MigrateCommand),
    /// Manage registered clients
    #[command(subcommand)]
    Client(client::ClientCommand),
    /// Manage people who log in with a password
    #[command(subcommand)]
    User(user::UserCommand),
    /// Manage roles: names for sets of scopes that only some users get
    #[command(subcommand)]
    Role(role::RoleCommand),
    /// Make clients, roles and users what a file says
    Apply(apply::ApplyCommand),
    /// Print clients, roles and users as a file for 'apply'
    Export,
    /// Manage API keys: secrets that programs send with every request
    #[command(subcommand)]
    Apikey(apikey::ApiKeyCommand),
    /// List and end logins (refresh-token families)
    #[command(subcommand)]
    Session(session::SessionCommand),
    /// Manage the keys that tokens are signed with
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Show what was done by whom, and check that nobody changed it
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Look into access tokens, and revoke single ones
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Print code that checks this server's tokens, for a framework
    Snippet(snippet::SnippetCommand),
    /// Check and show the settings
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Print a completion script for a shell
    Completions(shell::CompletionsCommand),
    /// Print the manual page of grantd or of one command
    Man(shell::ManCommand),
}

/// Runs the command of this command line and gives the exit status: 0 done, 1 it could not be done, 2 the command
/// line is wrong.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help that nobody reads to its end is help all the same.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    match actix_web::rt::System::new().block_on(dispatch(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

async fn dispatch(cli: Cli) -> Result<(), Failure> {
    let config = cli.config.as_deref();
    match cli.command {
        Command::Serve => serve::run(config).await,
        Command::Dev(command) => dev::run(config, command).await,
        Command::Migrate(command) => migrate::run(config, command).await,
        Command::Client(command) => client::run(config, command).await,
        Command::User(command) => user::run(config, command).await,
        Command::Role(command) => role::run(config, command).await,
        Command::Apply(command) => apply::run(config, command).await,
        Command::Export => apply::export(config).await,
        Command::Apikey(command) => apikey::run(config, command).await,
        Command::Session(command) => session::run(config, command).await,
        Command::Key(command) => key::run(config, command).await,
        Command::Audit(command) => audit::run(config, command).await,
        Command::Token(command) => token::run(config, command).await,
        Command::Snippet(command) => snippet::run(config, command).await,
        Command::Config(command) => config::run(config, command),
        Command::Completions(command) => shell::completions(command),
        Command::Man(command) => shell::man(command),
    }
}
