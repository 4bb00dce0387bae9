//! `vm2docker-self apply CONTEXT`: what the generated Dockerfile runs inside the build.

use super::{open, threads};
use crate::cli::{ApplyLayer, Common};
use crate::context::reader::Context;
use crate::error::{Code, Result};
use crate::system::console;
use crate::{apply, report};
use std::path::Path;

pub(super) fn run(context: &Path, root: &Path, layer: ApplyLayer, common: &Common) -> Result<Code> {
    let root = open(root)?;
    match layer {
        ApplyLayer::MergedUsr => {
            let moved = apply::merge(context, &root, threads(common))?;
            console::tell(&format!("merged /usr: {moved} objects moved\n"));
        }
        ApplyLayer::Packages => {
            let prepared = apply::prepare(context, &root, threads(common))?;
            console::tell(&report::apply::prepared(&prepared));
        }
        ApplyLayer::System => {
            let applied = apply::apply(&Context::open(context)?, &root, threads(common))?;
            console::tell(&report::apply::applied(&applied));
        }
    }
    Ok(Code::Done)
}
