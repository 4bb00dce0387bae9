//! PHP: Composer's `vendor` directory.

use super::{Records, record, written};
use crate::model::tree;
use crate::system::root::Root;
use serde::Deserialize;

#[derive(Deserialize)]
struct Installed {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    #[serde(rename = "install-path")]
    path: Option<String>,
    /// Where Composer counts installations of public packages.
    #[serde(rename = "notification-url")]
    notified: Option<String>,
}

/// Returns the directories of packages.
pub fn places(path: &[u8]) -> Vec<usize> {
    super::named(path, b"vendor")
}

/// Reads the list of installed packages, which Composer writes last.
pub fn read(root: &Root, directory: &[u8]) -> Records {
    let list = tree::join(directory, b"composer/installed.json");
    let Some((content, time)) = record(root, &list).zip(written(root, &list)) else {
        return Records::default();
    };
    let listed = parse_installed(&content).into_iter().map(|path| (path, time));
    Records { listed: listed.collect(), ..Records::default() }
}

/// Parses `installed.json` of Composer 2. Returns the directories of the packages from
/// packagist.org, relative to `vendor`. Packages from other sources have no such notification URL.
pub fn parse_installed(text: &[u8]) -> Vec<Box<[u8]>> {
    let Ok(installed) = serde_json::from_slice::<Installed>(text) else { return Vec::new() };
    let directory = |package: Package| {
        let is_public = package.notified?.starts_with("https://packagist.org/");
        let path = match package.path {
            Some(path) => path.strip_prefix("../")?.to_owned(),
            None => package.name,
        };
        let is_below = path.split('/').all(|part| !matches!(part, "" | "." | ".."));
        (is_public && is_below).then(|| path.into_bytes().into_boxed_slice())
    };
    installed.packages.into_iter().filter_map(directory).collect()
}
