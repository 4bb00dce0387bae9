//! The status database: one stanza per package (dpkg(1), deb-control(5), `lib/dpkg/parse.c`).

use super::deb822::{self, Stanza};
use super::relation::{self, Group, Provision};
use super::version;
use crate::model::digest::Md5;
use crate::model::escape::unhex;
use crate::model::problem::{Problem, note};
use crate::pkg::package::{Package, Pin};

/// The administrator's selection for a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// No selection.
    Unknown,
    /// Install.
    Install,
    /// Keep the installed version.
    Hold,
    /// Remove, but keep the configuration files.
    Deinstall,
    /// Remove together with the configuration files.
    Purge,
}

/// Progress of the installation of a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not installed.
    NotInstalled,
    /// Removed, except for its configuration files.
    ConfigFiles,
    /// Unpacking or removal was interrupted: any of its files may be missing.
    HalfInstalled,
    /// Unpacked, never configured.
    Unpacked,
    /// Configuration was interrupted.
    HalfConfigured,
    /// Waits for another package's trigger.
    TriggersAwaited,
    /// Has a trigger to run.
    TriggersPending,
    /// Unpacked and configured.
    Installed,
}

/// Use of a package by packages of other architectures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MultiArch {
    /// Satisfies only packages of its own architecture.
    No,
    /// Can be installed for several architectures at once.
    Same,
    /// Satisfies packages of every architecture.
    Foreign,
    /// Satisfies packages of every architecture if the dependency says `:any`.
    Allowed,
}

/// A configuration file that dpkg manages (deb-conffiles(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conffile {
    /// Path relative to the root.
    pub path: Box<[u8]>,
    /// Digest of the packaged content; `None` before the first configuration of the package.
    pub md5: Option<Md5>,
    /// Whether the installed version no longer ships it.
    pub obsolete: bool,
    /// Whether the next upgrade removes it; such a file is never shipped.
    pub remove_on_upgrade: bool,
}

/// One package of a status database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusEntry {
    /// Name by the grammar of Debian policy, so it is safe as an argument of apt.
    pub name: String,
    /// `all` or the architecture of a machine; empty in stanzas of old tools.
    pub architecture: String,
    /// Version by the grammar of Debian policy; empty if the package is not installed.
    pub version: String,
    /// Administrator's selection.
    pub want: Want,
    /// Progress of the installation.
    pub state: State,
    /// Whether it is broken and must be reinstalled first.
    pub reinstreq: bool,
    /// Whether the system does not work without it.
    pub essential: bool,
    /// Whether the system does not boot without it; apt's `Important: yes` has the same meaning.
    pub protected: bool,
    /// `required`, `important`, `standard`, `optional` or `extra`, as written.
    pub priority: String,
    /// Section, as written.
    pub section: String,
    /// Source package, as written, with its version in brackets if that differs; `None` if name
    /// and version are the same.
    pub source: Option<String>,
    /// Size in KiB, as the package states it; 0 if the package states none.
    pub installed_size_kib: u64,
    /// Use by packages of other architectures.
    pub multi_arch: MultiArch,
    /// Dependencies required before unpacking.
    pub pre_depends: Vec<Group>,
    /// Dependencies required before configuration.
    pub depends: Vec<Group>,
    /// Dependencies installed by default.
    pub recommends: Vec<Group>,
    /// Provided names.
    pub provides: Vec<Provision>,
    /// Configuration files that dpkg manages.
    pub conffiles: Vec<Conffile>,
    /// Whether it was installed as a dependency (`Auto-Installed` in apt's `extended_states`).
    pub automatic: bool,
    /// Whether the administrator holds it at this version.
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

    /// Returns the name as `dpkg-query` prints it (`${binary:Package}`), with the architecture if
    /// the name alone would be ambiguous or mean another package.
    pub fn id(&self, native: &str) -> String {
        let own = ["all", "", native].contains(&self.architecture.as_str());
        match own && (self.multi_arch != MultiArch::Same || self.architecture.is_empty()) {
            true => self.name.clone(),
            false => format!("{}:{}", self.name, self.architecture),
        }
    }

    /// Returns the relations of `Pre-Depends` and `Depends`.
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

/// Parses the packages of a `status` file in its order. Returns them with the problems.
///
/// If two stanzas have the same name and architecture, the later one is used. A package is
/// ignored if its name, version or architecture is not safe as an argument of apt.
pub fn parse_status(bytes: &[u8]) -> (Vec<StatusEntry>, Vec<Problem>) {
    parse(bytes, (Want::Unknown, false, State::NotInstalled))
}

/// Parses the packages of a file in `status.d`, which images without dpkg have. A package without
/// a `Status` field counts as installed.
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
                note(&mut problems, stanza.line(), "duplicate package");
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
                note(problems, stanza.line(), "no Status field; package counts as not installed");
            }
            default
        }
        Some(value) => read_status(value).or_else(|| {
            note(problems, stanza.line_of("Status"), "unknown status");
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

/// Returns a field's value as text (empty if there is none), or a problem if it is not valid.
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
        note(problems, stanza.line_of(field), format!("{field} {what}; package ignored"));
    }
    text.map(str::to_owned)
}

/// Parses `want flag state`, including the words of old versions of dpkg.
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
        note(problems, stanza.line_of(field), format!("{field}: {damaged} invalid relations"));
    }
}

/// Parses `path digest [obsolete] [remove-on-upgrade]` lines. The path may contain spaces, so the
/// words are split off from the end.
fn conffiles(stanza: &Stanza<'_>, problems: &mut Vec<Problem>) -> Vec<Conffile> {
    let mut conffiles = Vec::new();
    for line in stanza.lines("Conffiles") {
        match read_conffile(line) {
            Some(conffile) => conffiles.push(conffile),
            None => note(problems, stanza.line_of("Conffiles"), "invalid line in Conffiles"),
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
