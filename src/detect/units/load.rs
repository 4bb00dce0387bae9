//! Finds unit files in systemd's search path: names, aliases, templates, drop-ins ("UNIT FILE
//! LOAD PATH" in `systemd.unit(5)`).

use super::names;
use super::parse::Unit;
use crate::model::findings::{self, Findings};
use crate::model::tree;
use crate::system::root::Root;
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// Search path of the system manager. Earlier directories take precedence.
const SEARCH_PATH: &[&str] = &[
    "etc/systemd/system.control",
    "run/systemd/system.control",
    "run/systemd/transient",
    "run/systemd/generator.early",
    "etc/systemd/system",
    "etc/systemd/system.attached",
    "run/systemd/system",
    "run/systemd/system.attached",
    "run/systemd/generator",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
    "run/systemd/generator.late",
];
/// Maximum number of aliases to follow, as for symbolic links in the kernel (path_resolution(7)).
const MAX_ALIASES: usize = 40;

/// A unit with its drop-ins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Name after following aliases: `mysql.service` can be an alias of `mariadb.service`.
    pub name: Vec<u8>,
    /// Aliases of the unit.
    pub aliases: Vec<Vec<u8>>,
    /// Unit file, relative to the root. A unit can consist of drop-ins only.
    pub path: Option<Vec<u8>>,
    /// Drop-in files in the order in which they apply.
    pub dropins: Vec<Vec<u8>>,
    /// Assignments of the file, then of the drop-ins.
    pub unit: Unit,
    /// Whether the unit is masked: an empty file or a link to `/dev/null`.
    pub masked: bool,
    /// Units linked in its `.wants/`, `.requires/` and `.upholds/` directories, with the kind of
    /// directory.
    pub linked: Vec<(&'static str, Vec<u8>)>,
}

/// A name in the search path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    /// A file, or a link to a file outside the search path, relative to the root.
    File(Vec<u8>),
    /// An alias of this unit.
    Alias(Vec<u8>),
    /// A link to `/dev/null`.
    Masked(Vec<u8>),
}

/// All names in the search path.
#[derive(Debug)]
pub struct Units<'a> {
    root: &'a Root,
    entries: BTreeMap<Vec<u8>, Entry>,
    /// Directories such as `name.d` and `name.wants` by name, in order of precedence.
    directories_of: BTreeMap<Vec<u8>, Vec<Vec<u8>>>,
    /// Aliases by target.
    aliases: BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>>,
}

impl<'a> Units<'a> {
    /// Lists the search path. An unreadable directory is a loss.
    pub fn index(root: &'a Root, findings: &mut Findings) -> Self {
        let (entries, directories_of, aliases) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut units = Units { root, entries, directories_of, aliases };
        for directory in SEARCH_PATH {
            let directory = directory.as_bytes();
            for name in list(root, directory, findings) {
                let path = tree::join(directory, &name);
                if names::unit_type(&name).is_some() {
                    if !units.entries.contains_key(&name) {
                        let entry = units.classify(&name, path);
                        units.entries.insert(name, entry);
                    }
                } else if [&b".d"[..], b".wants", b".requires", b".upholds"]
                    .iter()
                    .any(|end| name.ends_with(end))
                {
                    units.directories_of.entry(name).or_default().push(path);
                }
            }
        }
        for (name, entry) in &units.entries {
            if let Entry::Alias(target) = entry {
                units.aliases.entry(target.clone()).or_default().insert(name.clone());
            }
        }
        units
    }

