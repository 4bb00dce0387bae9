//! Writes the man pages and shell completions of the command line: `generate DIR`.

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use std::path::Path;
use std::{env, fs, io};
use vm2docker_self::cli::{Cli, VERSION};

fn main() -> io::Result<()> {
    let directory = env::args_os().nth(1).ok_or_else(|| io::Error::other("usage: generate DIR"))?;
    let directory = Path::new(&directory);
    fs::create_dir_all(directory)?;
    let mut command = shown(&Cli::command());
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut command, "vm2docker-self", directory)?;
    }
    // Without the pages of `help` and `help COMMAND`, which say nothing.
    clap_mangen::generate_to(Cli::command().disable_help_subcommand(true), directory)
}

/// The command line without that by which the program calls itself: completions would offer it.
fn shown(whole: &Command) -> Command {
    let arguments = whole.get_arguments().filter(|argument| !argument.is_hide_set()).cloned();
    let subcommands = whole.get_subcommands().filter(|command| !command.is_hide_set());
    // clap wants names that live as long as the program.
    Command::new(&*whole.get_name().to_owned().leak())
        .version(whole.get_version().map(|_| VERSION))
        .about(whole.get_about().cloned().unwrap_or_default())
        .args(arguments)
        .subcommands(subcommands.map(shown))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_needs_nothing_of_what_is_not() {
        shown(&Cli::command()).debug_assert();
    }
}
