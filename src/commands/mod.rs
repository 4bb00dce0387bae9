//! The commands of the command line, a module each: from the arguments to an exit code.

mod apply;
mod clean;
mod convert;
mod explain;
mod generate;
mod inspect;
pub mod remove_self;
mod upload;
mod verify;

use crate::cli::{Cli, Command, Common};
use crate::context::output::CleanupHandle;
use crate::error::{Code, Error, Result};
use crate::system::console;
use crate::system::root::Root;
use crate::transfer::upload::child;
use crate::transfer::upload::token::Token;
use std::path::Path;

/// Carries out the command line. `scratch` names what has to be removed if a signal ends the run.
pub fn run(cli: Cli, scratch: &CleanupHandle) -> Code {
    let result = match cli.command {
        None => convert::run(&cli.convert, scratch),
        Some(Command::Inspect { root, common }) => inspect::run(&root, &common),
        Some(Command::Verify { context, subject, common }) => verify::run(&context, subject, &common),
        Some(Command::Apply { context, root, stage, common }) => apply::run(&context, &root, stage, &common),
        Some(Command::Upload { context, url, delivery, ca_file, common }) => {
            Token::find(delivery.token_file.as_deref())
                .map(|token| upload::server(url, token, ca_file, &common))
                .and_then(|server| upload::upload(context, delivery, server, &common))
        }
        Some(Command::Deliver { context, delivery, ca_file, common }) => child::read_request()
            .map(|(token, url)| upload::server(url, token, ca_file, &common))
            .and_then(|server| upload::deliver(context, delivery, server, &common)),
        Some(Command::Send { ca_file, common }) => child::read_request()
            .and_then(|(token, url)| upload::send(&upload::server(url, token, ca_file, &common), &common)),
        Some(Command::RemoveSelf) => remove_self::run_on_request(),
        Some(Command::Generate { what }) => generate::run(&what),
        Some(Command::Clean { out }) => clean::run(&out),
        Some(Command::Explain { context, path, common }) => explain::run(&context, &path, &common),
    };
    result.unwrap_or_else(|error| {
        console::tell(&format!("error: {error}"));
        error.code
    })
}

fn open(root: &Path) -> Result<Root> {
    Root::open(root).map_err(|cause| Error::io(format!("--root {}", root.display()), cause))
}

fn threads(common: &Common) -> usize {
    common.threads.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from)
}
