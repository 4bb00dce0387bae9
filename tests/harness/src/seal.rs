//! Checks that a context is complete, without code of vm2docker-self: compares digests of all
//! files with `COMPLETE`.

use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const SEAL: &str = "COMPLETE";

/// The digests that `COMPLETE` has, by name.
pub type Seal = BTreeMap<String, String>;

/// Checks every file of the context; returns the digests, or what is wrong.
pub fn check(context: &Path) -> Result<Seal, String> {
    let text = fs::read_to_string(context.join(SEAL)).map_err(|cause| format!("{SEAL}: {cause}"))?;
    if !text.ends_with('\n') {
        return Err(format!("{SEAL} is truncated"));
    }
    let mut seal = Seal::new();
    for line in text.lines() {
        let (digest, name) = line.split_once("  ").ok_or_else(|| format!("{SEAL}: {line}"))?;
        let content = fs::read(context.join(name)).map_err(|cause| format!("{name}: {cause}"))?;
        if hex(&content) != digest {
            return Err(format!("{name} is not what {SEAL} says"));
        }
        seal.insert(name.to_owned(), digest.to_owned());
    }
    let found = names(context).map_err(|cause| cause.to_string())?;
    match found.iter().find(|name| *name != SEAL && !seal.contains_key(*name)) {
        Some(name) => Err(format!("{name} is not in {SEAL}")),
        None => Ok(seal),
    }
}

/// The names that differ between two contexts.
pub fn differences(expected: &Seal, found: &Seal) -> String {
    let names = expected.keys().chain(found.keys());
    let mut names: Vec<&str> =
        names.filter(|name| expected.get(*name) != found.get(*name)).map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    names.join(" ")
}

/// SHA-256 in hexadecimal.
pub fn hex(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The names of all files in a context.
pub fn names(context: &Path) -> std::io::Result<Vec<String>> {
    let mut found = Vec::new();
    list(context, "", &mut found)?;
    Ok(found)
}

fn list(directory: &Path, prefix: &str, found: &mut Vec<String>) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        match entry.file_type()?.is_dir() {
            true => list(&entry.path(), &format!("{name}/"), found)?,
            false => found.push(name),
        }
    }
    Ok(())
}
