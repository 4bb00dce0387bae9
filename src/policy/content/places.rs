//! How much a name before a value says, by the place of the file and by its mode.

use super::{Kind, Tier};
use crate::model::tree;
use crate::policy::names::{self, Meaning};

/// Directories in which package managers of languages install code. `a/b` are two in succession.
const CODE: &[&str] = &[
    "node_modules",
    "site-packages",
    "dist-packages",
    "vendor",
    "gems",
    "bower_components",
    "pkg/mod",
    ".cargo/registry",
    ".cargo/git",
    ".rustup/toolchains",
    ".npm/_cacache",
    ".nvm/versions",
    ".m2/repository",
    ".ivy2/cache",
    ".gradle/caches",
    ".gradle/wrapper",
    ".vscode/extensions",
    ".vscode-server/extensions",
];
/// Beginnings of paths with code and documents of the distribution.
const SYSTEM: &[&str] = &[
    "usr/share/doc/",
    "usr/share/info/",
    "usr/share/locale/",
    "usr/share/man/",
    "usr/share/javascript/",
    "usr/share/nodejs/",
    "usr/share/perl",
    "usr/share/php/",
    "usr/share/ruby",
    "usr/lib/go",
    "usr/lib/jvm/",
    "usr/lib/perl",
    "usr/lib/php/",
    "usr/lib/python",
    "usr/lib/ruby/",
    "usr/local/lib/python",
    "usr/local/lib/ruby/",
    "var/lib/dpkg/",
];
/// Directories whose files are configuration of an application.
const SETTINGS: &[&str] =
    &[".config", "conf", "conf.d", "config", "configs", "credentials", "secrets", "settings"];
/// Directories of version control: they hold copies of other files.
const VERSIONS: &[&str] = &[".git", ".svn", ".hg", ".bzr"];
/// Endings of source code. It is often readable by one user only, and contains test values.
const SOURCES: &[&str] =
    &[".c", ".cc", ".cpp", ".css", ".go", ".h", ".html", ".java", ".js", ".md", ".mjs", ".rb", ".rs", ".ts"];
/// Endings of code that is configuration, too: its name says what it handles, not what it is.
const SCRIPTS: &[&str] =
    &[".cs", ".jsx", ".kt", ".lua", ".php", ".pl", ".pm", ".py", ".scala", ".sh", ".sql", ".tsx", ".vue"];

/// Returns the kind of a file that is not listed as configuration.
pub(super) fn kind(path: &[u8], mode: u16) -> Kind {
    let name = tree::file_name(path);
    let is = |list: &[&str], part: &[u8]| list.iter().any(|one| one.as_bytes() == part);
    let parts = || path.split(|&byte| byte == b'/');
    let pairs = || parts().zip(parts().skip(1));
    let is_pair = |(first, second): (&[u8], &[u8])| {
        CODE.iter().any(|code| code.as_bytes().split(|&byte| byte == b'/').eq([first, second]))
    };
    if parts().any(|part| is(CODE, part))
        || pairs().any(is_pair)
        || SYSTEM.iter().any(|system| path.starts_with(system.as_bytes()))
    {
        return Kind::from(Tier::Code);
    }
    let has_ending = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending.as_bytes()));
    let is_source = has_ending(SOURCES);
    // Archives of some tools have no modes, and 0 in their place.
    let is_secluded = mode & 0o007 == 0 && mode & 0o400 != 0 && !is_source;
    let is_versioned = parts().any(|part| is(VERSIONS, part));
    // `~/.npmrc`, `~/.dbt/profiles.yml`.
    let is_hidden = parts().rev().take(2).any(|part| part.starts_with(b".") && part.len() > 1);
    let is_settings = path.starts_with(b"etc/")
        || !is_versioned && !is_source && (is_hidden || parts().rev().skip(1).any(|part| is(SETTINGS, part)));
    let is_public = name.ends_with(b".pub") || name.ends_with(b".crt");
    // Packages bring examples and defaults there, also packages that no repository offers.
    let is_distributed = path.starts_with(b"usr/share/") || path.starts_with(b"usr/lib/");
    let tier = match is_settings || is_secluded {
        true => Tier::Settings,
        false if is_distributed => Tier::Code,
        false => Tier::Data,
    };
    Kind {
        tier,
        is_secluded,
        is_named: !is_public && !is_source && !has_ending(SCRIPTS) && is_secret_name(name),
    }
}

/// Whether a file's name says that it is a password or a key, its ending left out.
fn is_secret_name(name: &[u8]) -> bool {
    let stem = memchr::memrchr(b'.', name).filter(|&at| at > 0).map_or(name, |at| &name[..at]);
    [name, stem].into_iter().any(|name| names::meaning(name).is_some_and(|meaning| meaning >= Meaning::Token))
        || [&b"key"[..], b"privatekey", b"private"].contains(&stem)
        || name.ends_with(b".key")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_by_place_and_mode() {
        for (path, mode, tier) in [
            ("etc/app/app.toml", 0o644, Tier::Settings),
            ("opt/app/.pypirc", 0o644, Tier::Settings),
            ("home/eve/.config/app/settings", 0o644, Tier::Settings),
            ("home/eve/.dbt/profiles.yml", 0o644, Tier::Settings),
            ("srv/app/settings.toml", 0o640, Tier::Settings),
            ("srv/app/config/mail.yml", 0o644, Tier::Settings),
            ("srv/app/settings.toml", 0o644, Tier::Data),
            ("srv/app/test.js", 0o600, Tier::Data),
            ("srv/app/.git/objects/8e/0963", 0o644, Tier::Data),
            ("srv/app/node_modules/x/.travis.yml", 0o600, Tier::Code),
            ("root/.cargo/registry/src/x/y.toml", 0o644, Tier::Code),
            ("usr/share/doc/x/.example", 0o644, Tier::Code),
            ("usr/share/app/app.conf", 0o644, Tier::Code),
            ("usr/share/app/conf/app.xml", 0o600, Tier::Settings),
            ("srv/member", 0, Tier::Data),
        ] {
            assert_eq!(kind(path.as_bytes(), mode).tier, tier, "{path}");
        }
    }

    #[test]
    fn kind_name_of_a_secret_is_named() {
        for (path, is_named) in [
            ("opt/vpn/privatekey", true),
            ("etc/ldap.secret", true),
            ("opt/keys/dbpw", true),
            ("opt/infra/.vault-password", true),
            ("srv/site.key", true),
            ("srv/site.key.pub", false),
            ("srv/passwords.rb", false),
            ("srv/app/auth_token.py", false),
            ("etc/hostname", false),
        ] {
            assert_eq!(kind(path.as_bytes(), 0o644).is_named, is_named, "{path}");
        }
    }
}
