//! The status database: one stanza a package (dpkg(1), deb-control(5), `lib/dpkg/parse.c`).

use super::deb822::{self, Stanza};
use super::relation::{self, Group, Provision};
use super::version;
use crate::model::digest::Md5;
use crate::model::escape::unhex;
use crate::model::problem::{Problem, note};
use crate::pkg::package::{Package, Pin};

/// What the administrator wants of a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Nothing was decided.
    Unknown,
    /// To be installed.
    Install,
    /// To stay as it is.
    Hold,
    /// To be removed, its configuration files kept.
    Deinstall,
    /// To be removed with its configuration files.
    Purge,
}

/// How far the installation of a package got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not there.
    NotInstalled,
    /// Removed, its configuration files are left.
    ConfigFiles,
    /// Unpacking or removing began and did not end: any of its files may be missing.
    HalfInstalled,
    /// Unpacked, never configured.
    Unpacked,
    /// Configuring began and did not end.
    HalfConfigured,
    /// Waits for another package's trigger.
    TriggersAwaited,
    /// Has a trigger to run.
    TriggersPending,
    /// Unpacked and configured.
    Installed,
}

/// How a package behaves beside other architectures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MultiArch {
    /// Serves packages of its own architecture.
    No,
    /// Can be installed for several architectures at once.
    Same,
    /// Serves packages of every architecture.
    Foreign,
    /// Serves every architecture where the dependency says `:any`.
    Allowed,
}

/// A configuration file that dpkg watches over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conffile {
    /// Relative to the root.
    pub path: Box<[u8]>,
    /// Digest of what the package ships; `None` before the package was first configured.
    pub md5: Option<Md5>,
    /// The installed version does not ship it any more.
    pub obsolete: bool,
    /// To be removed at the next upgrade; never shipped.
    pub remove_on_upgrade: bool,
}

/// One package of a status database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusEntry {
    /// By the grammar of Debian policy: fit for an argument of apt.
    pub name: String,
    /// `all` or a machine's; empty in stanzas of old tools.
    pub architecture: String,
    /// By the grammar of Debian policy; empty where nothing is installed.
    pub version: String,
    /// What the administrator wants.
    pub want: Want,
    /// How far it is installed.
    pub state: State,
    /// Broken: has to be installed again before anything else.
    pub reinstreq: bool,
    /// The system does not work without it.
    pub essential: bool,
    /// As `essential`, for booting; apt's `Important: yes` is the same.
    pub protected: bool,
    /// `required`, `important`, `standard`, `optional` or `extra`; as written.
    pub priority: String,
    /// As written.
    pub section: String,
    /// The source package with its version in brackets where that differs; as written, `None` where both are equal.
    pub source: Option<String>,
    /// As the package estimates it, in KiB; 0 if it does not.
    pub installed_size_kib: u64,
    /// How it serves other architectures.
    pub multi_arch: MultiArch,
    /// Needed before unpacking.
    pub pre_depends: Vec<Group>,
    /// Needed before configuring.
    pub depends: Vec<Group>,
    /// Wanted by default.
    pub recommends: Vec<Group>,
    /// Names that it stands in for.
    pub provides: Vec<Provision>,
    /// Its configuration files.
    pub conffiles: Vec<Conffile>,
    /// Came as a dependency and may go with it (`Auto-Installed` in apt's `extended_states`).
    pub automatic: bool,
    /// The administrator keeps it at this version.
    pub held: bool,
}

impl StatusEntry {
    /// Whether its files are on the disk.
    pub fn is_installed(&self) -> bool {
        !matches!(self.state, State::NotInstalled | State::ConfigFiles | State::HalfInstalled)
    }

    /// Returns its identity.
    pub fn pin(&self) -> Pin {
        let StatusEntry { name, version, architecture, .. } = self;
        Pin { name: name.clone(), version: version.clone(), architecture: architecture.clone() }
    }

    /// Returns the package as all families have it; `native` is the machine's own architecture.
    pub fn package(&self, native: &str) -> Package {
        let Pin { name, version, architecture } = self.pin();
        Package {
            name,
            version,
            architecture,
            label: self.id(native),
            installed: self.is_installed(),
            broken: self.reinstreq,
            automatic: self.automatic,
            installed_bytes: self.installed_size_kib.saturating_mul(1024),
        }
    }

