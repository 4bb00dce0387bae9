//! Reads a context with other programs and a few lines of code, without code of vm2docker-self.

use crate::Result;
use crate::seal;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

/// This very program is in each context and is searched for nothing.
const BINARY: &str = "vm2docker-self";

/// Every file of the context by name, unpacked if it is compressed.
pub fn files(context: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for name in seal::names(context)?.into_iter().filter(|name| name != BINARY) {
        let path = context.join(&name);
        match name.strip_suffix(".zst") {
            Some(unpacked) => drop(files.insert(unpacked.to_owned(), unpack(&path)?)),
            None => drop(files.insert(name, fs::read(path)?)),
        }
    }
    Ok(files)
}

fn unpack(path: &Path) -> Result<Vec<u8>> {
    let output = Command::new("zstd").arg("-dcq").arg(path).output()?;
    if !output.status.success() {
        return Err(format!("zstd -d {}: {}", path.display(), output.status).into());
    }
    Ok(output.stdout)
}

/// Returns the regular files of an archive with all members of each name, in order. Ignores PAX
/// records, because names are short and files are small here.
pub fn members(archive: &[u8]) -> BTreeMap<String, Vec<&[u8]>> {
    let mut members: BTreeMap<String, Vec<&[u8]>> = BTreeMap::new();
    let mut at = 0;
    while let Some(header) = archive.get(at..at + 512).filter(|header| header[0] != 0) {
        let size = text(&header[124..136]);
        let size = usize::from_str_radix(size.trim(), 8).unwrap_or(0);
        let Some(content) = archive.get(at + 512..at + 512 + size) else { break };
        if header[156] == b'0' {
            let (name, prefix) = (text(&header[..100]), text(&header[345..500]));
            let name = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
            members.entry(name).or_default().push(content);
        }
        at += 512 + size.next_multiple_of(512);
    }
    members
}

/// Path, relative to the root, and digest of every file that the manifest says the image has.
pub fn digests(manifest: &[u8]) -> BTreeMap<String, String> {
    let manifest = String::from_utf8_lossy(manifest);
    let lines = manifest.lines().filter(|line| !line.contains(r#""verdict":"lost""#));
    let entries = lines.filter_map(|line| Some((value(line, "path")?, value(line, "sha256")?)));
    entries.map(|(path, digest)| (path.trim_start_matches('/').to_owned(), digest)).collect()
}

/// A text's value in a line of JSON that has no quotes in its values.
pub fn value(line: &str, key: &str) -> Option<String> {
    let (_, rest) = line.split_once(&format!("\"{key}\":\""))?;
    rest.split_once('"').map(|(value, _)| value.to_owned())
}

/// Whether `needle` is anywhere in `bytes`.
pub fn holds(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

fn text(field: &[u8]) -> String {
    let end = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).into_owned()
}
