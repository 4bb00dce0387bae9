//! Maintainer scripts as bytes: the paths and contents in a package's `preinst` and `postinst`.
//! They are never run.

use crate::model::{escape, tree};
use crate::pkg::provenance::Provenance;
use crate::pkg::provenance::input::ProvenanceInput;
use memchr::memmem;
use std::collections::HashMap;

/// Maximum bytes of scripts that are read; those of 1000 packages have 2 MB.
const MOST_BYTES: usize = 64 << 20;
/// Minimum length in bytes of content in a script that cannot be a coincidence.
const LONG: usize = 64;

/// Scripts of the installed packages.
#[derive(Debug, Default)]
pub(super) struct Scripts {
    /// Label of the package, and text.
    texts: Vec<(String, Vec<u8>)>,
}

impl Scripts {
    pub(super) fn load(machine: &ProvenanceInput<'_>) -> Self {
        let mut scripts = Scripts::default();
        let mut bytes = 0;
        for found in machine.beneath("var/lib/dpkg/info") {
            let path = &*found.node.path;
            let name = tree::file_name(path);
            let Some(package) = name.strip_suffix(b".postinst").or_else(|| name.strip_suffix(b".preinst"))
            else {
                continue;
            };
            bytes += usize::try_from(found.node.size()).unwrap_or(usize::MAX).min(MOST_BYTES);
            if bytes > MOST_BYTES {
                break;
            }
            if let Ok(text) = machine.root.read(path) {
                scripts.texts.push((escape::escape(package), text));
            }
        }
        scripts
    }

    /// Returns the package of a script.
    pub(super) fn package(&self, script: usize) -> String {
        self.texts[script].0.clone()
    }

    /// Returns the indexes of the paths that scripts name, each with the index of the first such
    /// script.
    pub(super) fn mentions(&self, machine: &ProvenanceInput<'_>) -> HashMap<usize, usize> {
        let mut mentions = HashMap::new();
        for (script, (package, text)) in self.texts.iter().enumerate() {
            for path in paths(text, package == "base-files") {
                if let Ok(index) = machine.found.binary_search_by(|found| (*found.node.path).cmp(path)) {
                    mentions.entry(index).or_insert(script);
                }
            }
        }
        mentions
    }

    /// Returns the provenance of a link that a script names with its target.
    pub(super) fn linked(&self, script: usize, target: &[u8]) -> Option<Provenance> {
        let (package, text) = &self.texts[script];
        let has_target = !target.is_empty() && memmem::find(text, target).is_some();
        if has_target { Provenance::created(Some(package.clone()), "postinst") } else { None }
    }

    /// Returns the package whose script contains a content: all of it in one part or, in the
    /// script that names the file, each line.
    pub(super) fn writing(&self, content: &[u8], naming: Option<usize>) -> Option<String> {
        let lines =
            || content.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
        if let Some(script) = naming
            && lines().all(|line| memmem::find(&self.texts[script].1, line).is_some())
        {
            return Some(self.package(script));
        }
        if content.len() < LONG {
            return None;
        }
        let finder = memmem::Finder::new(content);
        self.texts.iter().find(|(_, text)| finder.find(text).is_some()).map(|(package, _)| package.clone())
    }
}

/// Returns the words of a shell script that look like absolute paths, without the first slash.
/// With `words`, it returns any word, because base-files creates the top directories by names
/// without a slash.
fn paths(text: &[u8], words: bool) -> impl Iterator<Item = &[u8]> {
    let is_path = |byte: u8| byte.is_ascii_alphanumeric() || b"/._+@:-".contains(&byte);
    let runs = text.split(move |&byte| !is_path(byte)).filter(|run| !run.is_empty());
    runs.flat_map(move |run| {
        // `"$DPKG_ROOT/etc/environment"`
        let absolute = memchr::memchr(b'/', run).map(|slash| &run[slash + 1..]);
        let word = Some(run).filter(|_| words);
        let paths = absolute.into_iter().chain(word);
        paths.map(|path| path.strip_suffix(b"/").unwrap_or(path)).filter(|path| !path.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_shell_text_returns_paths() {
        for (text, words, expected) in [
            ("touch \"$DPKG_ROOT\"/etc/environment", false, &["etc/environment"][..]),
            ("touch \"$DPKG_ROOT/etc/environment\"", false, &["etc/environment"]),
            ("for d in /var/lib/redis/ /var/log/redis; do", false, &["var/lib/redis", "var/log/redis"]),
            ("install_directory etc/opt 755", true, &["install_directory", "opt", "etc/opt", "755"]),
            ("a / b", false, &[]),
            ("", true, &[]),
        ] {
            let found: Vec<&str> =
                paths(text.as_bytes(), words).map(|path| std::str::from_utf8(path).unwrap()).collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn writing_content_of_script_returns_its_package() {
        let netbase =
            b"cat > /etc/networks <<-EOF\n\tdefault\t\t0.0.0.0\n\tloopback\t127.0.0.0\n\nEOF\n".to_vec();
        let long = format!(
            "cat <<EOF\n{}\nEOF\n",
            "# a long comment of a file that is written as it stands\nsetting = yes"
        )
        .into_bytes();
        let scripts = Scripts { texts: vec![("netbase".into(), netbase), ("other".into(), long)] };
        let networks = b"default\t\t0.0.0.0\nloopback\t127.0.0.0\n\n";
        assert_eq!(scripts.writing(networks, Some(0)).as_deref(), Some("netbase"));
        assert_eq!(scripts.writing(networks, None), None);
        assert_eq!(scripts.writing(b"default\t\t10.0.0.0\n", Some(0)), None);
        let content = b"# a long comment of a file that is written as it stands\nsetting = yes\n";
        assert_eq!(scripts.writing(content, None).as_deref(), Some("other"));
        assert_eq!(
            scripts.writing(b"", Some(1)).as_deref(),
            Some("other"),
            "an empty file that a script names"
        );
        assert!(scripts.linked(0, b"/etc/none").is_none() && scripts.linked(0, b"").is_none());
    }
}
