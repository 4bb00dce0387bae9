//! Variables of repository files: `$releasever`, `$basearch`, and files below `vars`.

use crate::system::root::Root;
use std::collections::BTreeMap;

/// Directories of variables: the file name is the variable, its first line the value. Later ones
/// win.
const DIRECTORIES: [&[u8]; 3] = [b"etc/zypp/vars.d", b"etc/yum/vars", b"etc/dnf/vars"];
/// Maximum length of a text in which variables were replaced.
const MAX_LENGTH: usize = 8 << 10;

/// Values by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::pkg::rpm) struct Variables(BTreeMap<String, String>);

impl Variables {
    /// Returns the variables of a machine with this architecture of packages. `release` is the
    /// value of `$releasever` that the packages determine.
    pub fn load(root: &Root, architecture: &str, release: Option<String>) -> Self {
        let mut values = BTreeMap::from([
            ("arch".to_owned(), architecture.to_owned()),
            ("basearch".to_owned(), base_architecture(architecture).to_owned()),
        ]);
        if let Some(release) = release {
            let (major, minor) = release.split_once('.').unwrap_or((&release, ""));
            values.insert("releasever_major".to_owned(), major.to_owned());
            values.insert("releasever_minor".to_owned(), minor.to_owned());
            values.insert("releasever".to_owned(), release);
        }
        for directory in DIRECTORIES {
            for name in root.list(directory).unwrap_or_default() {
                let content = root.read(&[directory, b"/", &name[..]].concat()).unwrap_or_default();
                let line = content.split(|&byte| byte == b'\n').next().unwrap_or_default().trim_ascii();
                if let (Ok(name), Ok(line)) = (String::from_utf8(name), std::str::from_utf8(line)) {
                    values.insert(name.to_ascii_lowercase(), line.to_owned());
                }
            }
        }
        Variables(values)
    }

    /// Returns these variables.
    #[cfg(test)]
    pub fn of<const N: usize>(values: [(&str, &str); N]) -> Self {
        Variables(values.map(|(name, value)| (name.to_owned(), value.to_owned())).into())
    }

    /// Returns the value of a variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Replaces `$name`, `${name}`, `${name:-default}` and `${name:+alternative}` (dnf5). The error
    /// names an unknown variable.
    pub fn replace(&self, text: &str) -> Result<String, String> {
        let mut replaced = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            replaced.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            let braced = rest.strip_prefix('{').and_then(|inner| inner.split_once('}'));
            let (name, after) = braced.unwrap_or_else(|| {
                let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
                rest.split_at(rest.find(|c| !is_name(c)).unwrap_or(rest.len()))
            });
            let (name, default) =
                name.split_once(":-").map_or((name, None), |(name, text)| (name, Some(text)));
            let (name, other) = name.split_once(":+").map_or((name, None), |(name, text)| (name, Some(text)));
            let value = self.0.get(&name.to_ascii_lowercase()).map(String::as_str);
            replaced.push_str(match (value.filter(|value| !value.is_empty()), other, default) {
                (Some(_), Some(other), _) => other,
                (None, Some(_), _) => "",
                (Some(value), None, _) => value,
                (None, None, Some(default)) => default,
                (None, None, None) if value.is_some() => "",
                _ => {
                    return Err(format!(
                        "unknown variable ${}",
                        crate::model::escape::escape(name.as_bytes())
                    ));
                }
            });
            rest = after;
            if replaced.len() > MAX_LENGTH {
                return Err("an address is too long".to_owned());
            }
        }
        Ok(replaced + rest)
    }
}

/// Returns dnf's base architecture of an architecture of packages.
fn base_architecture(architecture: &str) -> &str {
    match architecture {
        "i386" | "i486" | "i586" | "i686" | "athlon" | "geode" => "i386",
        "amd64" | "ia32e" | "x86_64_v2" | "x86_64_v3" | "x86_64_v4" => "x86_64",
        "armv7hl" | "armv7hnl" | "armv8hl" => "armhfp",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replace_all_forms_are_replaced() {
        let variables = Variables::of([("releasever", "9.4"), ("stream", "9-stream"), ("infra", "")]);
        for (text, expected) in [
            ("http://h.example/$releasever/os", Ok("http://h.example/9.4/os")),
            ("x-$RELEASEVER-$stream.", Ok("x-9.4-9-stream.")),
            ("a${releasever}b${none:-d}c${stream:+e}${none:+f}", Ok("a9.4bdce")),
            ("infra=$infra", Ok("infra=")),
            ("no variable", Ok("no variable")),
            ("$none/x", Err("unknown variable $none")),
            ("${", Err("unknown variable $")),
            ("$", Err("unknown variable $")),
        ] {
            let expected = expected.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(variables.replace(text), expected, "{text}");
        }
    }

    #[test]
    fn load_files_win_over_packages() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(directory.path().join("etc/dnf/vars")).unwrap();
        std::fs::write(directory.path().join("etc/dnf/vars/releasever"), "9.2\n").unwrap();
        let root = Root::open(directory.path()).unwrap();
        let variables = Variables::load(&root, "i686", Some("9.4".to_owned()));
        assert_eq!(variables.replace("$releasever/$basearch/$releasever_major").unwrap(), "9.2/i386/9");
    }
}
