//! `grantd completions` and `grantd man`: made from the command line's own description, so that they cannot lie.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;

use super::failure::Failure;
use super::{Cli, output};

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  grantd completions bash > /etc/bash_completion.d/grantd")]
pub(super) struct CompletionsCommand {
    /// Which shell
    shell: Shell,
}

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  grantd man client create | man -l -")]
pub(super) struct ManCommand {
    /// A command, such as 'client create' [default: grantd itself]
    #[arg(value_name = "COMMAND")]
    path: Vec<String>,
}

pub(super) fn completions(command: CompletionsCommand) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(command.shell, &mut Cli::command(), "grantd", &mut script);
    output::write(&String::from_utf8_lossy(&script))
}

pub(super) fn man(command: ManCommand) -> Result<(), Failure> {
    output::write(&page(&command.path)?)
}

fn page(path: &[String]) -> Result<String, Failure> {
    let mut root = Cli::command();
    root.build();
    let mut command = &root;
    for name in path {
        command = command.find_subcommand(name).ok_or_else(|| {
            let wanted = path.join(" ");
            Failure::WrongCommandLine(format!("there is no command 'grantd {wanted}': see 'grantd --help'"))
        })?;
    }
    let name = command.get_display_name().unwrap_or("grantd").to_owned();
    let mut page = Vec::new();
    let source = concat!("grantd ", env!("CARGO_PKG_VERSION"));
    Man::new(command.clone()).title(name).source(source).manual("grantd").render(&mut page)?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn every_shell_gets_a_script_that_knows_the_commands() {
        for shell in Shell::value_variants() {
            let mut script = Vec::new();

            clap_complete::generate(*shell, &mut Cli::command(), "grantd", &mut script);

            assert!(String::from_utf8_lossy(&script).contains("rotate-secret"), "{shell}");
        }
    }

    #[test]
    fn there_is_a_manual_page_for_grantd_and_for_every_command() {
        let whole = page(&[]).expect("a page");
        assert!(whole.contains(".TH grantd 1") && whole.contains("\\-\\-config"), "{whole}");

        let one = page(&["client".into(), "create".into()]).expect("a page");
        assert!(one.contains(".TH grantd-client-create 1") && one.contains("\\-\\-grant"), "{one}");

        assert!(matches!(page(&["nonsense".into()]), Err(Failure::WrongCommandLine(_))));
    }
}
