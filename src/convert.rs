//! The conversion, stage by stage: this file reads as the specification does.

use crate::base::{self, Base, BaseFrom};
use crate::compress::Compression;
use crate::detect::{self, Inventory};
use crate::diff::{self, Delta};
use crate::emit::{self, Emission, Sizes, sink::Scratch};
use crate::error::{Code, Error, Result};
use crate::expected::ExpectedTree;
use crate::findings::Findings;
use crate::layer::{self, PackageLayer, Way};
use crate::pkg::{Catalog, Pin, lists};
use crate::plan::{self, Facts, Rewritten};
use crate::policy::{Action, Policy, Rule};
use crate::report::{self, ProgressMode};
use crate::rewrite;
use crate::root::{self, Root};
use crate::summary::{self, Summary};
use crate::walk::{self, Progress, Scope, Tree};
use sha2::Digest as _;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a conversion was asked for, resolved.
#[derive(Clone, Debug)]
pub struct Options {
    /// The file system to convert.
    pub root: PathBuf,
    /// Where the context goes.
    pub out: PathBuf,
    /// Base image by name.
    pub base: Option<String>,
    /// How to learn what it holds.
    pub base_from: BaseFrom,
    /// How the package layer is filled.
    pub way: Way,
    /// The user's rules.
    pub rules: Vec<Rule>,
    /// The file that they came from.
    pub policy_file: Option<PathBuf>,
    /// Stop after the plan.
    pub dry_run: bool,
    /// Worker threads.
    pub threads: usize,
    /// How the archives are packed.
    pub compression: Compression,
    /// What to show meanwhile.
    pub progress: ProgressMode,
}

/// What came of a conversion.
#[derive(Debug)]
pub struct Outcome {
    /// The plan in figures.
    pub summary: Summary,
    /// Sizes of the archives; none for a dry run.
    pub sizes: Option<Sizes>,
    /// Everything that was skipped, unstable, unreadable or withheld.
    pub findings: Findings,
}

/// Converts a machine.
pub fn convert(options: &Options, scratch: &Scratch) -> Result<Outcome> {
    emit::sink::check_free(&options.out)?;
    let root = Root::open(&options.root)
        .map_err(|cause| Error::io(format!("--root {}", options.root.display()), cause))?;
    let mut findings = Findings::default();

    let inventory = detect::detect(&root, &mut findings);
    let catalog = Catalog::load(&root, &mut findings);
    let base = base::choose(options.base.as_deref(), &options.base_from, &inventory, catalog.is_some())?;
    let layer =
        catalog.as_ref().map(|catalog| package_layer(&root, catalog, &base, options.way, &mut findings));
    let packages = catalog.as_ref().zip(layer.as_ref());
    let base_nodes = base.image.as_ref().map(|image| image.nodes.as_slice()).unwrap_or_default();
    let expected = ExpectedTree::new(packages, base_nodes, inventory.os.image_is_merged());
    let passwords = emit::packages::sources_with_passwords(&root);
    let rules = options.rules.iter().cloned().chain(passwords.iter().map(|path| Rule::apt_password(path)));
    let policy = Policy::new(rules.collect(), &inventory.homes);
    let tree = walk(&root, &policy, &inventory, &expected, options)?;
    findings.extend(tree.findings.clone());
    let delta: Delta = diff::diff(&tree, &expected);
    let rewritten = rewrite_files(&root, &tree, &policy, packages, &mut findings);
    let facts = Facts { tree: &tree, delta: &delta, policy: &policy, packages, rewritten: &rewritten };
    let plan = plan::decide(facts);
    findings.extend(plan.findings.clone());
    let summary = summary::summarise(&inventory, &base, facts, &plan);
    if options.dry_run {
        return Ok(Outcome { summary, sizes: None, findings });
    }
    check_space(&options.out, &summary)?;
    let emission = Emission {
        root: &root,
        inventory: &inventory,
        facts,
        plan: &plan,
        summary: &summary,
        compression: options.compression,
        threads: options.threads as u32,
    };
    let sizes = emit::emit(&emission, &options.out, scratch, &mut findings)?;
    Ok(Outcome { summary, sizes: Some(sizes), findings })
}

fn package_layer(
    root: &Root,
    catalog: &Catalog,
    base: &Base,
    way: Way,
    findings: &mut Findings,
) -> PackageLayer {
    // Nothing to install with where there is no base image.
    let way = if base.reference.is_none() { Way::Carry } else { way };
    let asked: BTreeSet<Pin> = match way {
        Way::Install => catalog.installed().map(|index| Pin::from(&catalog.packages[index])).collect(),
        Way::Carry => BTreeSet::new(),
    };
    let lists = lists::read(root, &asked, findings);
    if way == Way::Install && !lists.present {
        let text = "no package lists: whether the archive still has these versions is not known; \
                    run `apt-get update` on the machine, or use --packages carry";
        findings.note("package-index", b"var/lib/apt/lists", text);
    }
    layer::assign(catalog, &base.packages(), &lists, way)
}

