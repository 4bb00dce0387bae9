//! The conversion, stage by stage, in the order of the specification.

use crate::compare::diff::{self, Delta};
use crate::compare::expected::ExpectedTree;
use crate::context::compress::Compression;
use crate::context::output::room::SpaceLimit;
use crate::context::output::sent::Stream;
use crate::context::output::{CleanupHandle, ContextWriter, OutputPath};
use crate::context::recipient::Recipient;
use crate::detect::mappings::Watch;
use crate::detect::units::BootUnits;
use crate::detect::{self, Inventory};
use crate::emit::{self, Emission, Sizes};
use crate::error::{Code, Error, Result};
use crate::image::{self, Base, BaseContents, BaseFrom, Discovery};
use crate::model::digest::Digest;
use crate::model::findings::{self, Findings};
use crate::model::holes::{Coverage, LARGE_HOLES};
use crate::pkg::language::LanguagePackages;
use crate::pkg::manager::DatabaseFormat;
use crate::pkg::plan::{self as package_plan, Availability, PackageMode, PackageVerdict};
use crate::pkg::{Catalog, Family, Pin, PlannedPackages, Repositories};
use crate::plan::{self, PlanInput, Rewritten};
use crate::policy::{Action, Policy, Rule};
use crate::preflight::{self, Space};
use crate::report::progress::{self, Estimate, Phase, ProgressMode};
use crate::rewrite;
use crate::services::{self, Secrets, Selection};
use crate::summary::{self, Summary};
use crate::system::root::{self, Root};
use crate::system::sandbox::Sandbox;
use crate::transfer::net::{Client, Settings, Stats};
use crate::walk::{self, Progress, Scope, Tree, WalkedEntry};
use sha2::Digest as _;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Resolved options of a conversion.
#[derive(Clone, Debug)]
pub struct Options {
    /// The file system to convert.
    pub root: PathBuf,
    /// Where the context goes; nothing if it is sent and not kept.
    pub out: Option<PathBuf>,
    /// Base image by name.
    pub base: Option<String>,
    /// How to learn what it holds.
    pub base_from: BaseFrom,
    /// How the network is used; not at all if there is nothing.
    pub network: Option<Settings>,
    /// How the package layer is filled.
    pub mode: PackageMode,
    /// Which services become containers.
    pub services: Selection,
    /// The user's rules.
    pub rules: Vec<Rule>,
    /// The file that they came from.
    pub policy_file: Option<PathBuf>,
    /// The file of what a server is shown.
    pub token_file: Option<PathBuf>,
    /// Stop after the plan.
    pub dry_run: bool,
    /// Worker threads.
    pub threads: usize,
    /// How the archives are packed.
    pub compression: Compression,
    /// Progress display.
    pub progress: ProgressMode,
    /// Refuse to run where the machine's file systems cannot be made read-only for this process.
    pub require_readonly: bool,
    /// Withhold files that are likely secret too.
    pub strict_secrets: bool,
    /// The key to encrypt the withheld files to; without it, they are not in the context.
    pub recipient: Option<Recipient>,
    /// Write to a file system that keeps no owners and permissions.
    pub insecure_target: bool,
}

/// Result of a conversion.
#[derive(Debug)]
pub struct Outcome {
    /// Counts and decisions of the plan.
    pub summary: Summary,
    /// Enforced parts of the sandbox.
    pub sandbox: Sandbox,
    /// Sizes of the archives; none for a dry run.
    pub sizes: Option<Sizes>,
    /// Network traffic; `None` with `--offline`.
    pub traffic: Option<Stats>,
    /// Skipped, unstable, unreadable and withheld objects.
    pub findings: Findings,
}

