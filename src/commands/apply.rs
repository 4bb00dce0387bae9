//! `vm2docker-self apply CONTEXT`: what the generated Dockerfile runs inside the build.

use super::{open, threads};
use crate::cli::{BuildStage, Common};
use crate::context::reader::Context;
use crate::error::{Code, Result};
use crate::system::console;
use crate::{apply, report};
use std::path::Path;

pub(super) fn run(context: &Path, root: &Path, stage: BuildStage, common: &Common) -> Result<Code> {
    let root = open(root)?;
    apply::refuse_running_system(&root, context)?;
    match stage {
        BuildStage::MergedUsr => {
            let moved = apply::merge(context, &root, threads(common))?;
            console::tell(&format!("merged /usr: {moved} objects moved\n"));
        }
        BuildStage::Packages => {
            let prepared = apply::prepare(context, &root, threads(common))?;
            console::tell(&report::apply::prepared(&prepared));
        }
        BuildStage::System => {
            let applied = apply::apply(&Context::open(context)?, &root, threads(common))?;
            console::tell(&report::apply::applied(&applied));
        }
    }
    Ok(Code::Done)
}
