//! Finds the secrets of units and processes, the files that define them, and all files that
//! contain one.
//!
//! No secret is printed: `Debug` shows only counts.

use super::secrets::{is_worth_searching, secret_in_variable, secrets_in_arguments};
use super::survey::{Candidate, Survey};
use crate::compare::diff::{Change, Delta};
use crate::detect::units::environment;
use crate::detect::units::exec::Word;
use crate::detect::{RuntimeState, accounts};
use crate::model::findings::{self, Findings};
use crate::model::tree::Kind;
use crate::system::cache_neutral::CacheNeutralReader;
use crate::system::root::Root;
use crate::walk::{Content, Tree};
use memchr::memmem::Finder;
use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::Read;

/// Number of bytes searched at a time.
const CHUNK: usize = 1 << 20;
/// Maximum length to search for, in bytes. A longer value is searched by its start.
const MAX_LENGTH: usize = 4096;

/// Secrets of the machine's services.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets {
    /// Values that no file of the context may contain.
    values: BTreeSet<Vec<u8>>,
    /// Files that pass secrets to services, relative to the root.
    pub files: BTreeSet<Vec<u8>>,
}

impl Secrets {
    /// Collects the secrets of units, environment files, cron jobs and running processes.
    pub fn of(root: &Root, survey: &Survey<'_>, live: Option<&RuntimeState>) -> Self {
        let mut secrets = Secrets::default();
        for candidate in survey.candidates.iter().chain(&survey.system_services) {
            secrets.unit(root, candidate);
        }
        for job in &survey.jobs.jobs {
            let words: Vec<&[u8]> = job.command.split(|byte| byte.is_ascii_whitespace()).collect();
            secrets.arguments(&words);
        }
        for process in live.iter().flat_map(|live| live.processes.iter()) {
            for (name, value) in process.environ.variables() {
                secrets.variable(name, value);
            }
            let words: Vec<&[u8]> = process.argv.iter().collect();
            secrets.arguments(&words);
        }
        secrets
    }

    /// Collects the secrets of a unit and of its environment files.
    fn unit(&mut self, root: &Root, candidate: &Candidate<'_>) {
        let Some(service) = &candidate.service else { return };
        let mut has_secret = false;
        for (name, value) in service.settings.environment.iter() {
            has_secret |= self.variable(name, value);
        }
        let commands =
            [&service.exec_start_pre, &service.exec_start, &service.exec_start_post, &service.exec_stop];
        for exec in commands.into_iter().flatten() {
            let mut words = vec![exec.program.clone()];
            words.extend(exec.words.iter().map(|word| Word::literal(word).unwrap_or_default()));
            has_secret |= self.arguments(&words);
        }
        if has_secret {
            self.files.extend(candidate.sources.iter().cloned());
        }
        let credentials = service.settings.credential_files.iter().map(|path| accounts::real(root, path));
        self.files.extend(credentials.filter(|path| !path.is_empty()));
        for path in service.settings.environment_files.iter().flat_map(|file| file.paths(root)) {
            let variables = environment::parse_file(&root.read(&path).unwrap_or_default());
            let mut has_secret = false;
            for (name, value) in variables.iter() {
                has_secret |= self.variable(name, value);
            }
            if has_secret {
                self.files.insert(accounts::real(root, &path));
            }
        }
    }

    /// Collects the secret of a variable. Returns whether there is one.
    fn variable(&mut self, name: &[u8], value: &[u8]) -> bool {
        let range = secret_in_variable(name, value);
        if let Some(range) = range.clone() {
            self.value(&value[range]);
        }
        range.is_some()
    }

    /// Collects the secrets of a command line. Returns whether there are any.
    fn arguments(&mut self, words: &[impl AsRef<[u8]>]) -> bool {
        let mut any = false;
        for (word, range) in words.iter().zip(secrets_in_arguments(words)) {
            if let Some(range) = range {
                self.value(&word.as_ref()[range]);
                any = true;
            }
        }
        any
    }

    fn value(&mut self, value: &[u8]) {
        if is_worth_searching(value) {
            self.values.insert(value[..value.len().min(MAX_LENGTH)].to_vec());
        }
    }

    /// Returns the indexes of files that contain a secret, except files that the lower layers
    /// provide.
    ///
    /// An unreadable file counts as one that contains a secret, and becomes a finding.
    pub fn holders(
        &self,
        root: &Root,
        tree: &Tree,
        delta: &Delta,
        findings: &mut Findings,
    ) -> BTreeSet<usize> {
        if self.values.is_empty() {
            return BTreeSet::new();
        }
        let finders: Vec<Finder<'_>> = self.values.iter().map(Finder::new).collect();
        let mut holders = BTreeSet::new();
        for (index, (found, change)) in tree.found.iter().zip(&delta.changes).enumerate() {
            let is_file = matches!(found.node.kind, Kind::File { size, .. } if size > 0);
            if !is_file || found.content != Content::Known || matches!(change, Change::Provided(_)) {
                continue;
            }
            match holds(root, &found.node.path, &finders) {
                Ok(false) => {}
                Ok(true) => drop(holders.insert(index)),
                Err(cause) => {
                    let why =
                        format!("withheld, because it cannot be searched for secrets of processes: {cause}");
                    findings.loss(findings::Kind::Unreadable, &found.node.path, why);
                    holders.insert(index);
                }
            }
        }
        holders
    }
}

/// Returns whether a file contains one of the values.
fn holds(root: &Root, path: &[u8], finders: &[Finder<'_>]) -> std::io::Result<bool> {
    let mut file = CacheNeutralReader::new(File::from(root.open_file(path)?));
    let mut buffer = vec![0; CHUNK + MAX_LENGTH];
    let mut kept = 0;
    loop {
        let got = file.read(&mut buffer[kept..])?;
        let filled = kept + got;
        if finders.iter().any(|finder| finder.find(&buffer[..filled]).is_some()) {
            return Ok(true);
        }
        if got == 0 {
            return Ok(false);
        }
        // A value can cross the boundary between two reads.
        let keep = filled.min(MAX_LENGTH);
        buffer.copy_within(filled - keep..filled, 0);
        kept = keep;
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({} values, {} files)", self.values.len(), self.files.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_value_at_any_offset_returns_true() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let secret = b"S3cret-value-of-42";
        let finder = [Finder::new(secret)];
        for at in [0, 1, CHUNK - 5, CHUNK + MAX_LENGTH - 9, 3 * CHUNK] {
            let mut content = vec![b'x'; at];
            content.extend_from_slice(secret);
            content.extend_from_slice(b"yyy");
            std::fs::write(dir.path().join("f"), &content).unwrap();
            assert!(holds(&root, b"f", &finder).unwrap(), "{at}");
            content[at + 3] ^= 1;
            std::fs::write(dir.path().join("f"), &content).unwrap();
            assert!(!holds(&root, b"f", &finder).unwrap(), "{at}");
        }
    }

    #[test]
    fn debug_with_values_shows_only_counts() {
        let mut secrets = Secrets::default();
        assert!(secrets.variable(b"DB_PASSWORD", b"S3cret-value"));
        assert!(secrets.arguments(&["x", "--token=T0ken-value"]));
        assert_eq!(format!("{secrets:?}"), "Secrets(2 values, 0 files)");
    }
}
