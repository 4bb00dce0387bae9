//! Parses the command line, runs it, turns the result into an exit code.

use clap::Parser;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::process::ExitCode;
use vm2docker_self::cli::Cli;
use vm2docker_self::out::{self, Scratch};
use vm2docker_self::run;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let scratch = Scratch::default();
    clean_up_on_signals(&scratch);
    run::run(cli, &scratch).into()
}

/// A run that is told to end removes what it has written and says so in its exit code.
fn clean_up_on_signals(scratch: &Scratch) {
    let scratch = Scratch::clone(scratch);
    // Without a handler a signal ends the run at once, which is what it asks for.
    let Ok(mut signals) = Signals::new([SIGHUP, SIGINT, SIGTERM]) else { return };
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            out::remove_scratch(&scratch);
            std::process::exit(128 + signal);
        }
    });
}
