//! The plan and the machine's files as a context directory.
//!
//! - [`files`]: the machine's files into archives, proven to be what the walk saw.
//! - `proof`: what was written, read back.
//! - [`services`]: the containers.
//! - `text`: Dockerfile, README and lists.

pub mod files;
mod proof;
mod secrets;
pub mod services;
mod text;

use crate::context::compress::{Compression, Format};
use crate::context::output::{ContextFile, ContextWriter};
use crate::context::reader::{
    self, BINARY, DELETIONS, DELTA, FINDINGS, MANIFEST, MERGED_USR, PACKAGES, PLAN, SECRETS,
};
use crate::context::recipient::Recipient;
use crate::detect::Inventory;
use crate::detect::mappings::Watch;
use crate::error::{Error, Result};
use crate::model::document::Document;
use crate::model::findings::Findings;
use crate::model::manifest::{self, ProvidedBy, Record, Verdict};
use crate::pkg::manager::{BuildInput, DatabaseFormat};
use crate::pkg::plan::PackageVerdict;
use crate::pkg::{PlannedPackages, Repositories};
use crate::plan::{Decision, Plan, PlanInput};
use crate::preflight;
use crate::summary::Summary;
use crate::system::root::Root;
use crate::walk::WalkedEntry;
use files::{ArchiveBuilder, ArchiveOutcome, Changes};
use serde::Serialize;
use std::collections::HashSet;
use std::io::{self, Write};
use std::thread::{Scope, ScopedJoinHandle};

/// Sizes of the archives in the context.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Sizes {
    /// The delta in bytes.
    pub delta: u64,
    /// The package files in bytes; 0 if none travel.
    pub packages: u64,
}

/// Everything that goes into a context.
pub struct Emission<'a> {
    /// The machine.
    pub root: &'a Root,
    /// The inventory of the machine.
    pub inventory: &'a Inventory,
    /// The input of the plan.
    pub input: PlanInput<'a>,
    /// The repositories that the build installs from; `None` if it installs nothing.
    pub repositories: Option<&'a dyn Repositories>,
    /// The watch for processes that can change files without changing timestamps.
    pub watch: &'a Watch,
    /// The key to encrypt the withheld files to; without it, they are not in the context.
    pub recipient: Option<&'a Recipient>,
    /// The plan.
    pub plan: &'a Plan,
    /// The same in figures.
    pub summary: &'a Summary,
    /// How to compress the archives.
    pub compression: Compression,
    /// Threads for that; the bytes do not depend on it.
    pub threads: u32,
}

/// Writes the context into `sink` and publishes it under its name. Returns the sizes and adds to
/// the findings. A failed run leaves no files; the error has code 10 if there is not enough free
/// space.
pub fn emit(emission: &Emission<'_>, mut sink: ContextWriter, findings: &mut Findings) -> Result<Sizes> {
    // Large files are opened only if the blocks on the disk do not fit.
    if sink.check_room(least(emission, &allocated)).is_err() {
        sink.check_room(least(emission, &|found| preflight::data_bytes(emission.root, found)))?;
    }
    let sizes = std::thread::scope(|scope| write_files(scope, emission, &mut sink, findings))?;
    sink.finish()?;
    Ok(sizes)
}

