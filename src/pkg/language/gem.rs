//! Ruby: RubyGems and Bundler. A specification is written after its gem is unpacked and built.

use super::{Records, written};
use crate::model::tree;
use crate::system::root::Root;

/// Returns the directories with `gems`, `cache` and `specifications`.
pub fn places(path: &[u8]) -> Vec<usize> {
    let mut ends = super::named(path, b"gems");
    if path.ends_with(b".gem") {
        ends.extend(super::named(path, b"cache"));
    }
    ends.into_iter().map(|end| tree::parent(&path[..end]).len()).collect()
}

/// Reads the names of the specifications. Gems that Bundler copies from repositories of sources
/// have none there.
pub fn read(root: &Root, directory: &[u8]) -> Records {
    let mut records = Records::default();
    for folder in [&b"specifications"[..], b"specifications/default"] {
        let folder = tree::join(directory, folder);
        for name in root.list(&folder).unwrap_or_default() {
            let time = written(root, &tree::join(&folder, &name));
            let Some((gem, time)) = name.strip_suffix(b".gemspec").zip(time) else { continue };
            records.listed.insert([b"gems/", gem].concat().into(), time);
            // The downloaded archive is stored next.
            let archive = [b"cache/", gem, b".gem"].concat();
            records.listed.insert(archive.into(), (time.0.saturating_add(1), time.1));
        }
    }
    records
}
