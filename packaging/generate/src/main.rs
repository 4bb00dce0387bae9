//! Writes the man pages and shell completions of the command line: `generate DIR`.

use clap::CommandFactory;
use clap_complete::Shell;
use std::path::Path;
use std::{env, fs, io};
use vm2docker_self::cli::Cli;

fn main() -> io::Result<()> {
    let directory = env::args_os().nth(1).ok_or_else(|| io::Error::other("usage: generate DIR"))?;
    let directory = Path::new(&directory);
    fs::create_dir_all(directory)?;
    let mut command = Cli::command();
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut command, "vm2docker-self", directory)?;
    }
    // Without the pages of `help` and `help COMMAND`, which say nothing.
    clap_mangen::generate_to(Cli::command().disable_help_subcommand(true), directory)
}
