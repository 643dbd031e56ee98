//! The command line as a whole: what it takes, what it refuses, and that it explains itself.

use clap::{Command as ClapCommand, CommandFactory as _};

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

/// The exit status of a command line that clap refuses; 0 if it takes it.
fn status(line: &str) -> i32 {
    parse(line).map_or_else(|error| error.exit_code(), |_| 0)
}

/// Every command with its full name, the inner ones too.
fn commands(of: &ClapCommand, path: &str) -> Vec<(String, ClapCommand)> {
    let mut all = Vec::new();
    for command in of.get_subcommands() {
        let name = format!("{path} {}", command.get_name());
        all.extend(commands(command, &name));
        all.push((name, command.clone()));
    }
    all
}

fn built() -> ClapCommand {
    let mut root = Cli::command();
    root.build();
    root
}

#[test]
fn the_description_of_the_command_line_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn help_fits_one_screen() {
    for flag in ["-h", "--help"] {
        let asked = Cli::command().term_width(80).try_get_matches_from(["grantd", flag]);
        let help = asked.expect_err("help is printed").to_string();

        assert!(help.lines().count() < 24, "{} lines:\n{help}", help.lines().count());
        assert!(help.lines().all(|line| line.chars().count() <= 80), "{help}");
    }
}

#[test]
fn every_command_and_every_flag_has_one_clear_line_of_help() {
    for (name, command) in commands(&built(), "grantd") {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        assert!(!about.is_empty() && !about.contains('\n'), "{name}: {about:?}");
        for argument in command.get_arguments() {
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            assert!(!help.is_empty() && !help.contains('\n'), "{name} {}: {help:?}", argument.get_id());
        }
    }
}

#[test]
fn the_commands_are_those_that_scripts_rely_on() {
    let names: Vec<String> = commands(&built(), "grantd")
        .into_iter()
        .filter(|(_, command)| !command.has_subcommands() || command.get_name() == "migrate")
        .map(|(name, _)| name.trim_start_matches("grantd ").to_owned())
        .collect();

    assert_eq!(
        names,
        [
            "serve",
            "dev",
            "migrate status",
            "migrate",
            "client create",
            "client list",
            "client show",
            "client update",
            "client rotate-secret",
            "client enable",
            "client disable",
            "client delete",
            "user create",
            "user import",
            "user list",
            "user show",
            "user update",
            "user set-password",
            "user enable",
            "user disable",
            "user delete",
            "role create",
            "role list",
            "role show",
            "role update",
            "role delete",
            "apply",
            "export",
            "apikey create",
            "apikey list",
            "apikey show",
            "apikey revoke",
            "session list",
            "session revoke",
            "key list",
            "key rotate",
            "key reseal",
            "key retire",
            "audit list",
            "audit verify",
            "audit export",
            "token inspect",
            "token revoke",
            "snippet",
            "config check",
            "config show",
            "completions",
            "man",
        ]
    );
}

#[test]
fn every_command_that_prints_data_prints_it_as_json_too() {
    for (name, command) in commands(&built(), "grantd") {
        let leaf = !command.has_subcommands() || command.get_name() == "migrate";
        // `audit export` prints lines of JSON and nothing else, `export` and `snippet` a file.
        let others = ["serve", "completions", "man", "export", "snippet"];
        let prints_data = leaf && !others.contains(&command.get_name());
        let json = command.get_arguments().any(|argument| argument.get_long() == Some("json"));

        assert_eq!(json, prints_data, "{name}");
    }
}

#[test]
fn everything_that_deletes_can_be_answered_in_advance() {
    for (name, command) in commands(&built(), "grantd") {
        let yes = command.get_arguments().any(|argument| argument.get_long() == Some("yes"));

        assert_eq!(yes, ["delete", "apply"].contains(&command.get_name()), "{name}");
    }
}

#[test]
fn no_flag_takes_a_secret_as_its_value() {
    for (name, command) in commands(&built(), "grantd") {
        for argument in command.get_arguments().filter(|argument| argument.get_action().takes_values()) {
            let id = argument.get_id().as_str();
            assert!(!id.contains("secret") && !id.contains("password"), "{name} --{id}");
        }
    }
}

