//! The image's `/usr`, merged before the first package is unpacked.

use super::target::Target;
use super::{failed, look};
use crate::context::reader;
use crate::error::{Code, Error, Result};
use crate::model::manifest;
use crate::model::merged_usr::{self, Link};
use crate::model::tree::{Kind, Node};
use crate::system::file;
use crate::system::root::Root;
use std::collections::HashMap;
use std::io;
use std::path::Path;

/// Creates the links that the context names, and moves the contents of the directories that they
/// replace. Returns the number of moved objects. Until it returns, executables in the root that
/// need a library cannot run.
pub fn merge(context: &Path, root: &Root, threads: usize) -> Result<usize> {
    let links = read(&context.join(reader::MERGED_USR))?;
    let merged = merged_usr::merge(look(context, root, &|_| None, threads)?, &links);
    let mut target = Target::new(root);
    for path in &merged.lost {
        target.remove(path, false).map_err(|cause| failed("remove", path, cause))?;
    }
    move_all(&mut target, &merged.moves)?;
    for path in merged.emptied.iter().rev() {
        target.remove(path, true).map_err(|cause| failed("remove", path, cause))?;
    }
    for link in &merged.links {
        let made = target.make(link).and_then(|()| target.set_metadata(link));
        made.map_err(|cause| failed("make the link", &link.path, cause))?;
    }
    Ok(merged.moves.len())
}

fn read(list: &Path) -> Result<Vec<Link>> {
    let read = file::read_untrusted(list, reader::MAX_LIST).and_then(file::text);
    let text = read.map_err(|cause| Error::io(reader::MERGED_USR, cause))?;
    let link = |line: &str| {
        let (name, target) = line.split_once('\t')?;
        Some((manifest::safe_path(name)?.into(), manifest::safe_path(target)?.into()))
    };
    let damaged =
        || Error::new(Code::Failed, format!("{} is not what this program writes", reader::MERGED_USR));
    text.lines().map(|line| link(line).ok_or_else(damaged)).collect()
}

fn move_all(target: &mut Target<'_>, moves: &[(Box<[u8]>, Node)]) -> Result<()> {
    let mut first: HashMap<u32, &[u8]> = HashMap::new();
    for (from, node) in moves {
        // On an overlay file system, moving a name separates it from the inode's other names. So
        // only the first name is moved, and the others are linked to it.
        let leader = first.get(&node.group).copied().filter(|_| node.group != 0);
        let moved = match (&node.kind, leader) {
            // A directory of a lower layer cannot be moved there (`EXDEV`).
            (Kind::Directory, _) => make_directory(target, node),
            (_, Some(leader)) => target.link(leader, &node.path).and_then(|_| target.remove(from, false)),
            (_, None) => target.rename(from, &node.path),
        };
        moved.map_err(|cause| failed("move", from, cause))?;
        first.entry(node.group).or_insert(&node.path);
    }
    for (_, node) in moves.iter().rev().filter(|(_, node)| node.kind == Kind::Directory) {
        target.set_metadata(node).map_err(|cause| failed("set metadata of", &node.path, cause))?;
    }
    Ok(())
}

/// Creates a directory, in place of an object of another type if there is one.
fn make_directory(target: &mut Target<'_>, node: &Node) -> io::Result<()> {
    match target.remove(&node.path, false) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(cause),
        _ => target.make(node),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    /// A system as Debian 11's image has it, small.
    fn split(root: &Path) {
        for directory in ["bin", "lib/own", "lib/udev", "lib64", "usr/bin", "usr/lib/udev"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        for file in ["bin/bzip2", "lib/own/x", "lib/udev/rule", "lib64/ld.so", "usr/lib/udev/other"] {
            fs::write(root.join(file), file).unwrap();
        }
        fs::hard_link(root.join("bin/bzip2"), root.join("bin/bunzip2")).unwrap();
        symlink("/bin/bzip2", root.join("usr/bin/bzip2")).unwrap();
        symlink("/lib/own", root.join("usr/lib/own")).unwrap();
        symlink("/usr/bin/which", root.join("bin/which")).unwrap();
        fs::write(root.join("usr/bin/which"), "which").unwrap();
        fs::set_permissions(root.join("lib/own"), fs::Permissions::from_mode(0o2750)).unwrap();
    }

    #[test]
    fn merge_split_root_moves_files_and_second_call_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (context, path) = (dir.path().join("context"), dir.path().join("root"));
        fs::create_dir_all(context.join("packages")).unwrap();
        fs::write(
            context.join(reader::MERGED_USR),
            "/bin\t/usr/bin\n/lib\t/usr/lib\n/lib64\t/usr/lib64\n/sbin\t/usr/sbin\n",
        )
        .unwrap();
        fs::create_dir(&path).unwrap();
        split(&path);
        let root = Root::open(&path).unwrap();
        assert_eq!(merge(&context, &root, 1).unwrap(), 7);
        for (link, to) in [("bin", "usr/bin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")] {
            assert_eq!(fs::read_link(path.join(link)).unwrap(), Path::new(to));
        }
        for file in ["bin/bzip2", "lib/own/x", "lib/udev/rule", "lib64/ld.so", "usr/lib/udev/other"] {
            assert_eq!(fs::read_to_string(path.join(file)).unwrap(), file);
        }
        assert_eq!(fs::read_to_string(path.join("bin/which")).unwrap(), "which");
        let inode = |name: &str| fs::symlink_metadata(path.join(name)).unwrap().ino();
        assert_eq!(inode("usr/bin/bzip2"), inode("usr/bin/bunzip2"));
        assert_eq!(fs::metadata(path.join("usr/lib/own")).unwrap().mode() & 0o7777, 0o2750);
        assert!(!path.join("sbin").exists(), "nothing to stand for");
        assert_eq!(merge(&context, &root, 1).unwrap(), 0);
    }

    #[test]
    fn merge_list_with_invalid_path_returns_error() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("packages")).unwrap();
        for line in ["/bin\t/../bin\n", "bin\t/usr/bin\n", "/bin /usr/bin\n"] {
            fs::write(dir.path().join(reader::MERGED_USR), line).unwrap();
            let error = merge(dir.path(), &Root::open(dir.path()).unwrap(), 1).unwrap_err();
            assert!(error.to_string().contains("merged-usr.list is not"), "{error}");
        }
    }
}
