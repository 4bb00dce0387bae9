//! Applies the layers of an image on top of each other (OCI image-spec, `layer.md`, "Applying
//! Changesets").

use crate::context::tar::assembly::Assembly;
use crate::context::tar::{Contents, Reader};
use crate::model::{escape, tree};
use std::io::{self, Read};

/// Prefix of a whiteout: it deletes the object of lower layers with the rest of the name.
const WHITEOUT: &[u8] = b".wh.";
/// Opaque whiteout: it deletes all objects of lower layers in its directory.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Prefix of metadata of AUFS, which is ignored.
const AUFS: &[u8] = b".wh..wh.";

/// Maximum number of members of all layers together; the largest images have about a million.
/// Each member uses memory, and a small compressed layer can contain very many.
const MAX_MEMBERS: usize = 8 << 20;

/// File system of an image while its layers are applied.
pub struct ImageLayers<'a> {
    tree: Assembly<'a>,
    members: usize,
}

impl<'a> ImageLayers<'a> {
    /// Creates a file system with only a root directory. `wanted` selects the files whose
    /// contents are kept.
    pub fn new(wanted: &'a dyn Fn(&[u8]) -> bool) -> Self {
        ImageLayers { tree: Assembly::new(wanted), members: 0 }
    }

    /// Applies the next layer, an uncompressed tar archive.
    ///
    /// Reads to the end of the stream, so that a digest covers all of it. Errors contain the name
    /// of the member; members before it stay applied.
    ///
    /// A whiteout deletes only objects of lower layers, at any position in the layer. A file that
    /// replaces a directory deletes the objects in it.
    pub fn apply(&mut self, layer: &mut dyn Read) -> io::Result<()> {
        self.tree.next_layer();
        let mut archive = Reader::new(layer);
        while let Some(entry) = archive.next_entry()? {
            self.members += 1;
            if self.members > MAX_MEMBERS {
                let text = "more than 8 million members in the layers";
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
            let path = &entry.node.path;
            let (directory, name) = (tree::parent(path), tree::file_name(path));
            if name == OPAQUE {
                self.tree.hide_beneath(directory)?;
            } else if name.starts_with(AUFS) {
                continue;
            } else if let Some(hidden) = name.strip_prefix(WHITEOUT) {
                if matches!(hidden, b"" | b"." | b"..") {
                    let text = format!("{}: whiteout without a name", escape::display(path));
                    return Err(io::Error::new(io::ErrorKind::InvalidData, text));
                }
                self.tree.hide(&tree::join(directory, hidden))?;
            } else {
                self.tree.place(entry)?;
            }
        }
        self.tree.note(archive.xattr_classes());
        io::copy(&mut archive.into_inner(), &mut io::sink())?;
        Ok(())
    }

    /// Returns the resulting file system.
    pub fn finish(self) -> Contents {
        self.tree.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::tar::Writer;
    use crate::model::tree::{Kind, Node, Stat};

    /// Returns a layer of empty files; names that end in a slash are directories.
    fn layer(names: &str) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new());
        for name in names.split(' ').filter(|name| !name.is_empty()) {
            let path = name.trim_end_matches('/').as_bytes().into();
            let kind =
                if name.ends_with('/') { Kind::Directory } else { Kind::File { size: 0, sha256: None } };
            let node = Node { path, kind: kind.clone(), stat: Stat::default(), group: 0, xattrs: None };
            match kind {
                Kind::Directory => writer.append(&node).unwrap(),
                _ => assert!(writer.append_file(&node, &mut io::empty()).unwrap().is_whole()),
            }
        }
        writer.finish().unwrap()
    }

    fn names(layers: &[&str]) -> io::Result<String> {
        let mut tree = ImageLayers::new(&|_| false);
        layers.iter().try_for_each(|names| tree.apply(&mut layer(names).as_slice()))?;
        let paths = tree.finish().nodes.into_iter().map(|node| escape::escape(&node.path));
        Ok(paths.collect::<Vec<_>>().join(" ").trim_start().to_owned())
    }

    #[test]
    fn image_layers_apply_whiteout_deletes_lower_layers_only() {
        for (layers, left) in [
            (&["a b", ".wh.a"][..], "b"),
            (&["d/ d/x d/y", ".wh.d"], ""),
            (&["d/ d/x", ".wh.d d/ d/new"], "d d/new"),
            (&["d/ d/x", "d/ d/new .wh.d"], "d d/new"),
            (&["d/ d/x", "d/new .wh.d"], "d d/new"),
            (&["a", "a .wh.a"], "a"),
            (&["a", ".wh.a", "a"], "a"),
            (&["d/ d/x d/e/ d/e/y", "d/new d/.wh..wh..opq"], "d d/new"),
            (&["d/ d/x d/e/ d/e/y", "d/.wh..wh..opq d/e/new"], "d d/e d/e/new"),
            (&["a b/c", ".wh..wh..opq"], ""),
            (&["d/x dx d-x", ".wh.d"], "d-x dx"),
            (&["d/x", "d"], "d"),
            (&["d", "d/"], "d"),
            (&["a", ".wh.none .wh..wh.aufs"], "a"),
        ] {
            assert_eq!(names(layers).unwrap(), left, "{layers:?}");
        }
    }

    #[test]
    fn image_layers_apply_whiteout_without_name_returns_error() {
        for name in [".wh.", ".wh..", "d/.wh..."] {
            assert!(names(&["d/x", name]).is_err(), "{name}");
        }
    }
}
