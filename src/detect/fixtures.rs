//! Snapshots of procfs trees for the tests, from `tests/data/proc`.

use crate::context::decompress::decompress;
use crate::context::tar::reader::Reader;
use crate::model::tree::Kind;
use crate::system::root::Root;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

pub(super) fn data(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/proc")).join(name)
}

/// Unpacks an archive; the directory goes with the first value.
pub(super) fn unpack(name: &str) -> (tempfile::TempDir, Root) {
    let directory = tempfile::tempdir().unwrap();
    let (_, archive) = decompress(fs::File::open(data(name)).unwrap()).unwrap();
    let mut reader = Reader::new(archive);
    while let Some(mut entry) = reader.next_entry().unwrap() {
        let path = directory.path().join(OsStr::from_bytes(&entry.node.path));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match &entry.node.kind {
            Kind::Directory => fs::create_dir_all(path).unwrap(),
            Kind::Symlink(target) => std::os::unix::fs::symlink(OsStr::from_bytes(target), path).unwrap(),
            _ => {
                std::io::copy(&mut entry.content, &mut fs::File::create(path).unwrap()).unwrap();
            }
        }
    }
    let root = Root::open(directory.path()).unwrap();
    (directory, root)
}

/// Writes files; the directory goes with the first value.
pub(super) fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, Root) {
    let directory = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = directory.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let root = Root::open(directory.path()).unwrap();
    (directory, root)
}
