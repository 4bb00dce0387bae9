//! `vm2docker-self verify CONTEXT`: compares a file system with a context.

use super::threads;
use crate::apply::verify::{self, Subject};
use crate::cli::{Common, SubjectArgs};
use crate::context::reader::Context;
use crate::error::{Code, Result};
use crate::report;
use crate::system::console;
use std::path::Path;

pub(super) fn run(context: &Path, subject: SubjectArgs, common: &Common) -> Result<Code> {
    let subject = match (subject.root, subject.tar) {
        (Some(root), _) => Subject::Root(root),
        (None, tar) => Subject::Tar(tar.unwrap_or_else(|| "-".into())),
    };
    let verified = verify::verify(&Context::open(context)?, &subject, threads(common))?;
    if common.json {
        console::json(&verified);
    } else if !common.quiet {
        console::answer(&report::verify::verified(&verified));
    }
    Ok(if verified.equal { Code::Done } else { Code::NotEqual })
}
