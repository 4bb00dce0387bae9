//! Services of `supervisord` (<http://supervisord.org/configuration.html>).

use super::environment::Variables;
use super::load::{list, read};
use super::other::{Manager, OtherService};
use crate::glob::{Dialect, Glob};
use crate::model::findings::Findings;
use crate::model::tree;
use crate::system::root::Root;
use std::collections::BTreeMap;

/// Main files on Debian, on RPM systems and of manual installations. The first one found applies.
const MAIN_FILES: &[&str] = &["etc/supervisor/supervisord.conf", "etc/supervisord.conf"];

/// A section: its name, and its settings by lower-case key.
type Section = (Vec<u8>, BTreeMap<Vec<u8>, Vec<u8>>);

/// Returns the programs that start with `supervisord`, by name.
pub fn programs(root: &Root, findings: &mut Findings) -> Vec<OtherService> {
    let Some(main) = MAIN_FILES.iter().map(|path| path.as_bytes()).find(|path| root.open_file(path).is_ok())
    else {
        return Vec::new();
    };
    let Some(text) = read(root, main, findings) else { return Vec::new() };
    let mut files = vec![(main.to_vec(), sections(&text))];
    for path in included(root, main, &files[0].1, findings) {
        if let Some(text) = read(root, &path, findings) {
            files.push((path, sections(&text)));
        }
    }
    let mut services = BTreeMap::new();
    for (path, sections) in files {
        for (section, settings) in sections {
            let Some(name) = section.strip_prefix(b"program:") else { continue };
            let is_started =
                !settings.get(&b"autostart"[..]).is_some_and(|value| value.eq_ignore_ascii_case(b"false"));
            if is_started {
                services.insert(name.to_vec(), program(name, &path, &settings));
            }
        }
    }
    services.into_values().collect()
}

fn program(name: &[u8], path: &[u8], settings: &BTreeMap<Vec<u8>, Vec<u8>>) -> OtherService {
    let get = |key: &str| settings.get(key.as_bytes()).filter(|value| !value.is_empty()).cloned();
    let mut service = OtherService::new(Manager::Supervisor, name, path.to_vec());
    service.command = get("command");
    service.user = get("user");
    service.directory = get("directory");
    service.environment = environment(&get("environment").unwrap_or_default());
    service
}

/// Returns the files of `[include]`, which can be patterns relative to the main file.
fn included(root: &Root, main: &[u8], sections: &[Section], findings: &mut Findings) -> Vec<Vec<u8>> {
    let include = sections.iter().find(|(name, _)| name == b"include");
    let patterns = include.and_then(|(_, settings)| settings.get(&b"files"[..])).cloned().unwrap_or_default();
    let mut files = Vec::new();
    for pattern in patterns.split(u8::is_ascii_whitespace).filter(|pattern| !pattern.is_empty()) {
        let pattern = match pattern.strip_prefix(b"/") {
            Some(absolute) => absolute.to_vec(),
            None => tree::join(tree::parent(main), pattern),
        };
        let directory = tree::parent(&pattern).to_vec();
        let names = list(root, &directory, findings).into_iter();
        let paths = names.filter(|name| !name.starts_with(b".")).map(|name| tree::join(&directory, &name));
        let pattern = Glob::new(&pattern, Dialect::Path);
        files.extend(paths.filter(|path| pattern.matches(path)));
    }
    files
}

/// Parses the sections of a file. White space at the start continues a value; ` ;` starts a
/// comment.
fn sections(text: &[u8]) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let mut key: Option<Vec<u8>> = None;
    for line in text.split(|&byte| byte == b'\n') {
        let comment = memchr::memmem::find(line, b" ;").unwrap_or(line.len());
        let content = line[..comment].trim_ascii();
        if content.is_empty() || matches!(line[0], b';' | b'#') {
            continue;
        }
        if let [b'[', name @ .., b']'] = content {
            sections.push((name.to_vec(), BTreeMap::new()));
            key = None;
            continue;
        }
        let Some((_, settings)) = sections.last_mut() else { continue };
        if line[0].is_ascii_whitespace() {
            if let Some(value) = key.as_ref().and_then(|key| settings.get_mut(key)) {
                value.push(b'\n');
                value.extend_from_slice(content);
            }
        } else if let Some(end) = content.iter().position(|byte| b"=:".contains(byte)) {
            let name = content[..end].trim_ascii().to_ascii_lowercase();
            settings.insert(name.clone(), content[end + 1..].trim_ascii().to_vec());
            key = Some(name);
        }
    }
    sections
}

/// Parses `NAME="value",OTHER=value`. Values without commas need no quotes.
fn environment(text: &[u8]) -> Variables {
    let mut variables = Variables::default();
    let mut rest = text.trim_ascii();
    while let Some(equals) = memchr::memchr(b'=', rest) {
        let name = rest[..equals].trim_ascii();
        let value = rest[equals + 1..].trim_ascii_start();
        let (value, tail) = match value {
            [quote @ (b'"' | b'\''), tail @ ..] => {
                let end = tail.iter().position(|byte| byte == quote).unwrap_or(tail.len());
                (&tail[..end], tail.get(end + 1..).unwrap_or_default())
            }
            _ => {
                let end = memchr::memchr(b',', value).unwrap_or(value.len());
                (value[..end].trim_ascii_end(), &value[end..])
            }
        };
        variables.assign(&[name, b"=", value].concat());
        let next = memchr::memchr(b',', tail).map_or(tail.len(), |comma| comma + 1);
        rest = &tail[next..];
    }
    variables
}
