//! Parses the command line, runs it, turns the result into an exit code.

use nix::sys::signal::{SigSet, Signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGXCPU};
use signal_hook::iterator::Signals;
use std::process::ExitCode;
use vm2docker_self::cli::{Cli, SHORT_HELP};
use vm2docker_self::commands;
use vm2docker_self::context::output::{self, CleanupHandle};
use vm2docker_self::error::Code;
use vm2docker_self::system::console;

/// The signals that end a run.
const ENDING: [i32; 5] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGXCPU];

fn main() -> ExitCode {
    let Some(cli) = Cli::from_command_line() else {
        console::answer(SHORT_HELP);
        return Code::Done.into();
    };
    let scratch = CleanupHandle::default();
    clean_up_on_signals(&scratch);
    clean_up_on_panic(&scratch);
    commands::run(cli, &scratch).into()
}

/// A run that is told to end removes what it has written and says so in its exit code.
fn clean_up_on_signals(scratch: &CleanupHandle) {
    let scratch = CleanupHandle::clone(scratch);
    // Without a handler a signal ends the run at once, which is what it asks for.
    let Ok(mut signals) = Signals::new(ENDING) else { return };
    let others: SigSet = ENDING.iter().filter_map(|signal| Signal::try_from(*signal).ok()).collect();
    let wait = move || {
        let _ = others.thread_unblock();
        if let Some(signal) = signals.forever().next() {
            output::remove_scratch(&scratch);
            std::process::exit(128 + signal);
        }
    };
    // This thread, and all that it begins, may hang in a read that no signal wakes: then they go to the one that waits.
    if std::thread::Builder::new().name("signals".to_owned()).spawn(wait).is_ok() {
        let _ = others.thread_block();
    }
}

/// A defect of ours ends the run as any failure does: with nothing left, a line that says where, and never what was read.
fn clean_up_on_panic(scratch: &CleanupHandle) {
    let scratch = CleanupHandle::clone(scratch);
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        console::tell(&format!(
            "error: a defect of this program, at {place}\nhint: report it with this line\n"
        ));
        output::remove_scratch(&scratch);
        std::process::exit(Code::Failed as i32);
    }));
}
