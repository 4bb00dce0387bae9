//! Determines which services need which withheld files: files that their configuration names, and
//! files in their directories.
//!
//! A file that no service names belongs to the service with the innermost directory around it, so
//! that no service asks for the secrets of another one.

use super::connections::{self, Need};
use super::data;
use super::draft::Draft;
use super::model::{Name, SecretFile};
use super::service_directories::{self, Others};
use super::service_files::{ServiceFiles, relative};
use crate::model::manifest::Verdict;
use crate::model::tree;
use crate::policy;
use std::collections::{BTreeMap, BTreeSet};

/// Symbolic links to files, by the absolute path of the file.
pub(super) type Links = BTreeMap<Vec<u8>, Vec<Vec<u8>>>;

/// Files that belong to version control, or that grant access to an account. No service reads them
/// to start.
const UNUSED: &[&str] = &[".git", ".hg", ".svn", ".bzr"];
const UNUSED_NAMES: &[&str] = &["authorized_keys", "known_hosts"];

/// Withheld files that services need.
#[derive(Debug, Default)]
pub(super) struct NeededSecrets {
    /// The files, by path.
    pub(super) files: Vec<SecretFile>,
    /// For each file, the indexes of the services that need it.
    users: Vec<BTreeSet<usize>>,
}

impl NeededSecrets {
    /// Determines the files that each service needs.
    pub(super) fn of(
        drafts: &[Draft<'_>],
        service_files: &ServiceFiles<'_>,
        links: &Links,
        live_data: &BTreeSet<Vec<u8>>,
        needs: &BTreeSet<Need>,
    ) -> Self {
        let mut needed = NeededSecrets::default();
        let mut withheld = service_files.with_verdict(Verdict::Withhold).peekable();
        if withheld.peek().is_none() {
            return needed;
        }
        let directories = Directories::of(drafts, service_files, live_data, needs);
        for (path, _) in withheld {
            // A withheld unit file becomes the container's definition, which needs no file.
            let is_unit = drafts
                .iter()
                .any(|draft| draft.candidate.sources.iter().any(|source| *source == relative(&path)));
            let Some(owner) = service_files.owner(&path).filter(|_| !is_unit) else { continue };
            let mut users: BTreeSet<usize> =
                (0..drafts.len()).filter(|&index| names_file(&drafts[index], &path, links)).collect();
            if is_used(&path, service_files) {
                users.extend(directories.users(relative(&path)));
            }
            if !users.is_empty() {
                let name = Name::from_bytes(relative(&path))
                    .make_unique(|name| needed.files.iter().any(|file| file.name == *name));
                needed.files.push(SecretFile { name, path, owner });
                needed.users.push(users);
            }
        }
        needed
    }

    /// Returns the indexes of the files that a service needs.
    pub(super) fn of_service(&self, index: usize) -> BTreeSet<usize> {
        let users = self.users.iter().enumerate();
        users.filter(|(_, users)| users.contains(&index)).map(|(file, _)| file).collect()
    }
}

/// Returns whether a service reads variables from a file, or names it in its configuration: the
/// file itself, or a symbolic link to it.
pub(super) fn names_file(draft: &Draft<'_>, path: &[u8], links: &Links) -> bool {
    let mut names = links.get(path).into_iter().flatten().map(Vec::as_slice).chain([path]);
    names.any(|name| {
        let reads = draft.run.script.environment_files().any(|file| file.path == name);
        reads || draft.texts.iter().any(|text| connections::holds_path(&text.content, name))
    })
}

/// Returns whether a service can use a file in one of its directories. A copy next to its original
/// is a backup.
fn is_used(path: &[u8], service_files: &ServiceFiles<'_>) -> bool {
    let is_unused = path.split(|&byte| byte == b'/').any(|component| {
        UNUSED.iter().any(|name| component == name.as_bytes())
            || UNUSED_NAMES.iter().any(|name| component.starts_with(name.as_bytes()))
    });
    !is_unused && !policy::originals(path).iter().any(|original| service_files.node(original).is_some())
}

/// Directories of all services, relative to the root.
struct Directories {
    /// Directories that belong to a service, and the services.
    own: BTreeMap<Vec<u8>, BTreeSet<usize>>,
    /// Directories of applications that a server's configuration names. They can belong to
    /// another service.
    named: BTreeMap<Vec<u8>, BTreeSet<usize>>,
}

impl Directories {
    fn of(
        drafts: &[Draft<'_>],
        service_files: &ServiceFiles<'_>,
        live_data: &BTreeSet<Vec<u8>>,
        needs: &BTreeSet<Need>,
    ) -> Self {
        let names: BTreeSet<&[u8]> = drafts.iter().flat_map(|draft| data::names(draft.candidate)).collect();
        let mut directories = Directories { own: BTreeMap::new(), named: BTreeMap::new() };
        for (index, draft) in drafts.iter().enumerate() {
            let own_names = data::names(draft.candidate);
            let others: Others<'_> = names.iter().copied().filter(|name| !own_names.contains(name)).collect();
            for path in service_directories::own(draft, service_files, &others, live_data) {
                directories.own.entry(path).or_default().insert(index);
            }
            let named = service_directories::of_applications(draft, service_files, &others);
            // The application server that a web server connects to runs the application.
            let connects = |server: &usize| {
                let is_open = needs.iter().any(|need| need.client == index && need.server == *server);
                is_open || service_directories::mentions(draft, &drafts[*server])
            };
            let servers = (0..drafts.len())
                .filter(|&server| service_directories::is_application_server(&drafts[server]));
            let users: BTreeSet<usize> = servers.filter(connects).chain([index]).collect();
            for path in named {
                directories.named.entry(path).or_default().extend(&users);
            }
        }
        directories
    }

    /// Returns the services of the innermost directory around a file.
    fn users(&self, path: &[u8]) -> BTreeSet<usize> {
        let around = || {
            std::iter::successors(Some(tree::parent(path)), |path| match path.is_empty() {
                true => None,
                false => Some(tree::parent(path)),
            })
        };
        let innermost = |directories: &BTreeMap<Vec<u8>, BTreeSet<usize>>| {
            around().find_map(|path| directories.get(path).cloned())
        };
        innermost(&self.own).or_else(|| innermost(&self.named)).unwrap_or_default()
    }
}