    /// Returns the names of all unit files and links, sorted.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.entries.keys().map(Vec::as_slice)
    }

    /// Returns whether there is a file or link with this name, or with the name of its template.
    pub fn has(&self, name: &[u8]) -> bool {
        let template = names::template(name);
        self.entries.contains_key(name) || template.is_some_and(|name| self.entries.contains_key(&name))
    }

    /// Follows aliases. Returns the resulting name even if no such unit exists.
    pub fn resolve(&self, name: &[u8]) -> Vec<u8> {
        let mut name = name.to_vec();
        for _ in 0..MAX_ALIASES {
            match self.entry(&name) {
                Some((_, Entry::Alias(target))) => name = alias_target(&name, target),
                _ => break,
            }
        }
        name
    }

    /// Reads a unit with its drop-ins. Returns `None` if there is no file, link or drop-in of
    /// that name.
    ///
    /// Unreadable files are losses; malformed lines are notes.
    pub fn load(&self, name: &[u8], findings: &mut Findings) -> Option<Loaded> {
        names::unit_type(name)?;
        let resolved = self.resolve(name);
        let mut loaded = Loaded {
            aliases: self.other_names(name, &resolved),
            name: resolved,
            path: None,
            dropins: Vec::new(),
            unit: Unit::default(),
            masked: false,
            linked: Vec::new(),
        };
        match self.entry(&loaded.name) {
            Some((_, Entry::File(path))) => {
                let text = read(self.root, path, findings);
                // systemd.unit(5): an empty unit file masks the unit.
                loaded.masked = text.as_ref().is_some_and(Vec::is_empty);
                loaded.unit = parse(path, &text.unwrap_or_default(), findings);
                loaded.path = Some(path.clone());
            }
            Some((_, Entry::Masked(path))) => {
                loaded.masked = true;
                loaded.path = Some(path.clone());
            }
            Some((_, Entry::Alias(target))) => {
                let target = crate::model::escape::escape(target);
                findings.note(findings::Kind::Unit, name, format!("aliases form a cycle through {target}"));
                return None;
            }
            None => {}
        }
        for path in self.dropin_files(&loaded, findings) {
            if let Some(text) = read(self.root, &path, findings) {
                loaded.unit.extend(parse(&path, &text, findings));
                loaded.dropins.push(path);
            }
        }
        loaded.linked = self.linked(&loaded, findings);
        let exists = loaded.path.is_some() || !loaded.dropins.is_empty() || !loaded.linked.is_empty();
        exists.then_some(loaded)
    }

    /// Returns the entry of a name or of its template, with the name of the entry.
    fn entry(&self, name: &[u8]) -> Option<(Vec<u8>, &Entry)> {
        if let Some(entry) = self.entries.get(name) {
            return Some((name.to_vec(), entry));
        }
        let template = names::template(name)?;
        let entry = self.entries.get(&template)?;
        Some((template, entry))
    }

    /// Classifies a name. A link to another unit of the same type within the search path is an
    /// alias.
    fn classify(&self, name: &[u8], path: Vec<u8>) -> Entry {
        let Ok(target) = self.root.read_link(&path) else { return Entry::File(path) };
        let target = tree::link_target(&path, &target);
        if target == b"dev/null" {
            return Entry::Masked(path);
        }
        let other = tree::file_name(&target);
        let is_in_path = SEARCH_PATH.iter().any(|directory| directory.as_bytes() == tree::parent(&target));
        let is_same = other == name || names::template(name).is_some_and(|template| template == other);
        if is_in_path && !is_same && names::unit_type(other) == names::unit_type(name) {
            Entry::Alias(other.to_vec())
        } else {
            Entry::File(path)
        }
    }

    /// Returns all aliases of `resolved`, including the name `requested`.
    fn other_names(&self, requested: &[u8], resolved: &[u8]) -> Vec<Vec<u8>> {
        let mut others = BTreeSet::from([requested.to_vec()]);
        let mut todo = vec![resolved.to_vec()];
        todo.extend(names::template(resolved));
        while let Some(name) = todo.pop() {
            for alias in self.aliases.get(&name).into_iter().flatten() {
                let alias = match names::instance(resolved) {
                    Some(instance) if names::instance(alias) == Some(b"") => {
                        names::with_instance(alias, instance)
                    }
                    _ => alias.clone(),
                };
                if others.insert(alias.clone()) {
                    todo.extend(names::template(&alias));
                    todo.push(alias);
                }
            }
        }
        others.remove(resolved);
        others.into_iter().collect()
    }

    /// Returns the drop-ins by file name. Of the same file name, only the first directory's
    /// applies.
    fn dropin_files(&self, loaded: &Loaded, findings: &mut Findings) -> Vec<Vec<u8>> {
        let mut directories: Vec<&Vec<u8>> = Vec::new();
        let rank =
            |directory: &[u8]| SEARCH_PATH.iter().position(|at| at.as_bytes() == tree::parent(directory));
        for name in std::iter::once(&loaded.name).chain(&loaded.aliases) {
            let directory_names: Vec<Vec<u8>> =
                family(name).into_iter().map(|name| [name.as_slice(), b".d"].concat()).collect();
            let mut found: Vec<&Vec<u8>> =
                directory_names.iter().filter_map(|name| self.directories_of.get(name)).flatten().collect();
            found.sort_by_key(|directory| rank(directory));
            directories.extend(found);
        }
        let of_type = names::unit_type(&loaded.name).map(|kind| format!("{kind}.d").into_bytes());
        directories.extend(of_type.and_then(|name| self.directories_of.get(&name)).into_iter().flatten());
        let mut files: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        for directory in directories {
            for name in list(self.root, directory, findings) {
                if name.ends_with(b".conf") && !name.starts_with(b".") {
                    let path = tree::join(directory, &name);
                    files.entry(name).or_insert(path);
                }
            }
        }
        // A link to /dev/null masks drop-ins of the same name in later directories.
        let is_null = |path: &Vec<u8>| self.root.read_link(path).is_ok_and(|target| target == b"/dev/null");
        files.into_values().filter(|path| !is_null(path)).collect()
    }

    /// Returns the units linked in `.wants/`, `.requires/` and `.upholds/` directories.
    fn linked(&self, loaded: &Loaded, findings: &mut Findings) -> Vec<(&'static str, Vec<u8>)> {
        let mut linked = BTreeSet::new();
        let own_names = std::iter::once(&loaded.name).chain(&loaded.aliases).cloned();
        let names: Vec<Vec<u8>> =
            own_names.flat_map(|name| [names::template(&name), Some(name)]).flatten().collect();
        for kind in ["wants", "requires", "upholds"] {
            let directories = names.iter().map(|name| [name, &b"."[..], kind.as_bytes()].concat());
            for directory in directories.filter_map(|name| self.directories_of.get(&name)).flatten() {
                let names = list(self.root, directory, findings).into_iter();
                let names = names.filter(|name| names::unit_type(name).is_some());
                linked.extend(names.map(|name| (kind, name)));
            }
        }
        linked.into_iter().collect()
    }
}