fn walk(
    root: &Root,
    policy: &Policy,
    inventory: &Inventory,
    expected: &ExpectedTree<'_>,
    options: &Options,
) -> Result<Tree> {
    let progress = Arc::new(Progress::default());
    let _display = report::Display::start(options.progress, &progress, inodes_in_use(root));
    let scope = Scope {
        policy: Some(policy),
        mounts: &inventory.mounts,
        ours: &ours(options),
        md5: &|path| expected.wants_md5(path),
        content: &|_| true,
        progress: &progress,
    };
    walk::walk(root, &scope, options.threads).map_err(|cause| Error::io(root.name(), cause))
}

/// Device and inode of what is ours and no part of the machine: this binary, its input files, and the output directory
/// if it is there.
fn ours(options: &Options) -> Vec<(u64, u64)> {
    let input = match &options.base_from {
        BaseFrom::File(file) => Some(file.as_path()),
        BaseFrom::None => None,
    };
    let paths =
        [Some(Path::new("/proc/self/exe")), Some(&options.out), input, options.policy_file.as_deref()];
    paths.into_iter().flatten().filter_map(|path| root::identity_of(path).ok()).collect()
}

/// About how many objects there are, for the time that is left; 0 if the file system does not say, or has others too.
fn inodes_in_use(root: &Root) -> u64 {
    let device =
        |name: &[u8]| root::stat_at(root.directory(), name).map(|stat| (stat.st_dev, stat.st_ino)).ok();
    let (here, above) = (device(b"."), device(b".."));
    let is_whole = here == above || here.zip(above).is_some_and(|(here, above)| here.0 != above.0);
    if !is_whole {
        return 0;
    }
    rustix::fs::fstatvfs(root.directory()).map_or(0, |stat| stat.f_files.saturating_sub(stat.f_ffree))
}

/// Works out the files that rules rewrite. One that cannot be read is a loss.
fn rewrite_files(
    root: &Root,
    tree: &Tree,
    policy: &Policy,
    packages: Option<(&Catalog, &PackageLayer)>,
    findings: &mut Findings,
) -> BTreeMap<Box<[u8]>, Rewritten> {
    let dropped: BTreeSet<(&[u8], &[u8])> = packages
        .into_iter()
        .flat_map(|(catalog, layer)| {
            let dropped = layer.with(|role| matches!(role, layer::Role::Drop(_)));
            dropped
                .map(|index| &catalog.packages[index])
                .map(|p| (p.name.as_bytes(), p.architecture.as_bytes()))
        })
        .collect();
    // apt files packages of all architectures under the machine's own.
    let is_dropped = |name: &[u8], architecture: &[u8]| {
        dropped.contains(&(name, architecture)) || dropped.contains(&(name, b"all"))
    };
    let is_rewritten = |found: &&walk::Found| {
        found.rule.is_some_and(|id| policy.rule(id).action == Action::Rewrite)
            && matches!(found.node.kind, crate::tree::Kind::File { .. })
    };
    let mut rewritten = BTreeMap::new();
    for found in tree.found.iter().filter(is_rewritten) {
        match root.read(&found.node.path) {
            Ok(content) => {
                if let Some(new) = rewrite::rewrite(&found.node.path, &content, &is_dropped) {
                    let sha256 = sha2::Sha256::digest(&new);
                    let changed = new != content;
                    rewritten.insert(
                        found.node.path.clone(),
                        Rewritten { content: new, sha256: sha256.into(), changed },
                    );
                }
            }
            Err(cause) => findings.loss("unreadable", &found.node.path, cause.to_string()),
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

/// Refuses before anything is written where the archives cannot fit. What compresses well needs less.
fn check_space(out: &Path, summary: &Summary) -> Result<()> {
    let Ok(stat) = rustix::fs::statvfs(emit::sink::parent(out)) else { return Ok(()) };
    let free = stat.f_bavail * stat.f_frsize;
    let carried = summary.packages.as_ref().is_some_and(|packages| packages.way == Way::Carry);
    let packages = if carried { summary.files.packages.bytes } else { 0 };
    // The least that zstd has ever left of a whole system is about a fifth.
    let least = (summary.forecast.top_at_most + packages) / 5;
    if free >= least {
        return Ok(());
    }
    let what = format!(
        "{} needs at least {}, and {} are free",
        out.display(),
        report::bytes(least),
        report::bytes(free)
    );
    Err(Error::new(Code::NoSpace, what)
        .hint("choose another file system with --out; --dry-run shows what is large"))
}
