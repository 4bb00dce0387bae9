//! Determines the directories of a service: configuration, state and code.

use super::data;
use super::draft::Draft;
use super::service_files::{ServiceFiles, configuration_directory, relative};
use crate::detect::units::exec::Word;
use crate::detect::units::exec_settings::DirectoryKind;
use crate::model::tree::{self, Kind};
use crate::pkg::PackageId;
use memchr::memmem;
use std::collections::BTreeSet;

/// Names of the other services: of their units and executables.
pub(super) type Others<'a> = BTreeSet<&'a [u8]>;

/// Directories with a subdirectory for each application (file-hierarchy(7), hier(7)).
const APPLICATION_ROOTS: &[&str] =
    &["opt", "root", "srv", "usr/local/lib", "usr/local/share", "usr/share", "var/lib", "var/opt", "var/www"];
/// Directories of the operating system. An application can have any other directory of the root.
const SYSTEM_ROOTS: &[&str] = &[
    "bin", "boot", "dev", "etc", "home", "lib", "lib32", "lib64", "media", "mnt", "proc", "root", "run",
    "sbin", "sys", "tmp", "usr", "var",
];
/// Names of directories that only group applications.
const GROUPS: &[&str] = &["apps", "data", "http", "services", "sites", "vhosts", "web", "www"];
/// Web servers: their configuration names the directories of the applications that they run.
const WEB_SERVERS: &[&str] = &["apache2", "caddy", "httpd", "lighttpd", "nginx"];
/// Servers that run applications for web servers.
const APPLICATION_SERVERS: &[&str] = &["php-fpm", "uwsgi", "fcgiwrap"];

/// Returns the directories that belong to the service, relative to the root.
pub(super) fn own(
    draft: &Draft<'_>,
    service_files: &ServiceFiles<'_>,
    others: &Others<'_>,
    live_data: &BTreeSet<Vec<u8>>,
) -> BTreeSet<Vec<u8>> {
    let candidate = draft.candidate;
    let mut directories = BTreeSet::new();
    for name in data::names(candidate) {
        directories.extend(["etc/", "var/lib/"].map(|place| [place.as_bytes(), name].concat()));
    }
    let settings = candidate.service.iter().map(|service| &service.settings);
    let configured = settings.flat_map(|settings| &settings.directories);
    let configured = configured.filter(|directory| directory.kind == DirectoryKind::Configuration);
    directories.extend(configured.map(|directory| directory.path.clone()));
    let state = data::directories(candidate, service_files, live_data, others);
    directories.extend(state.iter().map(|path| relative(path).to_vec()));
    let mut shared = of_packages(&data::packages(candidate, service_files), service_files);
    let code = paths(draft).into_iter().filter(|path| service_files.packages(path).is_empty());
    for path in code {
        let parent = tree::parent(relative(&path));
        shared.extend(configuration_directory(relative(&path)).map(|_| parent.to_vec()));
        let application = application_directory(&path, service_files);
        if runs_code(draft, service_files) { &mut directories } else { &mut shared }.extend(application);
    }
    // These can be directories of another service, from which the service only reads.
    shared.retain(|path| !others.contains(tree::file_name(path)));
    directories.extend(shared);
    directories.retain(|path| service_files.node(path).is_some_and(|node| node.kind == Kind::Directory));
    directories
}

/// Whether the service's executable is local, or an interpreter of local code. Arguments of others,
/// such as backup programs, name the data of any service.
fn runs_code(draft: &Draft<'_>, service_files: &ServiceFiles<'_>) -> bool {
    let running = draft.candidate.main().and_then(|process| process.exe.as_ref()).map(|exe| &*exe.path);
    let configured = draft.candidate.service.iter().flat_map(|service| &service.exec_start);
    let program = running.or(configured.map(|exec| &*exec.program).next()).unwrap_or_default();
    data::is_interpreter(tree::file_name(program)) || service_files.packages(program).is_empty()
}

/// Returns the directories of the applications that a web server runs: those that its configuration
/// names, and those of their packages.
pub(super) fn of_applications(
    draft: &Draft<'_>,
    service_files: &ServiceFiles<'_>,
    others: &Others<'_>,
) -> BTreeSet<Vec<u8>> {
    let mut directories = BTreeSet::new();
    if !is_program(draft, WEB_SERVERS) && !is_application_server(draft) {
        return directories;
    }
    let is_end = |byte: u8| byte.is_ascii_whitespace() || b"\"'`;,:(){}<>=".contains(&byte);
    for text in &draft.texts {
        let words = text.content.split(|&byte| is_end(byte)).filter(|word| word.starts_with(b"/"));
        directories.extend(words.filter_map(|word| application_directory(word, service_files)));
    }
    // A directory of several packages belongs to none of them.
    directories.retain(|path| service_files.packages(path).len() <= 1);
    let packages: BTreeSet<PackageId> =
        directories.iter().flat_map(|path| service_files.packages(path)).copied().collect();
    directories.extend(of_packages(&packages, service_files));
    directories.retain(|path| !others.contains(tree::file_name(path)));
    directories
}

/// Whether the service runs applications for a web server.
pub(super) fn is_application_server(draft: &Draft<'_>) -> bool {
    is_program(draft, APPLICATION_SERVERS)
}

/// Whether the configuration of a service contains a name of another one, such as that of its
/// socket.
pub(super) fn mentions(draft: &Draft<'_>, other: &Draft<'_>) -> bool {
    let names = data::names(other.candidate);
    draft.texts.iter().any(|text| names.iter().any(|name| memmem::find(&text.content, name).is_some()))
}