    /// The name as `dpkg-query` prints it (`${binary:Package}`): with the architecture where the name alone would
    /// be ambiguous or mean another one.
    pub fn id(&self, native: &str) -> String {
        let own = ["all", "", native].contains(&self.architecture.as_str());
        match own && (self.multi_arch != MultiArch::Same || self.architecture.is_empty()) {
            true => self.name.clone(),
            false => format!("{}:{}", self.name, self.architecture),
        }
    }

    /// `Pre-Depends` and `Depends`: everything that has to be there.
    pub fn needs(&self) -> impl Iterator<Item = &Group> {
        self.pre_depends.iter().chain(&self.depends)
    }
}

/// Whether `text` is a package name of Debian policy 5.6.1: `[a-z0-9][a-z0-9+.-]+`.
pub fn is_valid_name(text: &[u8]) -> bool {
    let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.len() >= 2
        && alphanumeric(&text[0])
        && text[1..].iter().all(|byte| alphanumeric(byte) || b"+.-".contains(byte))
}

fn is_valid_architecture(text: &[u8]) -> bool {
    let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.first().is_none_or(alphanumeric) && text.iter().all(|byte| alphanumeric(byte) || *byte == b'-')
}

/// The packages of a `status` file in its order, and what could not be read.
///
/// Of two stanzas for one name and architecture the later counts. A package
/// whose name, version or architecture could not safely be handed to apt is
/// left out.
pub fn parse_status(bytes: &[u8]) -> (Vec<StatusEntry>, Vec<Problem>) {
    parse(bytes, (Want::Unknown, false, State::NotInstalled))
}

/// The packages of a file in `status.d`, as images without dpkg have it: without a `Status` field they are installed.
pub fn parse_status_d(bytes: &[u8]) -> (Vec<StatusEntry>, Vec<Problem>) {
    parse(bytes, (Want::Install, false, State::Installed))
}

type Status = (Want, bool, State);

fn parse(bytes: &[u8], default: Status) -> (Vec<StatusEntry>, Vec<Problem>) {
    let (stanzas, mut problems) = deb822::parse(bytes);
    let mut packages: Vec<StatusEntry> = Vec::with_capacity(stanzas.len());
    let mut seen = std::collections::HashMap::new();
    for stanza in &stanzas {
        let Some(package) = read_package(stanza, default, &mut problems) else { continue };
        match seen.entry((package.name.clone(), package.architecture.clone())) {
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(packages.len());
                packages.push(package);
            }
            std::collections::hash_map::Entry::Occupied(entry) => {
                note(&mut problems, stanza.line(), "a package for the second time");
                packages[*entry.get()] = package;
            }
        }
    }
    problems.sort_by_key(|problem| problem.line);
    (packages, problems)
}

fn read_package(stanza: &Stanza<'_>, default: Status, problems: &mut Vec<Problem>) -> Option<StatusEntry> {
    let name = valid(stanza, "Package", is_valid_name, problems)?;
    let architecture = valid(stanza, "Architecture", is_valid_architecture, problems)?;
    let (want, reinstreq, state) = match stanza.get("Status") {
        None => {
            if default.2 == State::NotInstalled {
                note(problems, stanza.line(), "a package without Status counts as not installed");
            }
            default
        }
        Some(value) => read_status(value).or_else(|| {
            note(problems, stanza.line_of("Status"), "a status that dpkg does not know");
            None
        })?,
    };
    let needs_version = !matches!(state, State::NotInstalled | State::ConfigFiles);
    let is_version = |text: &[u8]| version::is_valid(text) || (text.is_empty() && !needs_version);
    let version = valid(stanza, "Version", is_version, problems)?;
    let yes = |field| stanza.get(field).is_some_and(|value| value.eq_ignore_ascii_case(b"yes"));
    let text = |field| String::from_utf8_lossy(stanza.get(field).unwrap_or_default()).into_owned();
    let size = text("Installed-Size").parse().unwrap_or(0);
    Some(StatusEntry {
        name,
        architecture,
        version,
        want,
        state,
        reinstreq,
        essential: yes("Essential"),
        protected: yes("Protected") || yes("Important"),
        priority: text("Priority"),
        section: text("Section"),
        source: stanza.get("Source").map(|_| text("Source")),
        installed_size_kib: size,
        multi_arch: read_multi_arch(stanza.get("Multi-Arch")),
        pre_depends: groups(stanza, "Pre-Depends", problems),
        depends: groups(stanza, "Depends", problems),
        recommends: groups(stanza, "Recommends", problems),
        provides: provides(stanza, problems),
        conffiles: conffiles(stanza, problems),
        automatic: false,
        held: want == Want::Hold,
    })
}

