//! Passwords in command lines of programs that take them as options.

use super::values::{self, Strength};
use super::words::{run, unspaced};
use super::{Detection, Secret, Tier, View};

/// Bytes of a command line before and after an option that are looked at.
const LONGEST: usize = 512;
const QUOTES: &[u8] = b"\"'";

/// How an option gives a password.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `-pX` or `-p X`.
    Alone,
    /// `-u user:X`, of curl also `-u user%X`.
    WithUser,
    /// `-e pass:X` and the like: OpenSSL's pass phrase arguments.
    Prefixed,
}

/// Options that give a password, and the programs that have them (their man pages).
const OPTIONS: &[(&[u8], Form, &[&str])] = &[
    (
        b"-p",
        Form::Alone,
        &[
            "mysql",
            "mysqldump",
            "mysqladmin",
            "mysqlimport",
            "mysqlcheck",
            "mysqlshow",
            "mariadb",
            "mariadb-dump",
            "mariadb-admin",
            "mariadb-backup",
            "mariabackup",
            "xtrabackup",
            "innobackupex",
            "sshpass",
            "docker",
            "podman",
            "buildah",
            "skopeo",
            "nerdctl",
            "helm",
            "oc",
            "mongo",
            "mongosh",
            "mongodump",
            "mongoexport",
            "mongoimport",
            "mongorestore",
            "twine",
            "az",
            "chpasswd",
            "ipmitool",
            "rabbitmqadmin",
            "sqlplus",
            "7z",
            "7za",
        ],
    ),
    (
        b"-P",
        Form::Alone,
        &["ipmitool", "sqlcmd", "bcp", "isql", "tsql", "zip", "unzip", "mosquitto_pub", "mosquitto_sub"],
    ),
    (b"-a", Form::Alone, &["redis-cli", "redis-benchmark", "valkey-cli", "keydb-cli"]),
    (
        b"-w",
        Form::Alone,
        &["ldapsearch", "ldapmodify", "ldapadd", "ldapdelete", "ldappasswd", "ldapwhoami", "kinit"],
    ),
    (b"-k", Form::Alone, &["openssl"]),
    (
        b"-u",
        Form::WithUser,
        &["curl", "http", "https", "httpie", "cadaver", "lftp", "wget", "ab", "siege", "svn"],
    ),
    (b"-U", Form::WithUser, &["smbclient", "rpcclient", "net", "curl", "wbinfo", "smbget"]),
    (b"-a", Form::WithUser, &["http", "https", "httpie"]),
    (b"-A", Form::WithUser, &["ab"]),
    (b"-pass", Form::Prefixed, &["openssl"]),
    (b"-passin", Form::Prefixed, &["openssl"]),
    (b"-passout", Form::Prefixed, &["openssl"]),
];

/// Judges an option; the anchor is ` -` and its letter.
pub(super) fn option(view: &View<'_>) -> Option<Detection> {
    let before = view.before();
    let line = &before[before.len().saturating_sub(LONGEST)..];
    let line = &line[memchr::memrchr(b'\n', line).map_or(0, |end| end + 1)..];
    let word = &view.after()[1..];
    let word = &word[..word.len().min(LONGEST)];
    let password = OPTIONS.iter().find_map(|(option, form, programs)| {
        let value = value(word.strip_prefix(*option)?)?;
        let password = match form {
            Form::Alone => value,
            Form::WithUser => {
                let at = run(value, |byte| !b":%,".contains(&byte));
                value.get(at + 1..).filter(|_| at > 0)?
            }
            Form::Prefixed => value.strip_prefix(b"pass:")?,
        };
        calls(line, programs).then_some(password)
    })?;
    if values::is_placeholder(password) || values::is_path(password) {
        return None;
    }
    match (values::strength(password), view.kind.tier) {
        (Strength::Random, Tier::Code) => Some(Detection::likely(Secret::Password)),
        (Strength::Random, _) | (Strength::Plain, Tier::Settings | Tier::Configuration) => {
            Some(Detection::certain(Secret::Password))
        }
        (Strength::Plain, Tier::Data) => Some(Detection::likely(Secret::Password)),
        _ => None,
    }
}

/// The value of an option: after a space, an equals sign or nothing; quoted or not.
fn value(rest: &[u8]) -> Option<&[u8]> {
    let rest = rest.strip_prefix(b"=").unwrap_or(unspaced(rest));
    let value = match rest {
        [quote, inner @ ..] if QUOTES.contains(quote) => {
            &inner[..run(inner, |byte| byte != *quote && byte != b'\n')]
        }
        _ => &rest[..run(rest, |byte| byte > b' ' && !b"\"'`;|&<>)".contains(&byte))],
    };
    (!value.is_empty() && !value.starts_with(b"-")).then_some(value)
}

/// Whether one of the words before the option is one of the programs.
fn calls(line: &[u8], programs: &[&str]) -> bool {
    let words = line.split(|byte| byte.is_ascii_whitespace() || b"\"'`;|&()=[,".contains(byte));
    words
        .map(crate::model::tree::file_name)
        .any(|word| programs.iter().any(|program| program.as_bytes() == word))
}

/// Returns the password in the words of a command, by the program's options: the index of the
/// word and the offset of the password in it.
pub(crate) fn in_words(words: &[impl AsRef<[u8]>]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for (_, form, option) in OPTIONS.iter().flat_map(|(option, form, programs)| {
        let calls = words.iter().any(|word| {
            programs.iter().any(|program| program.as_bytes() == crate::model::tree::file_name(word.as_ref()))
        });
        calls.then_some((programs, *form, *option))
    }) {
        for (index, word) in words.iter().enumerate().skip(1) {
            let word = word.as_ref();
            let Some(rest) = word.strip_prefix(option) else { continue };
            let (index, start, value) = match rest {
                [] => match words.get(index + 1) {
                    Some(next) => (index + 1, 0, next.as_ref()),
                    None => continue,
                },
                _ => (index, option.len(), rest),
            };
            let offset = match form {
                Form::Alone => Some(0),
                Form::WithUser => Some(run(value, |byte| !b":%,".contains(&byte)) + 1),
                Form::Prefixed => value.starts_with(b"pass:").then_some(5),
            };
            let offset = offset.filter(|&at| at < value.len() && !value.starts_with(b"-"));
            found.extend(offset.filter(|&at| !values::is_path(&value[at..])).map(|at| (index, start + at)));
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_words_option_of_known_program_returns_password() {
        for (words, expected) in [
            (&["mysqldump", "-uroot", "-pTr0ub4dor", "shop"][..], vec![(2, 2)]),
            (&["sshpass", "-p", "Tr0ub4dor", "ssh", "db"], vec![(2, 0)]),
            (&["/usr/bin/curl", "-u", "bob:Tr0ub4dor", "https://x"], vec![(2, 4)]),
            (&["nginx", "-p", "/srv"], vec![]),
            (&["openssl", "enc", "-pass", "pass:Tr0ub4dor"], vec![(3, 5)]),
            (&["mysql", "-p", "-e", "x"], vec![]),
        ] {
            assert_eq!(in_words(words), expected, "{words:?}");
        }
    }
}