/// Converts a machine. The context goes to `stream` where there is one, else to `out`.
pub fn convert(options: &Options, scratch: &CleanupHandle, stream: Option<Stream>) -> Result<Outcome> {
    let target = target(options, scratch, stream)?;
    let mut sandbox = Sandbox::enter(options.require_readonly)?;
    let watch = &start_threads(options.threads)?;
    let root = open(&options.root)?;
    let mut findings = Findings::default();

    Phase::Detect.start(options.progress);
    let boot = BootUnits::load(&root, &mut findings);
    let inventory = detect::detect(&root, &boot.enabled, &mut findings);
    let family = Family::of(&root);
    detect::foreign_root::report(&root, family.is_some(), &mut findings);
    let database_was = settled_database(&root, family)?;
    let catalog = family.and_then(|family| family.manager().load(&root, &mut findings));
    let catalog = catalog.as_ref();
    let live = inventory.live.as_ref();
    // An unknown name in --services ends the run here, before the network is used.
    let survey = services::survey(&root, &boot, live, &options.services, catalog, &mut findings)?;
    Phase::Base.start(options.progress);
    let client = options.network.clone().map(Client::new).transpose()?;
    let client = client.as_ref();
    let repositories = catalog.map(|catalog| catalog.family.manager().repositories(&root, catalog, client));
    let repositories = repositories.as_deref();
    let (base, available) =
        base_and_availability(options, &inventory, catalog, repositories, client, &mut findings)?;
    let installs = repositories.filter(|_| available.is_some());
    let mode = if available.is_some() { PackageMode::Install } else { PackageMode::Carry };
    let available = available.unwrap_or_default();
    let package_plan =
        catalog.map(|catalog| package_plan::decide(catalog, &base.packages(), &available, mode));
    let packages =
        catalog.zip(package_plan.as_ref()).map(|(catalog, plan)| PlannedPackages { catalog, plan });
    let listed = base_files(&base, packages, repositories, &mut findings);
    let expected = ExpectedTree::new(packages, base.view(listed), &inventory.names);
    let secrets = Secrets::of(&root, &survey, live);
    let policy = &policy(&root, options, family, &secrets, &inventory);
    sandbox.restrict_writes(target.as_ref().and_then(ContextWriter::directory));
    Phase::Walk.start(options.progress);
    let tree = &walk(&root, policy, &inventory, catalog, &expected, options, target.as_ref())?;
    findings.extend(tree.findings.clone());
    Phase::Plan.start(options.progress);
    let delta: &Delta = &diff::diff(tree, &expected);
    let rewritten = &rewrite_files(&root, tree, policy, packages, &mut findings);
    let generated = &catalog
        .map(|catalog| catalog.family.manager().provenance(&root, catalog, &tree.found, &mut findings))
        .unwrap_or_default();
    let secret_holders = &secrets.holders(&root, tree, delta, &mut findings);
    let strict_secrets = options.strict_secrets;
    let input =
        PlanInput { tree, delta, policy, packages, rewritten, generated, secret_holders, strict_secrets };
    let plan = plan::decide(input);
    findings.extend(plan.findings.clone());
    let workload = services::decide(&root, &survey, &inventory, input, &plan);
    let summary = summary::summarise(&inventory, &base, input, &plan, workload);
    let traffic = client.map(Client::figures);
    findings.extend(root.take_faults());
    let Some(writer) = target else {
        return Ok(Outcome { summary, sandbox, sizes: None, traffic, findings });
    };
    Phase::Write.start(options.progress);
    let emission = Emission {
        root: &root,
        inventory: &inventory,
        input,
        repositories: installs,
        watch,
        recipient: options.recipient.as_ref(),
        plan: &plan,
        summary: &summary,
        compression: options.compression,
        threads: options.threads as u32,
    };
    check_database(&root, family, database_was, &mut findings);
    let sizes = emit::emit(&emission, writer, &mut findings)?;
    Ok(Outcome { summary, sandbox, sizes: Some(sizes), traffic, findings })
}

/// Starts the worker threads and the thread that watches memory maps of other processes. They
/// start after the first step of the sandbox, so that it holds for them too.
fn start_threads(threads: usize) -> Result<Watch> {
    let started = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    started.map_err(|cause| Error::new(Code::Failed, format!("threads cannot be started: {cause}")))?;
    Watch::start()
}

