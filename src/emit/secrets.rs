//! `SECRETS.todo`: every file that is not in the image because it is secret, with the mount that
//! provides it.

use crate::model::escape;
use crate::model::manifest::{Record, Verdict};
use crate::model::tree::Kind;

/// The first lines.
pub(super) const HEAD: &str = "\
# Files of the machine that are not in the image because they are secret. Copy them to a directory with the same paths and
# owners, on the machine:
#   grep -v '^#' SECRETS.todo | cut -f 1 | tar -C / -cf secrets.tar -T -
# and give each container those that it needs, with SECRETS set to where that directory is (no comma, no quote in it):
#   docker run --mount ...
# PATH\tMODE\tUID:GID\tREASON\tMOUNT
";

/// Section of the README about encrypted secrets in the context.
pub(super) const README: &str = "
## Secrets

`secrets.tar.gpg` contains the withheld files, encrypted to the OpenPGP key of `--include-secrets`. The build does not use it.
On the machine that runs the containers, with SECRETS as in `SECRETS.todo`:

    gpg --decrypt secrets.tar.gpg | sudo tar --extract --preserve-permissions --numeric-owner --directory \"$SECRETS\"
";

/// Returns the line of a withheld file.
pub(super) fn line(record: &Record) -> Option<String> {
    let node = &record.node;
    let is_secret = record.verdict == Verdict::Withhold && node.kind != Kind::Directory;
    let stat = &node.stat;
    is_secret.then(|| {
        format!(
            "{}\t{:04o}\t{}:{}\t{}\t{}\n",
            escape::display(&node.path),
            stat.mode,
            stat.uid,
            stat.gid,
            record.reason,
            mount(&node.path)
        )
    })
}

/// Returns `--mount` and its value as shell words. The value is a CSV record (RFC 4180), as
/// Docker and Podman read it.
fn mount(path: &[u8]) -> String {
    let Ok(path) = std::str::from_utf8(path) else {
        return "# its name is not UTF-8, which no engine mounts: mount its directory".to_owned();
    };
    let needs_quotes = path.contains([',', '"', '\n', '\r']) || path.ends_with(' ');
    let (quote, path) = if needs_quotes { ("\"", path.replace('"', "\"\"")) } else { ("", path.to_owned()) };
    let source = shell(&format!("type=bind,readonly,{quote}source="));
    let target = shell(&format!("/{path}{quote},{quote}target=/{path}{quote}"));
    format!("--mount {source}\"$SECRETS\"{target}")
}

/// Returns text as one shell word. Unprintable characters are escaped inside `$'...'`
/// (POSIX.1-2024, 2.2.4).
fn shell(text: &str) -> String {
    let shown = escape::escape(text.as_bytes());
    if shown == text.replace('\\', "\\\\") {
        format!("'{}'", text.replace('\'', "'\\''"))
    } else {
        format!("$'{}'", shown.replace('\'', "\\'"))
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests ask a shell what it makes of the words")]
mod tests {
    use super::*;

    #[test]
    fn mount_any_path_survives_shell_and_csv_reader() {
        for path in [
            "etc/key",
            "a b",
            "it's",
            "a,b",
            "say \"x\"",
            "x\ny",
            "back\\slash",
            "$HOME/`id`",
            "\u{202e}gpj",
            "-",
        ] {
            let words = mount(path.as_bytes());
            assert!(!words.contains('\n'), "{words}");
            let script = format!("SECRETS=/safe; printf '%s' {}", words.strip_prefix("--mount ").unwrap());
            let output = std::process::Command::new("bash").args(["-c", &script]).output().unwrap();
            let value = String::from_utf8(output.stdout).unwrap();
            assert_eq!(
                csv(&value),
                [
                    "type=bind".to_owned(),
                    "readonly".to_owned(),
                    format!("source=/safe/{path}"),
                    format!("target=/{path}"),
                ]
            );
        }
        assert!(mount(b"etc/\xff").starts_with('#'));
    }

    /// The fields of one CSV record.
    fn csv(record: &str) -> Vec<String> {
        let (mut fields, mut quoted) = (vec![String::new()], false);
        let mut characters = record.chars().peekable();
        while let Some(character) = characters.next() {
            let field = fields.last_mut().unwrap();
            match character {
                '"' if quoted && characters.next_if_eq(&'"').is_some() => field.push('"'),
                '"' if quoted || field.is_empty() => quoted = !quoted,
                ',' if !quoted => fields.push(String::new()),
                other => field.push(other),
            }
        }
        fields
    }
}
