//! Images built member by member.

use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use vm2docker_self::context::tar::Writer;
use vm2docker_self::model::escape::{display, hex};
use vm2docker_self::model::tree::{Kind, Node, Stat};

/// Returns an archive with one member per line: `d path`, `f path content`, `l path target`
/// (symbolic), `h path first` (hard link).
pub(crate) fn tar(text: &str) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut words = line.split(' ');
        let (kind, path, rest) =
            (words.next().unwrap(), words.next().unwrap(), words.next().unwrap_or_default());
        add(&mut writer, kind, path, rest.as_bytes());
    }
    writer.finish().unwrap()
}

pub(crate) fn add(writer: &mut Writer<Vec<u8>>, kind: &str, path: &str, rest: &[u8]) {
    let stat = Stat { mode: 0o700, uid: 1, gid: 2, mtime: 3, mtime_nsec: 0 };
    let kind_of = match kind {
        "d" => Kind::Directory,
        "l" => Kind::Symlink(rest.into()),
        _ => Kind::File { size: rest.len() as u64, sha256: None },
    };
    let node = Node { path: path.as_bytes().into(), kind: kind_of, stat, group: 0, xattrs: None };
    match kind {
        "f" => assert!(writer.append_file(&node, &mut { rest }).unwrap().is_whole()),
        "h" => writer.append_link(&node, rest).unwrap(),
        _ => writer.append(&node).unwrap(),
    }
}

/// A tar of these files.
pub(crate) fn pack(files: &BTreeMap<String, Vec<u8>>) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    files.iter().for_each(|(name, content)| add(&mut writer, "f", name, content));
    writer.finish().unwrap()
}

pub(crate) fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zstd(data: &[u8]) -> Vec<u8> {
    zstd::encode_all(data, 1).unwrap()
}

pub(crate) fn digest(data: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(data)))
}

/// Whiteouts, an opaque directory, hard links into lower layers, a file in place of a directory.
pub(crate) const LAYERS: [&str; 3] = [
    "d etc
     f etc/os-release ID=debian
     f etc/old gone
     f etc/kept 1
     d opaque
     f opaque/lower x
     d opaque/sub
     f opaque/sub/lower x
     f was-a-directory/inside x
     f linked 1
     d usr
     d usr/lib
     l lib usr/lib
     l loop loop
     f var/lib/dpkg/status Package:base",
    "f etc/.wh.old
     f opaque/new y
     f opaque/.wh..wh..opq
     f was-a-directory file-now
     h linked-too linked
     f lib/through z
     f .wh..wh.plnk x
     f both 1",
    "f linked replaced
     f .wh.both
     f both 2
     d etc
     f etc/.wh.none
     f var/lib/dpkg/status Package:upper",
];

/// Tree of [`LAYERS`], in the format of `find -printf '%y %p'`, with the group of hard links and
/// the layer's mode.
pub(crate) const TREE: &str = "d / 755
f /both 700
d /etc 700
f /etc/kept 700
f /etc/os-release 700
l /lib 700
f /linked 700
f /linked-too 700
l /loop 700
d /opaque 700
f /opaque/new 700
d /usr 700
d /usr/lib 700
f /usr/lib/through 700
d /var 755
d /var/lib 755
d /var/lib/dpkg 755
f /var/lib/dpkg/status 700
f /was-a-directory 700
";

pub(crate) fn dump(nodes: &[Node]) -> String {
    nodes
        .iter()
        .map(|node| {
            let kind = &node.kind.name()[..1].replace('s', "l");
            let group = if node.group == 0 { String::new() } else { format!(" {}", node.group) };
            format!("{kind} {} {:o}{group}\n", display(&node.path), node.stat.mode)
        })
        .collect()
}

pub(crate) fn config(layers: &[Vec<u8>], architecture: &str) -> Vec<u8> {
    let diff_ids: Vec<String> = layers.iter().map(|layer| digest(layer)).collect();
    serde_json::to_vec(&serde_json::json!({
        "architecture": architecture, "os": "linux",
        "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"], "Entrypoint": null, "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }))
    .unwrap()
}

/// The files of an OCI layout, by name.
#[derive(Clone, Default)]
pub(crate) struct Layout(pub(crate) BTreeMap<String, Vec<u8>>);

impl Layout {
    pub(crate) fn blob(&mut self, media_type: &str, content: Vec<u8>) -> serde_json::Value {
        let digest = digest(&content);
        let size = content.len();
        self.0.insert(format!("blobs/sha256/{}", &digest[7..]), content);
        serde_json::json!({"mediaType": media_type, "digest": digest, "size": size})
    }

    pub(crate) fn image(&mut self, layers: &[Vec<u8>], architecture: &str) -> serde_json::Value {
        let config = self.blob("application/vnd.oci.image.config.v1+json", config(layers, architecture));
        let packed: Vec<serde_json::Value> = layers
            .iter()
            .enumerate()
            .map(|(place, layer)| match place % 3 {
                0 => self.blob("application/vnd.oci.image.layer.v1.tar+gzip", gzip(layer)),
                1 => self.blob("application/vnd.oci.image.layer.v1.tar+zstd", zstd(layer)),
                _ => self.blob("application/vnd.docker.image.rootfs.diff.tar", layer.clone()),
            })
            .collect();
        let manifest = serde_json::json!({"schemaVersion": 2, "config": config, "layers": packed});
        let manifest = serde_json::to_vec(&manifest).unwrap();
        self.blob("application/vnd.oci.image.manifest.v1+json", manifest)
    }

    pub(crate) fn index(&mut self, manifests: &[serde_json::Value]) -> serde_json::Value {
        let index =
            serde_json::to_vec(&serde_json::json!({"schemaVersion": 2, "manifests": manifests})).unwrap();
        self.blob("application/vnd.oci.image.index.v1+json", index)
    }

    /// Makes these descriptors the layout's own index.
    pub(crate) fn finish(mut self, manifests: &[serde_json::Value]) -> Self {
        self.0.insert("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec());
        let index = serde_json::json!({"schemaVersion": 2, "manifests": manifests});
        self.0.insert("index.json".to_owned(), serde_json::to_vec(&index).unwrap());
        self
    }
}

pub(crate) fn layers() -> Vec<Vec<u8>> {
    LAYERS.iter().map(|text| tar(text)).collect()
}

pub(crate) fn with_platform(
    mut descriptor: serde_json::Value,
    os: &str,
    architecture: &str,
) -> serde_json::Value {
    descriptor["platform"] = serde_json::json!({"os": os, "architecture": architecture});
    descriptor
}

pub(crate) fn write_directory(layout: &Layout, directory: &Path) {
    for (name, content) in &layout.0 {
        let path = directory.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
}
