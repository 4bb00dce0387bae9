//! Groups of links that an alternatives system manages (update-alternatives(1)).

use super::aliases::{Aliases, normal};
use crate::model::findings::{self, Findings};
use crate::model::problem::Problem;
use crate::system::root::Root;
use std::io::ErrorKind::NotFound;

/// A link group of update-alternatives(1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alternative {
    /// Name of the link in `/etc/alternatives`.
    pub name: Box<[u8]>,
    /// Whether the administrator made the choice; otherwise the highest priority decides.
    pub manual: bool,
    /// Generic path, a link to `/etc/alternatives/NAME`.
    pub link: Box<[u8]>,
    /// Target of the link `/etc/alternatives/NAME` as written; `None` if it is not a link.
    pub current: Option<Box<[u8]>>,
    /// Links that follow the main one.
    pub slaves: Vec<Slave>,
    /// Candidates.
    pub choices: Vec<Choice>,
}

/// Name in `/etc/alternatives` and generic path of a link that follows the main one.
pub type Slave = (Box<[u8]>, Box<[u8]>);

/// One choice of an [`Alternative`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Target of the main link.
    pub path: Box<[u8]>,
    /// Priority; the highest one is chosen in automatic mode.
    pub priority: i64,
    /// Targets of the slave links, in the order of [`Alternative::slaves`]; empty if the choice
    /// has none.
    pub slaves: Vec<Box<[u8]>>,
}

/// Reads the records in a directory, a file per group; paths are as the walked tree names them. A
/// record that is not understood is a note: its links are compared as any others.
pub(super) fn read(
    root: &Root,
    directory: &[u8],
    aliases: &Aliases,
    findings: &mut Findings,
) -> Vec<Alternative> {
    let names = match root.list(directory) {
        Ok(names) => names,
        Err(cause) if cause.kind() == NotFound => return Vec::new(),
        Err(cause) => {
            findings.loss(findings::Kind::Unreadable, directory, cause.to_string());
            return Vec::new();
        }
    };
    let fold = |path: &mut Box<[u8]>| {
        if let Some(normal) = normal(path) {
            *path = aliases.canonical(&normal).into_owned().into();
        }
    };
    let mut alternatives = Vec::new();
    // dpkg and chkconfig write a new record under another name first.
    for name in names.iter().filter(|name| !name.ends_with(b".dpkg-tmp") && !name.ends_with(b".new")) {
        let path = [directory, b"/", name].concat();
        let bytes = match root.read(&path) {
            Ok(bytes) => bytes,
            Err(cause) => {
                findings.loss(findings::Kind::Unreadable, &path, cause.to_string());
                continue;
            }
        };
        match parse_alternative(name, &bytes) {
            Ok(mut alternative) => {
                fold(&mut alternative.link);
                alternative.slaves.iter_mut().for_each(|(_, link)| fold(link));
                let link = [b"etc/alternatives/".as_slice(), name].concat();
                alternative.current = root.read_link(&link).ok().map(Vec::into_boxed_slice);
                alternatives.push(alternative);
            }
            Err(problem) => findings.note(findings::Kind::PackageDatabase, &path, problem.to_string()),
        }
    }
    alternatives
}

/// Parses a file of `/var/lib/dpkg/alternatives` or `/var/lib/alternatives`;
/// [`Alternative::current`] stays empty. chkconfig's alternatives(8) writes a family before the
/// path of a choice, `@family@/path`, and a service after the priority.
pub fn parse_alternative(name: &[u8], bytes: &[u8]) -> Result<Alternative, Problem> {
    let mut lines = lines(bytes).enumerate();
    let mut end = 0;
    let mut line = || {
        let (index, line) = lines.next()?;
        end = index + 1;
        Some(line)
    };
    read_alternative(name, &mut line)
        .ok_or(())
        .map_err(|()| Problem { line: end + 1, text: "not a valid update-alternatives file".into() })
}

fn read_alternative<'a>(name: &[u8], line: &mut impl FnMut() -> Option<&'a [u8]>) -> Option<Alternative> {
    let manual = match line()? {
        b"auto" => false,
        b"manual" => true,
        _ => return None,
    };
    let link = relative(line()?)?;
    let mut slaves = Vec::new();
    loop {
        match line()? {
            b"" => break,
            slave => slaves.push((slave.into(), relative(line()?)?)),
        }
    }
    let mut choices = Vec::new();
    while let Some(path) = line().filter(|path| !path.is_empty()) {
        let path = path
            .strip_prefix(b"@")
            .map_or(path, |rest| memchr::memchr(b'@', rest).map_or(path, |end| &rest[end + 1..]));
        let priority = line()?.split(|&byte| byte == b' ').next().unwrap_or_default();
        let priority = std::str::from_utf8(priority).ok()?.parse().ok()?;
        let mut targets = Vec::with_capacity(slaves.len());
        for _ in &slaves {
            targets.push(line()?.into());
        }
        choices.push(Choice { path: path.into(), priority, slaves: targets });
    }
    Some(Alternative { name: name.into(), manual, link, current: None, slaves, choices })
}

/// Returns an absolute path as the tree names it.
pub(super) fn relative(path: &[u8]) -> Option<Box<[u8]>> {
    path.strip_prefix(b"/").filter(|path| !path.is_empty()).map(Box::from)
}

/// Returns the lines without their line ends.
pub(super) fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let mut rest = (!bytes.is_empty()).then_some(bytes);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = memchr::memchr(b'\n', text);
        rest = end.map(|end| &text[end + 1..]);
        Some(&text[..end.unwrap_or(text.len())])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_alternative_returns_slaves_of_each_choice() {
        let text = b"manual\n/usr/bin/editor\ned.1\n/usr/man/ed.1\n\n/bin/ed\n-100\n/m/ed\n/bin/vi\n30\n\n\n";
        let editor = parse_alternative(b"editor", text).unwrap();
        assert!(editor.manual);
        assert_eq!((&*editor.link, editor.slaves.len()), (&b"usr/bin/editor"[..], 1));
        let choices: Vec<_> = editor.choices.iter().map(|c| (&*c.path, c.priority, &*c.slaves[0])).collect();
        assert_eq!(choices, [(&b"/bin/ed"[..], -100, &b"/m/ed"[..]), (b"/bin/vi", 30, b"")]);
        let text =
            b"auto\n/usr/bin/java\n\n@java-17@/usr/lib/jvm/17/bin/java\n1700 jvm\n/usr/lib/jvm/8/java\n8\n";
        let java = parse_alternative(b"java", text).unwrap();
        let choices: Vec<_> = java.choices.iter().map(|c| (&*c.path, c.priority)).collect();
        assert_eq!(choices, [(&b"/usr/lib/jvm/17/bin/java"[..], 1700), (b"/usr/lib/jvm/8/java", 8)]);
        for length in 0..text.len() {
            let _ = parse_alternative(b"editor", &text[..length]);
        }
        assert_eq!(parse_alternative(b"x", b"auto\nrelative\n").unwrap_err().line, 3);
    }
}
