//! Determines which package owns a path, and the command that removes the package.

use crate::model::escape;
use crate::system::root::Root;
use std::io;

/// Returns the command that removes the package that owns the file at `path`, an absolute path.
/// `None` if the file is unpackaged.
///
/// Reads dpkg's lists of files (dpkg(1), "FILES") without changing their access times. The error
/// contains the file that could not be read.
pub(super) fn removal_command(root: &Root, path: &[u8]) -> Result<Option<Vec<String>>, (String, io::Error)> {
    const LISTS: &str = "var/lib/dpkg/info";
    let names = match root.list(LISTS.as_bytes()) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        names => names.map_err(|cause| (LISTS.to_owned(), cause))?,
    };
    for name in names.iter().filter(|name| name.ends_with(b".list")) {
        let list = root.read(&[LISTS.as_bytes(), b"/", name].concat());
        let list = list.map_err(|cause| (escape::escape(name), cause))?;
        if list.split(|&byte| byte == b'\n').any(|line| line == path) {
            let package = String::from_utf8_lossy(&name[..name.len() - ".list".len()]).into_owned();
            return Ok(Some(vec![
                "/usr/bin/dpkg".to_owned(),
                "--purge".to_owned(),
                "--".to_owned(),
                package,
            ]));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removal_command_owned_unowned_and_unreadable() {
        let dir = tempfile::tempdir().unwrap();
        let info = dir.path().join("var/lib/dpkg/info");
        std::fs::create_dir_all(&info).unwrap();
        std::fs::write(info.join("other.list"), "/.\n/usr/bin/tools\n").unwrap();
        std::fs::write(info.join("tool.md5sums"), "/usr/bin/tool\n").unwrap();
        std::fs::write(info.join("tool.list"), "/.\n/usr\n/usr/bin\n/usr/bin/tool\n").unwrap();
        let root = Root::open(dir.path()).unwrap();
        let command = removal_command(&root, b"/usr/bin/tool").unwrap().unwrap();
        assert_eq!(command, ["/usr/bin/dpkg", "--purge", "--", "tool"]);
        assert_eq!(removal_command(&root, b"/usr/bin/other").unwrap(), None);
        std::fs::create_dir(info.join("torn.list")).unwrap();
        let (file, _) = removal_command(&root, b"/usr/bin/other").unwrap_err();
        assert_eq!(file, "torn.list");
    }
}