fn is_program(draft: &Draft<'_>, names: &[&str]) -> bool {
    // Debian's names have a version: php-fpm8.2, and php8.2-fpm of the unit.
    let without_version = |name: &[u8]| -> Vec<u8> {
        name.iter().copied().filter(|byte| !byte.is_ascii_digit() && *byte != b'.').collect()
    };
    let own: Vec<Vec<u8>> = data::names(draft.candidate).into_iter().map(without_version).collect();
    names.iter().any(|name| {
        let stem = without_version(name.as_bytes());
        data::names(draft.candidate).contains(name.as_bytes()) || own.contains(&stem)
    })
}

/// Returns the configuration and data directories of packages.
fn of_packages(packages: &BTreeSet<PackageId>, service_files: &ServiceFiles<'_>) -> BTreeSet<Vec<u8>> {
    let mut directories = service_files.configuration_directories(packages);
    if let Some(planned) = service_files.input.packages.filter(|_| !packages.is_empty()) {
        let own = planned.catalog.owned.iter().filter(|(_, owned)| match owned.packages {
            [package] => packages.contains(package),
            _ => false,
        });
        directories.extend(own.filter_map(|(path, _)| data::data_directory(path)).map(<[u8]>::to_vec));
    }
    directories
}

/// Returns the absolute paths that start the service: executables, arguments, working directory,
/// environment files.
fn paths(draft: &Draft<'_>) -> BTreeSet<Vec<u8>> {
    let candidate = draft.candidate;
    let commands = candidate.service.iter().flat_map(|service| {
        service.exec_start_pre.iter().chain(&service.exec_start).chain(&service.exec_start_post)
    });
    let words = commands.flat_map(|exec| {
        exec.words.iter().filter_map(Word::literal).chain([exec.program.clone()]).collect::<Vec<_>>()
    });
    let main = candidate.main();
    let arguments = main.into_iter().flat_map(|process| process.argv.iter().map(<[u8]>::to_vec));
    let run = &draft.run;
    let directories = run.directory.iter().chain(&run.script.directory).cloned();
    let files = run.environment_paths.iter().cloned();
    let all = words.chain(arguments).chain(directories).chain(files);
    // `--config=/srv/app/config`
    let paths = all.filter_map(|word| {
        let value = memchr::memchr(b'=', &word).map_or(0, |at| at + 1);
        Some(word[if word.starts_with(b"/") { 0 } else { value }..].to_vec())
            .filter(|path| path.starts_with(b"/"))
    });
    paths.collect()
}

/// Returns the directory of the application that contains an absolute path: `srv/shop` for
/// `/srv/shop/public/index.php`. Follows symbolic links.
fn application_directory(path: &[u8], service_files: &ServiceFiles<'_>) -> Option<Vec<u8>> {
    let tree = service_files.input.tree;
    let real = tree.resolve(relative(path)).map(|index| &*tree.found[index].node.path);
    let is_directory =
        |path: &[u8]| service_files.node(path).is_some_and(|node| node.kind == Kind::Directory);
    application(real.unwrap_or(relative(path)), &is_directory).map(<[u8]>::to_vec)
}

/// Returns the part of a relative path that is the application's directory, by its names.
fn application<'p>(path: &'p [u8], is_directory: &dyn Fn(&[u8]) -> bool) -> Option<&'p [u8]> {
    let components: Vec<&[u8]> = path.split(|&byte| byte == b'/').collect();
    let first_components = |count: usize| {
        let length = components.iter().take(count).map(|component| component.len() + 1).sum::<usize>();
        path.get(..length - 1).filter(|_| count <= components.len())
    };
    let root = APPLICATION_ROOTS.iter().find(|root| tree::is_within(path, root.as_bytes()));
    let mut count = match root {
        Some(root) => root.split('/').count() + 1,
        None if components[0] == b"home" => 3,
        None if SYSTEM_ROOTS.iter().any(|root| components[0] == root.as_bytes()) => return None,
        None => 1,
    };
    let is_group = |name: &&[u8]| GROUPS.iter().any(|group| *name == group.as_bytes());
    while components.get(count - 1).is_some_and(is_group)
        && first_components(count + 1).is_some_and(is_directory)
    {
        count += 1;
    }
    let directory = first_components(count).filter(|path| is_directory(path))?;
    // A home has hidden directories that are not of one application.
    let name = tree::file_name(directory);
    (!name.is_empty() && !name.starts_with(b".")).then_some(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn application_each_place_returns_the_directory_of_one_application() {
        for (path, expected) in [
            ("srv/shop/public/index.php", Some("srv/shop")),
            ("srv/shop", Some("srv/shop")),
            ("srv/www/site1/htdocs", Some("srv/www/site1")),
            ("srv/www", Some("srv/www")),
            ("srv", None),
            ("var/www/html", Some("var/www/html")),
            ("var/www/app/public", Some("var/www/app")),
            ("usr/share/phpmyadmin/x.php", Some("usr/share/phpmyadmin")),
            ("usr/bin/python3", None),
            ("etc/ssl/private/x.key", None),
            ("home/eve/app/run.py", Some("home/eve/app")),
            ("home/eve", None),
            ("home/eve/.local/bin/app", None),
            ("srv/www/index.html", Some("srv/www")),
            ("srv/run.sh", None),
            ("root/app/x", Some("root/app")),
            ("app/server.py", Some("app")),
            ("data/shop/server", Some("data/shop")),
            ("", None),
        ] {
            let found = application(path.as_bytes(), &|path| !path.contains(&b'.'))
                .map(|found| std::str::from_utf8(found).unwrap());
            assert_eq!(found, expected, "{path}");
        }
    }
}