/// Writes all files but `COMPLETE`. Reads the archives back in threads of `scope`, while it
/// writes the other files.
fn write_files<'scope>(
    scope: &'scope Scope<'scope, '_>,
    emission: &'scope Emission<'_>,
    sink: &mut ContextWriter,
    findings: &mut Findings,
) -> Result<Sizes> {
    let mut shipper = ArchiveBuilder::new(emission.root, emission.input, emission.plan);
    let mut archives = Vec::new();
    if carries_packages(emission) {
        let wanted = |index: usize| is_carried(emission.input, index);
        let layers = [ProvidedBy::Packages];
        archives.push(archive(scope, sink, PACKAGES, emission, &mut shipper, &layers, &wanted)?);
    }
    let layers = [ProvidedBy::Delta, ProvidedBy::Generated];
    let delta = archive(scope, sink, DELTA, emission, &mut shipper, &layers, &|_| true)?;
    let sizes = Sizes { delta: delta.size, packages: archives.iter().map(|archive| archive.size).sum() };
    archives.push(delta);
    if let Some(recipient) = emission.recipient {
        withheld(sink, &mut shipper, recipient)?;
    }
    shipper.tell_mapped(&emission.watch.finish());
    findings.extend(std::mem::take(&mut shipper.findings));
    let secret_files = manifest(sink, emission, &shipper.changes)?;
    sink.write("SECRETS.todo", secrets::todo(&secret_files, &emission.summary.workload).as_bytes())?;
    sink.write(DELETIONS, text::deletions(&emission.plan.deletions).as_bytes())?;
    build_files(sink, emission, findings)?;
    let links = &emission.summary.base.merged_usr;
    if !links.is_empty() {
        sink.write(MERGED_USR, text::merged_usr(links).as_bytes())?;
    }
    descriptions(sink, emission)?;
    let (workload, platform) = (&emission.summary.workload, text::platform(emission.summary));
    services::write(sink, workload, &platform, project(emission.inventory))?;
    sink.write(".env", services::settings(workload, &platform, project(emission.inventory)).as_bytes())?;
    binary(sink)?;
    findings.extend(emission.root.take_faults());
    json_lines(sink, FINDINGS, &findings.sorted())?;
    proof::refuse_secrets(sink)?;
    for archive in archives {
        archive.verify(emission.input, &shipper.changes)?;
    }
    Ok(sizes)
}

/// Returns the packages if the build writes their database.
fn writes_database<'a>(emission: &Emission<'a>) -> Option<PlannedPackages<'a>> {
    let is_opaque = |packages: &PlannedPackages<'_>| {
        packages.catalog.family.manager().database_format() == DatabaseFormat::Opaque
    };
    emission.input.packages.filter(is_opaque)
}

/// Writes the files of the build steps that install packages and write their database, if there
/// are such steps.
fn build_files(sink: &mut ContextWriter, emission: &Emission<'_>, findings: &mut Findings) -> Result<()> {
    if let Some(packages) = writes_database(emission) {
        let manager = packages.catalog.family.manager();
        for file in manager.database_files(emission.root, packages, findings) {
            sink.write(&format!("packages/{}", file.name), &file.content)?;
        }
    }
    let (Some(packages), Some(repositories)) = (emission.input.packages, emission.repositories) else {
        return Ok(());
    };
    let rewritten =
        |path: &[u8]| emission.input.rewritten.get(path).map(|rewritten| rewritten.content.clone());
    let input = BuildInput { packages, rewritten: &rewritten, names: &emission.inventory.names };
    for file in repositories.build_files(&input, findings) {
        sink.write(&format!("packages/{}", file.name), &file.content)?;
    }
    Ok(())
}

fn allocated(found: &WalkedEntry) -> u64 {
    found.node.size().saturating_sub(found.unallocated())
}

/// Returns the bytes that the archives need at least. `bytes_of` returns the bytes of a file
/// without its holes.
fn least(emission: &Emission<'_>, bytes_of: &dyn Fn(&WalkedEntry) -> u64) -> u64 {
    let Emission { input, plan, compression, .. } = emission;
    let mut seen: HashSet<u32> = HashSet::new();
    let mut bytes = 0_u64;
    for (index, decision) in plan.decisions.iter().enumerate() {
        let found = &input.tree.found[index];
        let is_archived = match decision.layer {
            Some(ProvidedBy::Delta | ProvidedBy::Generated) => true,
            Some(ProvidedBy::Packages) => is_carried(*input, index),
            Some(ProvidedBy::Base) | None => false,
        };
        let is_first = found.node.group == 0 || seen.insert(found.node.group);
        if decision.verdict.in_image() && is_archived && is_first {
            bytes = bytes.saturating_add(bytes_of(found));
        }
    }
    preflight::least_archive(bytes, *compression)
}

/// Returns the name of the Compose project: the hostname of the machine.
fn project(inventory: &Inventory) -> &str {
    if inventory.hostname.is_empty() { "machine" } else { &inventory.hostname }
}

/// Whether package files are included in the context.
fn carries_packages(emission: &Emission<'_>) -> bool {
    let is_included = |(index, decision): (usize, &Decision)| {
        decision.layer == Some(ProvidedBy::Packages) && is_carried(emission.input, index)
    };
    emission.plan.decisions.iter().enumerate().any(is_included)
}