#[test]
fn right_command_lines_are_taken() {
    for line in [
        "grantd serve --config a.toml",
        "grantd --config a.toml serve",
        "grantd dev --listen 127.0.0.1:0",
        "grantd dev --seed seed.toml --port 0 --json --clock-control --exit-with-parent",
        "grantd migrate --json",
        "grantd migrate status --json",
        "grantd client create --grant password",
        "grantd client create app --grant password --grant refresh_token --scope a --audience https://a.example \
         --audience https://b.example --auth-method none --access-ttl 10m --refresh-ttl 30d --alg RS256 --json",
        "grantd client create api --resource-server https://a.example --resource-server urn:b",
        "grantd client update app --name x",
        "grantd client update app --resource-server https://a.example",
        "grantd client create svc --grant token-exchange --may-act-for https://a.example --may-act-for urn:b",
        "grantd client rotate-secret app --keep-old 24h",
        "grantd client delete app --yes",
        "grantd user create alice --role a --role b --password-stdin",
        "grantd user set-password alice --password-hash-stdin",
        "grantd user list --hashes --json",
        "grantd user import users.csv",
        "grantd user import realm.json --format keycloak --map groups=roles --map a=- --create-roles --skip-refused \
         --without-password --dry-run --json",
        "grantd user import export.json --firebase-config parameters.txt",
        "grantd user import --from sqlite://app.db --table users --map is_superuser=role:admin",
        "grantd user import --from env:DATABASE_URL --table auth.users",
        "grantd role create editor --scope notes:write",
        "grantd apikey create --user alice --scope a --expires 90d --audience urn:a --audience urn:b --name x --json",
        "grantd apikey create --client app --scope=",
        "grantd apikey list --user alice",
        "grantd apikey show gak_AAAAAAAAAAAAAAAA --json",
        "grantd apikey revoke",
        "grantd apikey revoke --id gak_-AAAAAAAAAAAAAA_",
        "grantd apikey revoke --all",
        "grantd session list",
        "grantd session list --user alice",
        "grantd session revoke --all --json",
        "grantd session revoke --issued-before 24h",
        "grantd session list --issued-before 2026-05-01T00:00:00Z",
        "grantd token revoke --json",
        "grantd client create app --grant password --no-status",
        "grantd client update app --status",
        "grantd key rotate --now",
        "grantd key retire -NW0pjJgNQN-O28xkMbnTLjQdJ3BbHUZ_KrO_ZfnvVY --json",
        "grantd audit list --limit 7 --since 24h --act client --json",
        "grantd audit list --since 2026-05-01T00:00:00Z",
        "grantd audit verify --expect 1:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
        "grantd audit export",
        "grantd apply grantd.toml --prune --dry-run --yes --json",
        "grantd apply -",
        "grantd export",
        "grantd snippet fastapi",
        "grantd snippet nextjs --audience https://a.example --scope notes:read",
        "grantd man client create",
        "grantd --version",
        "grantd client create --help",
        "grantd key retire -h",
    ] {
        assert_eq!(status(line), 0, "{line}");
    }
}

#[test]
fn wrong_command_lines_are_refused_with_status_2() {
    for line in [
        "grantd",
        "grantd nonsense",
        "grantd client create app",
        "grantd client create app --grant implicit",
        "grantd client create app --resource-server nowhere",
        "grantd client create a/b --grant password",
        "grantd client create app --grant password --secret hunter2",
        "grantd client create app --grant password --auth-method client_secret_jwt",
        "grantd client create app --grant password --auth-method private_key_jwt --jwks /nowhere/keys.json",
        "grantd client create app --grant password --access-ttl 10",
        "grantd user create alice --password hunter2",
        "grantd user import",
        "grantd user import users.csv --format xml",
        "grantd user import users.csv --map a=shoe_size",
        "grantd user import users.csv --from sqlite://app.db --table users",
        "grantd user import --from sqlite://app.db",
        "grantd user import --from mysql://h/d --table users",
        "grantd user import --from postgres://u:canary@h/d --table users",
        "grantd user import --table users",
        "grantd user create alice --password-stdin --password-hash-stdin",
        "grantd role create editor",
        "grantd apikey create --scope a",
        "grantd apikey create --user alice",
        "grantd apikey create --user alice --client app --scope a",
        "grantd apikey list --user alice --client app",
        "grantd apikey revoke --id nonsense",
        "grantd apikey revoke --user alice --all",
        "grantd session revoke",
        "grantd session revoke --user alice --all",
        "grantd session list --user alice --client app",
        "grantd session revoke --id not-an-id",
        "grantd session revoke --issued-before yesterday",
        "grantd session revoke --issued-before 24h --all",
        "grantd client update app --status --no-status",
        "grantd key retire",
        "grantd audit list --limit 0",
        "grantd audit list --since yesterday",
        "grantd audit verify --expect 1",
        "grantd apply",
        "grantd dev --listen here",
        "grantd dev --listen 127.0.0.1:0 --port 0",
        "grantd serve --clock-control",
        "grantd snippet cobol",
        "grantd snippet",
        "grantd snippet go --audience nowhere",
        "grantd completions tcsh",
    ] {
        assert_eq!(status(line), 2, "{line}");
    }
}

#[test]
fn update_without_a_change_is_a_wrong_command_line() {
    for line in ["grantd client update app", "grantd user update alice", "grantd role update editor"] {
        let cli = parse(line).expect("clap takes it");

        let outcome = actix_web::rt::System::new().block_on(dispatch(cli));

        assert!(matches!(outcome, Err(Failure::WrongCommandLine(_))), "{line}: {outcome:?}");
    }
}
