//! `vm2docker-self upload CONTEXT URL`, and the two child processes through which a conversion
//! uploads its context.

use crate::cli::{Common, DeliveryArgs};
use crate::error::{Code, Result};
use crate::system::sandbox::Sandbox;
use crate::system::{child, console};
use crate::transfer::upload::token::Token;
use crate::transfer::upload::{self, Form, Receipt, RetryPolicy, Server};
use std::path::PathBuf;

pub(super) fn upload(
    context: PathBuf,
    delivery: DeliveryArgs,
    server: Server,
    common: &Common,
) -> Result<Code> {
    // The sandbox also keeps access times of certificates and of the context unchanged.
    Sandbox::enter(false)?;
    send_context(context, delivery, server, common)
}

/// Uploads a finished context in the child process, after the conversion has reported success.
pub(super) fn deliver(
    context: PathBuf,
    delivery: DeliveryArgs,
    server: Server,
    common: &Common,
) -> Result<Code> {
    Sandbox::enter(false)?;
    if child::wait_for_start() { send_context(context, delivery, server, common) } else { Ok(Code::Failed) }
}

/// Uploads a context in the child process while the conversion writes it.
pub(super) fn send(server: &Server, common: &Common) -> Result<Code> {
    child::exit_with_parent();
    Sandbox::enter(false)?;
    let Some(receipt) = upload::stream::stream(server, std::io::stdin().lock())? else {
        return Ok(Code::Failed);
    };
    tell_receipt(&receipt, common);
    Ok(Code::Done)
}

fn send_context(context: PathBuf, delivery: DeliveryArgs, server: Server, common: &Common) -> Result<Code> {
    let form = delivery.upload_as.unwrap_or(Form::Tar);
    let options = upload::Options { context, form, server, token_file: delivery.token_file };
    tell_receipt(&upload::upload(&options)?, common);
    Ok(Code::Done)
}

fn tell_receipt(receipt: &Receipt, common: &Common) {
    if common.json {
        console::json(receipt);
    } else if !common.quiet {
        console::tell(&receipt.text());
    }
}

pub(super) fn server(url: String, token: Option<Token>, ca_file: Option<PathBuf>, common: &Common) -> Server {
    Server { url, token, ca_file, patience: RetryPolicy::default(), quiet: common.quiet }
}