/// Returns the started output of the context; `None` for a dry run.
fn target(
    options: &Options,
    scratch: &CleanupHandle,
    stream: Option<Stream>,
) -> Result<Option<ContextWriter>> {
    if let Some(stream) = stream {
        return Ok(Some(ContextWriter::stream(stream)));
    }
    let Some(out) = &options.out else { return Ok(None) };
    let place = OutputPath::open(out)?;
    place.check_free()?;
    if options.dry_run {
        return Ok(None);
    }
    let device = |path: &str| rustix::fs::stat(path).map(|stat| stat.st_dev).ok();
    let stat = rustix::fs::fstat(place.parent()).map_err(|cause| Error::io(place.shown(), cause.into()))?;
    let is_machines = ["/", "/var"].iter().any(|path| device(path) == Some(stat.st_dev));
    let room =
        SpaceLimit::of(place.parent(), is_machines).map_err(|cause| Error::io(place.shown(), cause))?;
    ContextWriter::create(place, room, options.insecure_target, scratch).map(Some)
}

/// Returns the base image, and the sources of the packages if the build installs packages.
///
/// Reads both at the same time, because each takes as long as a third of the walk. A thread apart
/// from the pool may wait until the other has read the indexes, which the pool does.
fn base_and_availability(
    options: &Options,
    inventory: &Inventory,
    catalog: Option<&Catalog>,
    repositories: Option<&dyn Repositories>,
    client: Option<&Client>,
    findings: &mut Findings,
) -> Result<(Base, Option<Availability>)> {
    let mut of_repositories = Findings::default();
    let installs = repositories.filter(|_| options.mode == PackageMode::Install);
    let (base, available) = std::thread::scope(|scope| {
        let available =
            scope.spawn(|| installs.map(|repositories| repositories.available(&mut of_repositories)));
        let base = base(options, inventory, catalog, repositories, client, findings);
        (base, available.join())
    });
    let base = base?;
    // FROM scratch has no package manager that could install anything.
    if base.reference.is_none() {
        return Ok((base, None));
    }
    findings.extend(of_repositories);
    let lost = |_| Error::new(Code::Failed, "the thread that reads the package indexes failed");
    Ok((base, available.map_err(lost)?))
}

/// The base image, with the machine's merged `/usr`, as the build makes it.
fn base(
    options: &Options,
    inventory: &Inventory,
    catalog: Option<&Catalog>,
    repositories: Option<&dyn Repositories>,
    client: Option<&Client>,
    findings: &mut Findings,
) -> Result<Base> {
    let discovery = Discovery { client, inventory, catalog, repositories };
    let base = image::choose(options.base.as_deref(), &options.base_from, inventory, &discovery, findings)?;
    Ok(match catalog {
        Some(catalog) => base.merge_usr(&catalog.aliases),
        None => base,
    })
}

fn open(path: &Path) -> Result<Root> {
    Root::open(path).map_err(|cause| Error::io(format!("--root {}", path.display()), cause))
}