/// Whether the path is included as a file of its package: the package is carried, or the base
/// image has the package without the path.
fn is_carried(facts: PlanInput<'_>, index: usize) -> bool {
    facts.packages.is_some_and(|packages| {
        let owned = packages.catalog.owned.get(&facts.tree.found[index].node.path);
        owned.is_some_and(|owned| {
            let has = |is: fn(&PackageVerdict) -> bool| packages.any(owned.packages, is);
            has(|verdict| matches!(verdict, PackageVerdict::Carry(_)))
                || !has(|verdict| matches!(verdict, PackageVerdict::Install(_)))
        })
    })
}

/// A written archive that a thread reads back.
struct WrittenArchive<'scope> {
    name: String,
    /// Size in bytes.
    size: u64,
    /// Indices of the tree: the regular files whose content it has.
    shipped: Vec<usize>,
    members: ScopedJoinHandle<'scope, Result<proof::Members>>,
}

impl WrittenArchive<'_> {
    /// Waits for the thread and compares the members with the files as they were read. Returns an
    /// error with code 5 if they differ.
    fn verify(self, input: PlanInput<'_>, changes: &Changes) -> Result<()> {
        let lost = |_| Error::io(&self.name, io::ErrorKind::Other.into());
        let members = self.members.join().map_err(lost)??;
        members.prove(&self.name, input, changes, &self.shipped)
    }
}

/// Writes an archive of the chosen objects of some layers and starts to read it back.
///
/// A stored archive is read from the disk. A sent one is read on its way to the server, because
/// it is not available afterwards.
fn archive<'scope>(
    scope: &'scope Scope<'scope, '_>,
    sink: &mut ContextWriter,
    stem: &str,
    emission: &'scope Emission<'_>,
    shipper: &mut ArchiveBuilder<'_>,
    layers: &[ProvidedBy],
    wanted: &dyn Fn(usize) -> bool,
) -> Result<WrittenArchive<'scope>> {
    let name = format!("{stem}{}", emission.compression.extension());
    let input = emission.input;
    let mut ship = |out: &mut dyn Write| shipper.ship(out, layers, wanted);
    let shown = name.clone();
    let (size, members) = if sink.directory().is_some() {
        let size = pack(sink.file(&name)?, None, &name, emission, &mut ship)?;
        let stored = sink.read_back(&name)?;
        (size, scope.spawn(move || proof::members(stored, &shown, input)))
    } else {
        let (aside, tee) = io::pipe().map_err(|cause| Error::io(&name, cause))?;
        let members = scope.spawn(move || proof::members(aside, &shown, input));
        (pack(sink.file(&name)?, Some(tee), &name, emission, &mut ship)?, members)
    };
    Ok(WrittenArchive { name, size, shipped: std::mem::take(&mut shipper.shipped), members })
}

/// Compresses what `ship` writes into a file, and into a pipe beside it. Returns the size.
fn pack(
    file: ContextFile<'_>,
    tee: Option<io::PipeWriter>,
    name: &str,
    emission: &Emission<'_>,
    ship: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
) -> Result<u64> {
    let failed = |cause| Error::io(name, cause);
    let out = Tee { file, tee };
    let mut encoder = emission.compression.pack(out, emission.threads).map_err(failed)?;
    // Blocks of this size keep the encoder busy; tar members come in pieces of 512 bytes.
    let mut buffer = io::BufWriter::with_capacity(1 << 20, &mut encoder);
    ship(&mut buffer).map_err(failed)?;
    buffer.flush().map_err(failed)?;
    drop(buffer);
    encoder.finish().map_err(failed)?.file.finish()
}

/// A file of the context, and a pipe that gets a copy of its bytes.
struct Tee<'a> {
    file: ContextFile<'a>,
    tee: Option<io::PipeWriter>,
}