/// Returns the names whose drop-in directories apply to a unit: its own, its template's, and
/// prefixes that end in a dash (`a-b@c.service`, `a-b@.service`, `a-.service`).
fn family(name: &[u8]) -> Vec<Vec<u8>> {
    let mut family = vec![name.to_vec()];
    family.extend(names::template(name));
    let suffix = &name[names::stem(name).len()..];
    let mut prefix = names::prefix(name);
    while let Some(dash) = memchr::memrchr(b'-', prefix) {
        prefix = &prefix[..dash];
        // A prefix must not be empty. Two dashes in a row count as one step.
        if !prefix.is_empty() && !prefix.ends_with(b"-") {
            family.push([prefix, b"-", suffix].concat());
        }
    }
    family
}

/// Returns the target of an alias. If both are templates, the target keeps the instance.
fn alias_target(name: &[u8], target: &[u8]) -> Vec<u8> {
    match names::instance(name) {
        Some(instance) if names::instance(target) == Some(b"") => names::with_instance(target, instance),
        _ => target.to_vec(),
    }
}

/// Lists a directory. A missing directory is empty; an unreadable one is a loss.
pub(super) fn list(root: &Root, directory: &[u8], findings: &mut Findings) -> Vec<Vec<u8>> {
    match root.list(directory) {
        Ok(names) => names,
        Err(cause) => {
            if !matches!(cause.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) {
                findings.loss(
                    findings::Kind::Unreadable,
                    directory,
                    format!("cannot list services: {cause}"),
                );
            }
            Vec::new()
        }
    }
}

/// Reads a file. An unreadable file is a loss; a dangling link is a note.
pub(super) fn read(root: &Root, path: &[u8], findings: &mut Findings) -> Option<Vec<u8>> {
    match root.read(path) {
        Ok(text) => Some(text),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
            findings.note(findings::Kind::Dangling, path, "service file not found");
            None
        }
        Err(cause) => {
            findings.loss(findings::Kind::Unreadable, path, format!("cannot read service file: {cause}"));
            None
        }
    }
}

/// Parses a unit file. Malformed lines are notes.
fn parse(path: &[u8], text: &[u8], findings: &mut Findings) -> Unit {
    let (unit, problems) = Unit::parse(text);
    for problem in problems {
        findings.note(findings::Kind::Unit, path, problem.to_string());
    }
    unit
}
