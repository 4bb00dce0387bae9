//! `vm2docker-self explain CONTEXT PATH`: what happened to a path, and why.

use crate::cli::Common;
use crate::context::reader::Context;
use crate::error::{Code, Error, Result};
use crate::model::document::Schema;
use crate::model::manifest::{self, Names, ProvidedBy, Record, Verdict};
use crate::model::tree::{self, Kind};
use crate::model::{escape, findings};
use crate::policy::line;
use crate::system::console;
use serde::{Deserialize, Serialize};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

pub(super) fn run(context: &Path, path: &Path, common: &Common) -> Result<Code> {
    let asked = path.as_os_str().as_bytes();
    let context = Context::open(context)?;
    let record = find(&context, asked)?;
    let likely = likely_secret(&context, &record)?;
    let path = &record.node.path;
    let policy_line = match (record.verdict, &likely) {
        (Verdict::Withhold, _) if record.node.kind != Kind::Directory => Some(line::keep(path)),
        (_, Some(_)) => Some(line::withhold(path)),
        _ => None,
    };
    if common.json {
        console::json(&Explained { line: manifest::line(&record, &Names::default()), policy_line });
        return Ok(Code::Done);
    }
    let mut text = describe(&record, asked);
    if let Some(what) = likely {
        // A context can be forged.
        text += &format!("  {}\n", escape::escape(what.as_bytes()));
    }
    if let Some(line) = policy_line {
        text += &format!("  to change this, add to --policy: {line}\n");
    }
    console::answer(&text);
    Ok(Code::Done)
}

/// Returns what a file in the image may contain, if it may be secret.
fn likely_secret(context: &Context, record: &Record) -> Result<Option<String>> {
    let shown = escape::display(&record.node.path);
    let is_likely = |finding: &FindingLine| {
        finding.path.as_deref() == Some(&*shown) && finding.kind == findings::Kind::Suspicious.name()
    };
    let finding = finding_lines(context)?.into_iter().find(is_likely);
    Ok(finding.map(|finding| finding.text.split(';').next().unwrap_or_default().to_owned()))
}

/// Finds the path's record, else that of the directory above it that hides its contents.
///
/// Fails with exit code 2 if the path was not on the machine.
fn find(context: &Context, path: &[u8]) -> Result<Record> {
    let records = context.manifest()?;
    let wanted = plain(path);
    let mut nearest = wanted;
    let mut found = find_record(&records, nearest);
    while found.is_none() && !nearest.is_empty() {
        nearest = tree::parent(nearest);
        found = find_record(&records, nearest);
    }
    if let Some(record) = found
        && (nearest == wanted || hides_contents(context, &records, record)?)
    {
        return Ok(record.clone());
    }
    let what = format!("cannot explain {}: it was not on the machine", escape::display(wanted));
    let hint = format!(
        "use a path as it is on the machine; the nearest in the manifest is {}",
        escape::display(nearest)
    );
    Err(Error::new(Code::Usage, what).hint(hint))
}

fn find_record<'a>(records: &'a [Record], path: &[u8]) -> Option<&'a Record> {
    let index = records.binary_search_by(|record| (*record.node.path).cmp(path)).ok()?;
    Some(&records[index])
}

/// Removes the slashes at both ends, as paths in the manifest have none.
fn plain(path: &[u8]) -> &[u8] {
    let relative = path.strip_prefix(b"/").unwrap_or(path);
    relative.strip_suffix(b"/").unwrap_or(relative)
}

/// Whether the record is a directory whose contents have no records: the whole directory is not in
/// the image, or another file system was mounted on it.
fn hides_contents(context: &Context, records: &[Record], record: &Record) -> Result<bool> {
    let path = &record.node.path;
    let below = if path.is_empty() { Vec::new() } else { tree::join(path, b"") };
    let next = records.partition_point(|other| *other.node.path <= *below);
    let has_contents = records.get(next).is_some_and(|other| tree::is_within(&other.node.path, path));
    if record.node.kind != Kind::Directory || has_contents {
        return Ok(false);
    }
    if !record.verdict.in_image() {
        return Ok(true);
    }
    let shown = escape::display(path);
    let mounts = [findings::Kind::Mount, findings::Kind::Mounted].map(findings::Kind::name);
    let is_mount =
        |finding: &FindingLine| finding.path.as_deref() == Some(&*shown) && mounts.contains(&&*finding.kind);
    Ok(finding_lines(context)?.iter().any(is_mount))
}

/// Returns the lines of `findings.jsonl` that can be read.
fn finding_lines(context: &Context) -> Result<Vec<FindingLine>> {
    let text = context.findings()?;
    let lines = text.split(|&byte| byte == b'\n');
    Ok(lines.filter_map(|line| serde_json::from_slice(line).ok()).collect())
}

/// The fields of a line of `findings.jsonl` that explain a path.
#[derive(Deserialize)]
struct FindingLine {
    path: Option<String>,
    kind: String,
    text: String,
}

/// The answer in words. `asked` is the path as it was typed.
fn describe(record: &Record, asked: &[u8]) -> String {
    let node = &record.node;
    let path = escape::display(&node.path);
    let mut text = String::new();
    if plain(asked) != &*node.path {
        text += &format!(
            "{} has no record; the contents of this directory were not recorded:\n",
            escape::display(plain(asked))
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
        (Verdict::Built, _) => "in the image, written by the build with the same packages",
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
    /// Line of `--policy` that decides otherwise, if the path is or may be secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    policy_line: Option<String>,
}

impl Schema for Explained {
    const NAME: &'static str = "vm2docker-self/explain";
    const VERSION: u32 = 1;
}
