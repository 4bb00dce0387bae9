//! Parses the configuration of `systemd-tmpfiles` (`tmpfiles.d(5)`).

use super::load::{list, read};
use super::specifiers::{Host, Specifiers};
use super::words;
use crate::model::findings::{self, Findings};
use crate::model::problem::{Problem, note};
use crate::model::tree;
use crate::system::root::Root;
use std::collections::BTreeMap;

/// Configuration directories. Of the same file name, only the first directory's file applies.
const DIRECTORIES: &[&str] =
    &["etc/tmpfiles.d", "run/tmpfiles.d", "usr/local/lib/tmpfiles.d", "usr/lib/tmpfiles.d"];

/// A line. A field that is `-` or missing is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Type of the line: `d`, `L`, `f` and others.
    pub kind: u8,
    /// Modifiers of the type: `!` only at boot, `+` replaces existing paths, `-` ignores
    /// failures.
    pub modifiers: Vec<u8>,
    /// Path as written.
    pub path: Vec<u8>,
    /// Mode.
    pub mode: Option<Mode>,
    /// User name or UID. The prefix `:` limits it to newly created paths.
    pub user: Option<Vec<u8>>,
    /// Group name or GID, with the same prefix.
    pub group: Option<Vec<u8>>,
    /// Age at which content is removed, as written.
    pub age: Option<Vec<u8>>,
    /// Target of a link, or content of a file: the rest of the line as written.
    pub argument: Option<Vec<u8>>,
}

/// The mode of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    /// Permission bits.
    pub bits: u16,
    /// Whether the bits are masked by those of an existing path (`~`).
    pub is_masked: bool,
    /// Whether the mode applies only to newly created paths (`:`).
    pub is_initial: bool,
}

/// Parses the lines of a file. Returns malformed lines as [`Problem`]s.
pub fn parse(text: &[u8]) -> (Vec<Line>, Vec<Problem>) {
    let (mut lines, mut problems) = (Vec::new(), Vec::new());
    for (index, text) in text.split(|&byte| byte == b'\n').enumerate() {
        let text = text.trim_ascii();
        if text.is_empty() || text[0] == b'#' {
            continue;
        }
        match Line::parse(text) {
            Some(line) => lines.push(line),
            None => note(&mut problems, index + 1, "invalid line"),
        }
    }
    (lines, problems)
}

/// Reads all lines that apply, in the order of file names, each with its file. Expands
/// specifiers.
pub fn load(root: &Root, host: &Host, findings: &mut Findings) -> Vec<(Vec<u8>, Line)> {
    let mut files: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for directory in DIRECTORIES {
        for name in list(root, directory.as_bytes(), findings) {
            if name.ends_with(b".conf") && !name.starts_with(b".") {
                let path = tree::join(directory.as_bytes(), &name);
                files.entry(name).or_insert(path);
            }
        }
    }
    let mut all = Vec::new();
    for path in files.into_values() {
        // tmpfiles.d(5): a link to /dev/null masks files of the same name in later directories.
        if root.read_link(&path).is_ok_and(|target| target == b"/dev/null") {
            continue;
        }
        let Some(text) = read(root, &path, findings) else { continue };
        let (lines, problems) = parse(&text);
        for problem in problems {
            findings.note(findings::Kind::Tmpfiles, &path, problem.to_string());
        }
        let mut specifiers = Specifiers::new(b"", host);
        for mut line in lines {
            line.path = specifiers.expand(&line.path);
            line.argument = line.argument.map(|argument| specifiers.expand(&argument));
            all.push((path.clone(), line));
        }
        if !specifiers.unknown.is_empty() {
            let letters = crate::model::escape::escape(&specifiers.unknown);
            findings.note(
                findings::Kind::Tmpfiles,
                &path,
                format!("unsupported specifiers, left as written: {letters}"),
            );
        }
    }
    all
}

impl Line {
    fn parse(text: &[u8]) -> Option<Self> {
        let mut rest = text;
        let mut next = || words::next(&mut rest).ok().map(Option::unwrap_or_default);
        let action = next()?;
        let path = next()?;
        let (mode, user, group, age) = (next()?, next()?, next()?, next()?);
        let present = |field: Vec<u8>| (!matches!(&*field, b"" | b"-")).then_some(field);
        let (&kind, modifiers) = action.split_first()?;
        let is_known = kind.is_ascii_alphabetic() && modifiers.iter().all(|sign| b"!+-=~^$?".contains(sign));
        let mode = match present(mode) {
            Some(mode) => Some(Mode::parse(&mode)?),
            None => None,
        };
        let (user, group, age, argument) =
            (present(user), present(group), present(age), present(rest.to_vec()));
        let line = Line { kind, modifiers: modifiers.to_vec(), path, mode, user, group, age, argument };
        (is_known && !line.path.is_empty()).then_some(line)
    }
}

impl Mode {
    fn parse(text: &[u8]) -> Option<Self> {
        let signs = text.iter().take_while(|byte| b"~:".contains(byte)).count();
        let (signs, digits) = text.split_at(signs);
        let bits = super::amount::mode(digits)?;
        Some(Mode { bits, is_masked: signs.contains(&b'~'), is_initial: signs.contains(&b':') })
    }
}
