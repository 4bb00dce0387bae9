//! dpkg's `path-exclude` and `path-include`: packaged paths that an installation leaves out
//! (dpkg(1), dpkg.cfg(5)).

use super::deb822::trim;
use crate::glob::{Dialect, Glob};
use crate::model::findings::{self, Findings};
use crate::system::root::Root;
use std::io::ErrorKind::NotFound;

/// Patterns in dpkg's order; the last match decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathFilters(Vec<Filter>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Filter {
    include: bool,
    /// Literal beginning of the pattern.
    fixed: Box<[u8]>,
    pattern: Glob,
}

impl PathFilters {
    /// Reads the filters of a root: `etc/dpkg/dpkg.cfg.d` by name, then `etc/dpkg/dpkg.cfg`. A
    /// file that cannot be read is a loss.
    pub fn load(root: &Root, findings: &mut Findings) -> Self {
        let mut filters = Self::default();
        let mut paths = vec![b"etc/dpkg/dpkg.cfg".to_vec()];
        match root.list(b"etc/dpkg/dpkg.cfg.d") {
            Ok(names) => {
                let names = names.iter().filter(|name| is_config_name(name));
                paths.splice(..0, names.map(|name| [b"etc/dpkg/dpkg.cfg.d/".as_slice(), name].concat()));
            }
            Err(error) if error.kind() == NotFound => {}
            Err(error) => {
                findings.loss(findings::Kind::Unreadable, b"etc/dpkg/dpkg.cfg.d", error.to_string())
            }
        }
        for path in paths {
            match root.read(&path) {
                Ok(bytes) => filters.add(&bytes),
                Err(error) if error.kind() == NotFound => {}
                Err(error) => findings.loss(findings::Kind::Unreadable, &path, error.to_string()),
            }
        }
        filters
    }

    /// Appends the filters of one configuration file.
    pub fn add(&mut self, bytes: &[u8]) {
        self.0.extend(bytes.split(|&byte| byte == b'\n').filter_map(read_line));
    }

    /// Whether there are no filters.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an installation leaves out the regular file at `path` (relative to the root).
    pub fn excludes(&self, path: &[u8]) -> bool {
        self.excludes_object(path, false)
    }

    /// Whether an installation leaves out the object at `path`. Directories and symbolic links
    /// are kept if a later include might need them.
    pub fn excludes_object(&self, path: &[u8], directory_or_link: bool) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let path = [b"/", path].concat();
        let last = self.0.iter().rev().find(|filter| filter.pattern.matches(&path));
        let excluded = last.is_some_and(|filter| !filter.include);
        excluded
            && !(directory_or_link
                && self.0.iter().any(|filter| filter.include && filter.may_be_below(&path)))
    }
}

impl Filter {
    /// Whether paths that the pattern matches may be below `path`, by dpkg's own test.
    fn may_be_below(&self, path: &[u8]) -> bool {
        // Newer versions of dpkg also keep the directory that the literal beginning names.
        path.starts_with(self.fixed.strip_suffix(b"/").unwrap_or(&self.fixed))
    }
}

/// Whether dpkg reads a file of this name in its configuration directory.
fn is_config_name(name: &[u8]) -> bool {
    name.iter().all(|&byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// Parses `path-exclude=PATTERN`; white space may replace the `=`, and quotes around the pattern
/// are removed.
fn read_line(line: &[u8]) -> Option<Filter> {
    let line = line.trim_ascii_end();
    let (include, rest) = match line.strip_prefix(b"path-exclude") {
        Some(rest) => (false, rest),
        None => (true, line.strip_prefix(b"path-include")?),
    };
    let (first, mut value) = rest.split_first()?;
    if first.is_ascii_whitespace() {
        value = value.strip_prefix(b"=").unwrap_or(value);
    } else if *first != b'=' {
        return None;
    }
    value = trim(value);
    if let [open @ (b'"' | b'\''), inner @ .., close] = value
        && open == close
    {
        value = inner;
    }
    let fixed = value.iter().position(|byte| b"*?[\\".contains(byte)).unwrap_or(value.len());
    Some(Filter { include, fixed: value[..fixed].into(), pattern: Glob::new(value, Dialect::Fnmatch) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(text: &str) -> PathFilters {
        let mut filters = PathFilters::default();
        filters.add(text.as_bytes());
        filters
    }

    #[test]
    fn excludes_several_matches_last_one_decides() {
        let minimal = filters(
            "# Drop all man pages\npath-exclude=/usr/share/man/*\nforce-unsafe-io\n\
             path-exclude /usr/share/doc/*\npath-include=\"/usr/share/doc/*/copyright\"\n\
             path-exclude = /usr/share/locale/*\npath-excluded=/x\npath-include=/usr/share/locale/en*\r\n",
        );
        for (path, expected) in [
            ("usr/share/man/man1/ls.1.gz", true),
            ("usr/share/doc/bash/README", true),
            ("usr/share/doc/bash/copyright", false),
            ("usr/share/locale/de/LC_MESSAGES/a.mo", true),
            ("usr/share/locale/en_GB/a.mo", false),
            ("usr/bin/ls", false),
            ("x", false),
        ] {
            assert_eq!(minimal.excludes(path.as_bytes()), expected, "{path}");
        }
        assert!(minimal.excludes(b"usr/share/doc/bash"));
        assert!(!minimal.excludes_object(b"usr/share/doc/bash", true));
        assert!(minimal.excludes_object(b"usr/share/man/man1", true));
        assert!(!filters("").excludes(b"a"));
    }

    #[test]
    fn load_directory_precedes_file_and_invalid_names_are_skipped() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("etc/dpkg/dpkg.cfg.d")).unwrap();
        for (name, text) in [
            ("dpkg.cfg", "path-include=/b"),
            ("dpkg.cfg.d/10-a", "path-exclude=/*"),
            ("dpkg.cfg.d/20_b", "path-include=/a"),
            ("dpkg.cfg.d/30.dpkg-old", "path-exclude=/a"),
        ] {
            std::fs::write(dir.path().join("etc/dpkg").join(name), text).unwrap();
        }
        let mut findings = Findings::default();
        let filters = PathFilters::load(&Root::open(dir.path()).unwrap(), &mut findings);
        assert_eq!(
            [filters.excludes(b"a"), filters.excludes(b"b"), filters.excludes(b"c")],
            [false, false, true]
        );
        assert_eq!(findings, Findings::default());
    }
}