impl Write for Tee<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.file.write(bytes)?;
        // A reader that refuses the file closes the pipe, and reports the reason itself.
        if let Some(tee) = &mut self.tee
            && tee.write_all(&bytes[..length]).is_err()
        {
            self.tee = None;
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Writes the withheld files, encrypted. They are not read back: only the secret key decrypts
/// them.
fn withheld(sink: &mut ContextWriter, shipper: &mut ArchiveBuilder<'_>, recipient: &Recipient) -> Result<()> {
    let failed = |cause| Error::io(SECRETS, cause);
    let mut file = sink.file(SECRETS)?;
    // `encrypt` pulls from a reader and `ship_withheld` pushes to a writer; a pipe connects the
    // two.
    let (plain, tar) = io::pipe().map_err(failed)?;
    std::thread::scope(|scope| {
        let encryption = scope.spawn(|| recipient.encrypt(plain, &mut file));
        let mut tar = io::BufWriter::with_capacity(64 << 10, tar);
        let shipped =
            shipper.ship_withheld(&mut tar).and_then(|()| tar.into_inner().map(drop).map_err(Into::into));
        let lost = |_| io::Error::other("the encryption failed");
        // If the encryption failed, the archive only failed because the pipe was closed.
        encryption.join().map_err(lost)?.and(shipped)
    })
    .map_err(failed)?;
    file.finish().map(drop)
}

/// Writes the manifest and returns the withheld files.
fn manifest(
    sink: &mut ContextWriter,
    emission: &Emission<'_>,
    changes: &Changes,
) -> Result<Vec<secrets::Withheld>> {
    let failed = |cause| Error::io(MANIFEST, cause);
    let mut secret_files = Vec::new();
    let file = sink.file(MANIFEST)?;
    let zstd = Compression { format: Format::Zstd, level: 3 };
    let mut encoder = zstd.pack(file, emission.threads).map_err(failed)?;
    let mut lines = io::BufWriter::with_capacity(1 << 20, &mut encoder);
    for (index, found) in emission.input.tree.found.iter().enumerate() {
        let record = record(emission, index, &found.node, changes.get(&index));
        secret_files.extend(secrets::Withheld::of(&record, emission.input.tree));
        manifest::write(&mut lines, &record, &emission.inventory.names).map_err(failed)?;
    }
    lines.flush().map_err(failed)?;
    drop(lines);
    encoder.finish().map_err(failed)?.finish()?;
    Ok(secret_files)
}

fn record(
    emission: &Emission<'_>,
    index: usize,
    walked: &crate::model::tree::Node,
    change: Option<&ArchiveOutcome>,
) -> Record {
    match change {
        None => emission.plan.record(emission.input, index, walked),
        Some(ArchiveOutcome::Newer(node)) => emission.plan.record(emission.input, index, node),
        Some(ArchiveOutcome::Lost) => {
            let record = emission.plan.record(emission.input, index, walked);
            let reason = "changed or vanished while it was archived; see findings.jsonl".to_owned();
            Record { verdict: Verdict::Lost, layer: None, reason, ..record }
        }
    }
}

fn descriptions(sink: &mut ContextWriter, emission: &Emission<'_>) -> Result<()> {
    let summary = emission.summary;
    let delta = format!("{DELTA}{}", emission.compression.extension());
    let named = |stem: &str| -> Vec<String> {
        sink.names().filter(|name| reader::is_archive(name, stem)).map(str::to_owned).collect()
    };
    let (packages, others) = (named(PACKAGES), [named(DELTA), named(MANIFEST)].concat());
    let mut json =
        serde_json::to_vec_pretty(&Document::new(summary)).map_err(|cause| Error::io(PLAN, cause.into()))?;
    json.push(b'\n');
    sink.write(PLAN, &json)?;
    let writes_database = writes_database(emission).is_some();
    sink.write("Dockerfile", text::dockerfile(summary, &packages, writes_database).as_bytes())?;
    sink.write(".dockerignore", text::dockerignore(others.iter().chain(&packages)).as_bytes())?;
    let readme = text::readme(summary, &delta, &services::machine_image(project(emission.inventory)))
        + emission.recipient.map_or("", |_| secrets::README)
        + &services::readme(&emission.summary.workload, project(emission.inventory));
    sink.write("README.md", readme.as_bytes())?;
    let mut program = sink.program("build.sh")?;
    program.write_all(include_bytes!("build.sh")).map_err(|cause| Error::io("build.sh", cause))?;
    program.finish().map(drop)
}

/// This very program, for the build.
fn binary(sink: &mut ContextWriter) -> Result<()> {
    let failed = |cause| Error::io("/proc/self/exe", cause);
    let mut own = std::fs::File::open("/proc/self/exe").map_err(failed)?;
    let mut file: ContextFile<'_> = sink.program(BINARY)?;
    io::copy(&mut own, &mut file).map_err(failed)?;
    file.finish().map(drop)
}

fn json_lines(sink: &mut ContextWriter, name: &str, lines: &[impl Serialize]) -> Result<()> {
    let mut text = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut text, line).map_err(|cause| Error::io(name, cause.into()))?;
        text.push(b'\n');
    }
    sink.write(name, &text)
}
