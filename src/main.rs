//! Parses the command line, runs it, turns the result into an exit code.

use nix::sys::signal::{SigSet, Signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGXCPU};
use signal_hook::iterator::Signals;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::process::ExitCode;
use vm2docker_self::cli::{Cli, SHORT_HELP};
use vm2docker_self::commands;
use vm2docker_self::context::output::{self, CleanupHandle};
use vm2docker_self::error::Code;
use vm2docker_self::system::console;

/// Signals that end a run.
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

/// Removes the partial output when a signal ends the run. The exit code is 128 plus the signal.
fn clean_up_on_signals(scratch: &CleanupHandle) {
    let scratch = CleanupHandle::clone(scratch);
    // Without the handler a signal ends the run at once and `clean` removes the partial output.
    let Ok(mut signals) = Signals::new(ENDING) else { return };
    let others: SigSet = ENDING.iter().filter_map(|signal| Signal::try_from(*signal).ok()).collect();
    let wait = move || {
        let _ = others.thread_unblock();
        if let Some(signal) = signals.forever().next() {
            output::remove_scratch(&scratch);
            std::process::exit(128 + signal);
        }
    };
    // This thread and its children may block in a read that no signal interrupts. Only the
    // waiting thread receives the signals.
    if std::thread::Builder::new().name("signals".to_owned()).spawn(wait).is_ok() {
        let _ = others.thread_block();
    }
}

/// Removes the partial output after a panic. The message has the source location and, with
/// `RUST_BACKTRACE=1`, the backtrace, but never the panic's text: it could contain file contents.
fn clean_up_on_panic(scratch: &CleanupHandle) {
    let scratch = CleanupHandle::clone(scratch);
    std::panic::set_hook(Box::new(move |panic| {
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        console::tell(&format!("error: internal error at {location}\nhint: report it with this line\n"));
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            console::tell(&backtrace.to_string());
        }
        output::remove_scratch(&scratch);
        std::process::exit(Code::Failed as i32);
    }));
}
