//! Test roots with files of services.

use super::specifiers::{Account, Host};
use crate::model::findings::Findings;
use crate::model::tree;
use crate::system::root::Root;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// A root directory, removed at the end of the test.
pub(super) struct TestRoot {
    _directory: tempfile::TempDir,
    pub(super) root: Root,
}

impl TestRoot {
    /// Creates a root from paths and contents. The content `-> target` makes a symbolic link.
    pub(super) fn new<P: AsRef<[u8]>, C: AsRef<[u8]>>(files: &[(P, C)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = directory.path().join(std::ffi::OsStr::from_bytes(path.as_ref()));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            match content.as_ref().strip_prefix(b"-> ") {
                Some(target) => symlink(std::ffi::OsStr::from_bytes(target), path).unwrap(),
                None => std::fs::write(path, content).unwrap(),
            }
        }
        let root = Root::open(directory.path()).unwrap();
        TestRoot { _directory: directory, root }
    }

    /// Unpacks a root from a `.txtar.xz` file.
    pub(super) fn unpack(name: &str) -> Self {
        let mut text = Vec::new();
        lzma_rust2::XzReader::new(&*data(name), false).read_to_end(&mut text).unwrap();
        let mut files: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        for line in text.split_inclusive(|&byte| byte == b'\n') {
            let header = line.strip_prefix(b"-- ").and_then(|line| line.strip_suffix(b" --\n"));
            match header {
                Some(header) => match memchr::memmem::find(header, b" -> ") {
                    Some(at) => files.push((header[..at].to_vec(), header[at + 1..].to_vec())),
                    None => files.push((header.to_vec(), Vec::new())),
                },
                None => files.last_mut().unwrap().1.extend_from_slice(line),
            }
        }
        TestRoot::new(&files)
    }

    /// Creates a root with the files of a Debian package.
    pub(super) fn debian(package: &str) -> Self {
        let top = folder().join("debian12").join(package);
        let mut files = Vec::new();
        let mut todo = vec![top.clone()];
        while let Some(directory) = todo.pop() {
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    todo.push(path);
                    continue;
                }
                let name = path.strip_prefix(&top).unwrap().as_os_str().as_bytes().to_vec();
                let content = std::fs::read(&path).unwrap();
                match name.strip_suffix(b".symlink") {
                    Some(name) => files.push((name.to_vec(), [b"-> ", content.trim_ascii()].concat())),
                    None => files.push((name, content)),
                }
            }
        }
        TestRoot::new(&files)
    }
}

/// Returns the directory of the fixtures.
pub(super) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/services")
}

/// Returns a fixture's content.
pub(super) fn data(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).unwrap()
}

/// Returns the values of specifiers for tests.
pub(super) fn host() -> Host {
    Host {
        hostname: b"vm.example.org".to_vec(),
        machine_id: Some(b"0123456789abcdef0123456789abcdef".to_vec()),
        kernel: None,
        architecture: b"x86-64".to_vec(),
        user: Account::root(),
    }
}

/// Returns the texts of all findings with their file names.
pub(super) fn texts(findings: &Findings) -> Vec<String> {
    let line = |finding: &crate::model::findings::Finding| {
        let path = String::from_utf8_lossy(tree::file_name(&finding.path)).into_owned();
        format!("{path}: {}", finding.text)
    };
    findings.sorted().iter().map(line).collect()
}

/// Converts byte strings to text.
pub(super) fn shown<T: AsRef<[u8]>>(list: impl IntoIterator<Item = T>) -> Vec<String> {
    list.into_iter().map(|bytes| crate::model::escape::escape(bytes.as_ref())).collect()
}