/// Waits until no package manager is running, because it leaves the machine between two states.
/// Returns a stamp that changes if another one starts later. Exit code 20 if one is still running
/// after a minute.
fn settled_database(root: &Root, family: Option<Family>) -> Result<Option<Stamp>> {
    /// Most updates of a few packages end within this time.
    const SECONDS: u32 = 60;
    let Some(family) = family else { return Ok(None) };
    let busy = || family.manager().busy(root, &std::fs::read("/proc/locks").unwrap_or_default());
    for _ in 0..SECONDS {
        if busy().is_none() {
            return Ok(database_stamp(root, family));
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    let Some(process) = busy() else { return Ok(database_stamp(root, family)) };
    Err(Error::new(Code::NotStarted, format!("process {process} is changing the machine's packages"))
        .hint("run again when the package manager has finished"))
}

/// State of the package database: inode, length and timestamps of its files.
type Stamp = Vec<Option<(u64, u64, i64, i64, i64)>>;

fn database_stamp(root: &Root, family: Family) -> Option<Stamp> {
    let stamp = |path: &Vec<u8>| {
        let stat = root.stat(path).ok()?;
        let (inode, length) = (stat.st_ino, stat.st_size as u64);
        Some((inode, length, stat.st_mtime, stat.st_ctime, stat.st_ctime_nsec as i64))
    };
    Some(family.manager().database(root).iter().map(stamp).collect())
}

/// Reports packages that were installed or removed during the run: a part of the data is older.
fn check_database(root: &Root, family: Option<Family>, was: Option<Stamp>, findings: &mut Findings) {
    let Some(family) = family else { return };
    if database_stamp(root, family) != was {
        let text = "packages were changed during the run; run again when the package manager has finished";
        let path = family.manager().database(root).into_iter().next().unwrap_or_default();
        findings.loss(findings::Kind::Changed, &path, text);
    }
}

/// Returns the user's rules, then rules for secrets of this machine, then the built-in ones.
fn policy(
    root: &Root,
    options: &Options,
    family: Option<Family>,
    secrets: &Secrets,
    inventory: &Inventory,
) -> Policy {
    let passwords = family.map(|family| family.manager().credential_files(root)).unwrap_or_default();
    let rules = passwords.iter().map(|path| Rule::repository_password(path));
    let rules = options.rules.iter().cloned().chain(rules);
    let rules = rules.chain(secrets.files.iter().map(|path| Rule::gives_secret(path)));
    let storage = &inventory.storage;
    let rules = rules.chain(storage.swap_files.iter().map(|path| Rule::swap_file(path)));
    let rules = rules.chain(storage.container_storage.iter().map(|path| Rule::container_storage(path)));
    Policy::new(rules.collect(), &inventory.homes)
}

/// Returns the files of a base image of which only the packages are known. Files of packages that
/// the build changes to another version do not matter. Files of packages in the context can be
/// left out of it.
fn base_files(
    base: &Base,
    packages: Option<PlannedPackages<'_>>,
    repositories: Option<&dyn Repositories>,
    findings: &mut Findings,
) -> Option<Vec<(Box<[u8]>, Digest)>> {
    let BaseContents::Packages(list) = &base.contents else { return None };
    let PlannedPackages { catalog, plan } = packages?;
    let is_carried = |pin: &Pin| match catalog.find(&pin.name, &pin.architecture) {
        Some(id) => matches!(plan.verdict(id), PackageVerdict::Carry(_)),
        None => false,
    };
    Some(repositories?.base_files(list, &base.profile, &is_carried, findings))
}

fn walk(
    root: &Root,
    policy: &Policy,
    inventory: &Inventory,
    catalog: Option<&Catalog>,
    expected: &ExpectedTree<'_>,
    options: &Options,
    target: Option<&ContextWriter>,
) -> Result<Tree> {
    let progress = Arc::new(Progress::default());
    let _display = progress::Display::start(options.progress, &progress, estimate(root));
    let language = LanguagePackages::new(root);
    let is_published = |path: &[u8], found: Option<&WalkedEntry>| {
        diff::is_published(path, found, expected) || language.is_published(path, found)
    };
    let scope = Scope {
        policy: Some(policy),
        mounts: &inventory.mounts,
        ours: &ours(options, target),
        claimed: &|path| expected.wanted_digest(path).or_else(|| language.wanted_digest(path)),
        content: &|_| true,
        // A dry run writes no manifest: only what the lower layers provide is compared.
        coverage: &|path, holes| match holes >= LARGE_HOLES {
            true => Some(Coverage::Data),
            false if !options.dry_run || is_published(path, None) => Some(Coverage::All),
            false => None,
        },
        published: &is_published,
        progress: &progress,
    };
    if let Some(writer) = target {
        let is_packaged = |path: &[u8]| catalog.is_some_and(|catalog| catalog.owned.get(path).is_some());
        let (compression, threads) = (options.compression, options.threads);
        let space = Space { root, scope: &scope, is_packaged: &is_packaged, compression, threads };
        preflight::check_space(&space, writer)?;
    }
    walk::walk(root, &scope, options.threads).map_err(|cause| Error::io(root.name(), cause))
}

/// Returns device and inode of vm2docker-self's files, which are not part of the machine: the
/// executable, its input files, and the output directory if it exists.
fn ours(options: &Options, target: Option<&ContextWriter>) -> Vec<(u64, u64)> {
    let input = match &options.base_from {
        BaseFrom::File(file) => Some(file.as_path()),
        BaseFrom::Auto | BaseFrom::Registry | BaseFrom::Packages | BaseFrom::None => None,
    };
    let certificates = options.network.as_ref().and_then(|network| network.ca_file.as_deref());
    let given = [options.policy_file.as_deref(), options.token_file.as_deref()];
    let paths = [Some(Path::new("/proc/self/exe")), input, certificates].into_iter().chain(given);
    let files = paths.flatten().filter_map(|path| root::identity_of(path).ok());
    files.chain(target.into_iter().flat_map(ContextWriter::identities)).collect()
}

/// Returns what the file system holds; nothing if the root is only a part of it.
fn estimate(root: &Root) -> Estimate {
    let device =
        |name: &[u8]| root::stat_at(root.directory(), name).map(|stat| (stat.st_dev, stat.st_ino)).ok();
    let (here, above) = (device(b"."), device(b".."));
    let is_whole = here == above || here.zip(above).is_some_and(|(here, above)| here.0 != above.0);
    if !is_whole {
        return Estimate::default();
    }
    rustix::fs::fstatvfs(root.directory()).map_or(Estimate::default(), |stat| Estimate {
        objects: stat.f_files.saturating_sub(stat.f_ffree),
        bytes: stat.f_blocks.saturating_sub(stat.f_bfree).saturating_mul(stat.f_frsize),
    })
}

/// Returns the files that rules rewrite. A file that cannot be read is a loss.
fn rewrite_files(
    root: &Root,
    tree: &Tree,
    policy: &Policy,
    packages: Option<PlannedPackages<'_>>,
    findings: &mut Findings,
) -> BTreeMap<Box<[u8]>, Rewritten> {
    let dropped: BTreeSet<(&[u8], &[u8])> = packages
        .into_iter()
        .flat_map(|packages| {
            let dropped = packages.plan.with(|verdict| matches!(verdict, PackageVerdict::Drop(_)));
            dropped.map(move |id| &packages.catalog[id])
        })
        .map(|package| (package.name.as_bytes(), package.architecture.as_bytes()))
        .collect();
    // apt lists packages of all architectures under the machine's own.
    let is_dropped = |name: &[u8], architecture: &[u8]| {
        dropped.contains(&(name, architecture)) || dropped.contains(&(name, b"all"))
    };
    let rewritten_content = |path: &[u8], content: &[u8]| {
        let by_family = || {
            let manager = packages?.catalog.family.manager();
            match manager.database_format() {
                DatabaseFormat::Text => manager.rewrite(path, content, &is_dropped),
                DatabaseFormat::Opaque => None,
            }
        };
        rewrite::rewrite(path, content).or_else(by_family)
    };
    let is_rewritten = |found: &&walk::WalkedEntry| {
        found.rule.is_some_and(|id| policy.rule(id).action == Action::Rewrite)
            && matches!(found.node.kind, crate::model::tree::Kind::File { .. })
    };
    let mut rewritten = BTreeMap::new();
    for found in tree.found.iter().filter(is_rewritten) {
        match root.read(&found.node.path) {
            Ok(content) => {
                if let Some(new) = rewritten_content(&found.node.path, &content) {
                    let sha256 = sha2::Sha256::digest(&new);
                    let changed = new != content;
                    rewritten.insert(
                        found.node.path.clone(),
                        Rewritten { content: new, sha256: sha256.into(), changed },
                    );
                }
            }
            Err(cause) => findings.loss(findings::Kind::Unreadable, &found.node.path, cause.to_string()),
        }
    }
    rewrite_links(tree, &mut rewritten);
    rewritten
}

/// One inode has one content under all its names, whatever rule the other names fall under.
fn rewrite_links(tree: &Tree, rewritten: &mut BTreeMap<Box<[u8]>, Rewritten>) {
    let linked = tree.found.iter().filter(|found| found.node.group != 0);
    let by_group: BTreeMap<u32, Rewritten> = linked
        .clone()
        .filter_map(|found| Some((found.node.group, rewritten.get(&found.node.path)?.clone())))
        .collect();
    for found in linked {
        if let Some(content) = by_group.get(&found.node.group) {
            rewritten.entry(found.node.path.clone()).or_insert_with(|| content.clone());
        }
    }
}
