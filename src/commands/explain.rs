//! `vm2docker-self explain CONTEXT PATH`: what happened to a path, and why.

use crate::cli::Common;
use crate::context::reader::Context;
use crate::error::{Code, Error, Result};
use crate::model::document::Schema;
use crate::model::manifest::{self, Names, ProvidedBy, Record, Verdict};
use crate::model::{escape, tree};
use crate::system::console;
use serde::Serialize;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

pub(super) fn run(context: &Path, path: &Path, common: &Common) -> Result<Code> {
    let asked = path.as_os_str().as_bytes();
    let record = find(&Context::open(context)?, asked)?;
    if common.json {
        console::json(&Explained { line: manifest::line(&record, &Names::default()) });
    } else {
        console::answer(&describe(&record, asked));
    }
    Ok(Code::Done)
}

/// Finds the path's record, else that of the nearest directory above it which the manifest has.
fn find(context: &Context, path: &[u8]) -> Result<Record> {
    let records = context.manifest()?;
    let relative = path.strip_prefix(b"/").unwrap_or(path);
    let mut wanted = relative.strip_suffix(b"/").unwrap_or(relative);
    loop {
        let found = records.binary_search_by(|record| (*record.node.path).cmp(wanted)).ok();
        if let Some(index) = found {
            return Ok(records[index].clone());
        }
        if wanted.is_empty() {
            let what = format!("{} is not in the manifest", escape::display(relative));
            return Err(Error::new(Code::Usage, what).hint("give the path as it is on the machine"));
        }
        wanted = tree::parent(wanted);
    }
}

/// The answer in words. `asked` is the path as it was typed.
fn describe(record: &Record, asked: &[u8]) -> String {
    let node = &record.node;
    let path = escape::display(&node.path);
    let relative = asked.strip_prefix(b"/").unwrap_or(asked);
    let mut text = String::new();
    if relative.strip_suffix(b"/").unwrap_or(relative) != &*node.path {
        text += &format!(
            "{} was not on the machine, or is below a mount point; the nearest path above it is\n",
            escape::display(relative)
        );
    }
    let outcome = match (record.verdict, record.layer) {
        (Verdict::Keep, Some(ProvidedBy::Base)) => "in the image, from the base image",
        (Verdict::Keep, Some(ProvidedBy::Packages)) => "in the image, from the package layer",
        (Verdict::Keep, Some(ProvidedBy::Generated)) => {
            "in the image, made by package scripts; the delta has it too"
        }
        (Verdict::Keep, _) => "in the image, from the delta",
        (Verdict::Rewrite, _) => "in the image, rewritten",
        (Verdict::Drop, _) => "not in the image",
        (Verdict::Withhold, _) => "not in the image: withheld, see SECRETS.todo",
        (Verdict::Volume, _) => "not in the image: live data, a volume",
        (Verdict::Regenerate, _) => "not in the image: every machine has its own",
        (Verdict::Runtime, _) => "whatever the container runtime mounts there",
        (Verdict::Lost, _) => "not in the image, although it should be: see findings.jsonl",
    };
    text += &format!("{path}\n  {outcome}\n  because: {}\n", escape::escape(record.reason.as_bytes()));
    let stat = &node.stat;
    text += &format!("  {}, mode {:04o}, owner {}:{}\n", node.kind.name(), stat.mode, stat.uid, stat.gid);
    text
}

/// The path's line of the manifest.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct Explained {
    #[serde(flatten)]
    line: manifest::Line,
}

impl Schema for Explained {
    const NAME: &'static str = "vm2docker-self/explain";
    const VERSION: u32 = 1;
}
