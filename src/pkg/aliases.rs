//! The merged `/usr`: `bin/ls` and `usr/bin/ls` are one file there, and dpkg's databases use both
//! names.

use crate::system::root::Root;
use std::borrow::Cow;

/// The top-level links `bin`, `sbin`, `lib` and `lib*` into `usr`, with their targets.
///
/// Other links are local changes: the comparison reports them, and paths through them are not
/// mapped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Aliases(Vec<Alias>);

/// Name in the root, and target.
type Alias = (Box<[u8]>, Box<[u8]>);

impl Aliases {
    /// Returns the aliases of a root. A root directory that cannot be read has none.
    pub fn read(root: &Root) -> Self {
        let names = root.list(b"").unwrap_or_default();
        Self::from_links(names.into_iter().filter_map(|name| root.read_link(&name).ok().map(|to| (name, to))))
    }

    /// Returns the aliases among these links: name in the root, and target as written.
    pub fn from_links<A: AsRef<[u8]>, B: AsRef<[u8]>>(links: impl IntoIterator<Item = (A, B)>) -> Self {
        let alias = |(name, target): (A, B)| {
            let name = name.as_ref();
            let target = normal(target.as_ref())?;
            let system =
                matches!(name, b"bin" | b"sbin") || (name.starts_with(b"lib") && !name.contains(&b'/'));
            (system && target.starts_with(b"usr/")).then(|| (name.into(), target.into()))
        };
        Aliases(links.into_iter().filter_map(alias).collect())
    }

    /// Returns the path (relative to the root) under its name in the walked tree. An alias itself
    /// is a link and keeps its name.
    pub fn canonical<'a>(&self, path: &'a [u8]) -> Cow<'a, [u8]> {
        let Some(slash) = memchr::memchr(b'/', path) else { return Cow::Borrowed(path) };
        match self.0.iter().find(|(name, _)| **name == path[..slash]) {
            Some((_, target)) => Cow::Owned([target, &path[slash..]].concat()),
            None => Cow::Borrowed(path),
        }
    }

    /// Returns names and targets.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(name, target)| (&**name, &**target))
    }
}

/// Returns a path as the tree writes it: no leading slash, no empty or `.` component. `None` if
/// it contains `..`, because no package ships such a path.
pub(crate) fn normal(path: &[u8]) -> Option<Cow<'_, [u8]>> {
    let path = path.strip_prefix(b"/").unwrap_or(path);
    let odd = |component: &[u8]| matches!(component, b"" | b"." | b"..");
    if path.is_empty() || !path.split(|&byte| byte == b'/').any(odd) {
        return Some(Cow::Borrowed(path));
    }
    let mut clean = Vec::with_capacity(path.len());
    for component in path.split(|&byte| byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => return None,
            _ => {
                if !clean.is_empty() {
                    clean.push(b'/');
                }
                clean.extend_from_slice(component);
            }
        }
    }
    Some(Cow::Owned(clean))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_links_other_than_merged_usr_keep_paths() {
        let aliases = Aliases::from_links([
            ("bin", "usr/bin"),
            ("lib", "/usr/lib/"),
            ("sbin", "./usr/bin"),
            ("lib64", "../usr/lib64"),
            ("srv", "usr/srv"),
            ("library", "data/library"),
        ]);
        for (path, expected) in [
            ("bin/ls", "usr/bin/ls"),
            ("bin", "bin"),
            ("lib/x/y", "usr/lib/x/y"),
            ("libx/y", "libx/y"),
            ("sbin/init", "usr/bin/init"),
            ("lib64/ld.so", "lib64/ld.so"),
            ("srv/a", "srv/a"),
            ("library/a", "library/a"),
            ("usr/bin/ls", "usr/bin/ls"),
            ("", ""),
        ] {
            assert_eq!(&*aliases.canonical(path.as_bytes()), expected.as_bytes(), "{path}");
        }
    }

    #[test]
    fn normal_dots_and_slashes_are_removed_and_parents_rejected() {
        for (path, expected) in [
            ("/.", Some("")),
            ("/", Some("")),
            ("/usr/bin/ls", Some("usr/bin/ls")),
            ("./usr//bin/./ls/", Some("usr/bin/ls")),
            ("/..a/b..", Some("..a/b..")),
            ("/usr/../etc", None),
        ] {
            assert_eq!(normal(path.as_bytes()).as_deref(), expected.map(str::as_bytes), "{path}");
        }
    }
}