/// A field's value as text (empty if there is none), or a problem if it is not valid.
fn valid(
    stanza: &Stanza<'_>,
    field: &str,
    is_valid: impl Fn(&[u8]) -> bool,
    problems: &mut Vec<Problem>,
) -> Option<String> {
    let value = stanza.get(field).unwrap_or_default();
    let text = std::str::from_utf8(value).ok().filter(|_| is_valid(value));
    if text.is_none() {
        let what = if value.is_empty() { "is missing" } else { "is not valid" };
        note(problems, stanza.line_of(field), format!("{field} {what}; the package is left out"));
    }
    text.map(str::to_owned)
}

/// `want flag state`, with the words of old versions of dpkg.
fn read_status(value: &[u8]) -> Option<Status> {
    let mut words = value.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let want = match words.next()? {
        b"unknown" => Want::Unknown,
        b"install" => Want::Install,
        b"hold" => Want::Hold,
        b"deinstall" => Want::Deinstall,
        b"purge" => Want::Purge,
        _ => return None,
    };
    let (want, reinstreq) = match words.next()? {
        b"ok" => (want, false),
        b"reinstreq" => (want, true),
        b"hold" => (Want::Hold, false),
        b"hold-reinstreq" => (Want::Hold, true),
        _ => return None,
    };
    let state = match words.next()? {
        b"not-installed" => State::NotInstalled,
        b"config-files" => State::ConfigFiles,
        b"half-installed" | b"removal-failed" => State::HalfInstalled,
        b"unpacked" => State::Unpacked,
        b"half-configured" | b"postinst-failed" => State::HalfConfigured,
        b"triggers-awaited" => State::TriggersAwaited,
        b"triggers-pending" => State::TriggersPending,
        b"installed" => State::Installed,
        _ => return None,
    };
    words.next().is_none().then_some((want, reinstreq, state))
}

fn read_multi_arch(value: Option<&[u8]>) -> MultiArch {
    match value {
        Some(b"same") => MultiArch::Same,
        Some(b"foreign") => MultiArch::Foreign,
        Some(b"allowed") => MultiArch::Allowed,
        _ => MultiArch::No,
    }
}

fn groups(stanza: &Stanza<'_>, field: &str, problems: &mut Vec<Problem>) -> Vec<Group> {
    let (groups, damaged) = relation::parse_groups(stanza.get(field).unwrap_or_default());
    note_relations(stanza, field, damaged, problems);
    groups
}

fn provides(stanza: &Stanza<'_>, problems: &mut Vec<Problem>) -> Vec<Provision> {
    let (provides, damaged) = relation::parse_provides(stanza.get("Provides").unwrap_or_default());
    note_relations(stanza, "Provides", damaged, problems);
    provides
}

fn note_relations(stanza: &Stanza<'_>, field: &str, damaged: usize, problems: &mut Vec<Problem>) {
    if damaged > 0 {
        note(problems, stanza.line_of(field), format!("{field}: {damaged} relations are not readable"));
    }
}

/// `path digest [obsolete] [remove-on-upgrade]` a line. The path may hold spaces: the words are taken from the end.
fn conffiles(stanza: &Stanza<'_>, problems: &mut Vec<Problem>) -> Vec<Conffile> {
    let mut conffiles = Vec::new();
    for line in stanza.lines("Conffiles") {
        match read_conffile(line) {
            Some(conffile) => conffiles.push(conffile),
            None => note(problems, stanza.line_of("Conffiles"), "a line of Conffiles is not readable"),
        }
    }
    conffiles
}

fn read_conffile(line: &[u8]) -> Option<Conffile> {
    let (mut obsolete, mut remove_on_upgrade) = (false, false);
    let mut rest = line;
    loop {
        let space = memchr::memrchr(b' ', rest)?;
        let word = &rest[space + 1..];
        rest = deb822::trim(&rest[..space]);
        match word {
            b"obsolete" => obsolete = true,
            b"remove-on-upgrade" => remove_on_upgrade = true,
            _ => {
                let md5 = unhex(word);
                let path = rest.strip_prefix(b"/").filter(|_| md5.is_some() || word == b"newconffile")?;
                return Some(Conffile { path: path.into(), md5, obsolete, remove_on_upgrade });
            }
        }
    }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
