//! Base images in every supported format, complete and damaged.
#![expect(clippy::unwrap_used, reason = "a test")]

mod support;

use sha2::{Digest, Sha256};
use std::io::Write;
use std::path::Path;
use support::images::{
    LAYERS, Layout, TREE, add, config, digest, dump, gzip, layers, pack, tar, with_platform, write_directory,
    zstd,
};
use vm2docker_self::context::tar::{Writer, read_tree};
use vm2docker_self::error::{Code, Error};
use vm2docker_self::image;
use vm2docker_self::image::BaseImage;
use vm2docker_self::model::escape::display;
use vm2docker_self::model::tree::Kind;

/// Returns a layout with an index of several platforms, one of them missing, and attestations, as
/// buildx and the containerd image store write it.
fn layout() -> Layout {
    let mut layout = Layout::default();
    let amd64 = layout.image(&layers(), "amd64");
    let arm64 = layout.image(&layers()[..1], "arm64");
    let mut attestation = layout.blob("application/vnd.oci.image.manifest.v1+json", b"{}".to_vec());
    attestation["annotations"] = serde_json::json!({"vnd.docker.reference.type": "attestation-manifest"});
    let absent = serde_json::json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 5,
        "digest": digest(b"absent"), "platform": {"os": "linux", "architecture": "s390x"}});
    let mut index = layout.index(&[
        with_platform(arm64, "linux", "arm64"),
        with_platform(attestation, "unknown", "unknown"),
        absent,
        with_platform(amd64, "linux", "amd64"),
    ]);
    index["annotations"] = serde_json::json!({"io.containerd.image.name": "docker.io/library/debian:12"});
    layout.finish(&[index])
}

/// Returns an archive of `docker save` before version 25. A layer that occurs twice is a link.
fn old_save(architecture: &str) -> Vec<u8> {
    let layers = layers();
    let config = config(&layers, architecture);
    let name = format!("{}.json", &digest(&config)[7..]);
    let members: Vec<String> = (0..3).map(|place| format!("{place}/layer.tar")).collect();
    let list = serde_json::json!([{"Config": name, "RepoTags": ["debian:12", "debian:bookworm"], "Layers": members}]);
    let mut writer = Writer::new(Vec::new());
    add(&mut writer, "f", &name, &config);
    add(&mut writer, "f", "0/layer.tar", &layers[0]);
    add(&mut writer, "f", "elsewhere/layer.tar", &layers[1]);
    add(&mut writer, "l", "1/layer.tar", b"../elsewhere/layer.tar");
    add(&mut writer, "f", "2/layer.tar", &layers[2]);
    add(&mut writer, "f", "manifest.json", &serde_json::to_vec(&list).unwrap());
    writer.finish().unwrap()
}

fn read(content: &[u8], architecture: &str) -> Result<BaseImage, Error> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(content).unwrap();
    image::read(file.path(), architecture)
}

fn refusal(content: &[u8], architecture: &str) -> String {
    let error = read(content, architecture).unwrap_err();
    assert_eq!(error.code, Code::NotStarted, "{error}");
    error.to_string()
}

fn check(image: &BaseImage, name: Option<&str>) {
    assert_eq!(dump(&image.nodes), TREE);
    assert_eq!(image.name.as_deref(), name);
    assert_eq!(image.architecture.as_deref(), Some("amd64"));
    assert_eq!(image.config_digest, Some(digest(&config(&layers(), "amd64"))));
    assert_eq!(
        (image.config.env.as_slice(), image.config.cmd.as_slice()),
        (&["PATH=/bin".to_owned()][..], &["sh".to_owned()][..])
    );
    assert_eq!(image.files[&b"var/lib/dpkg/status"[..]], b"Package:upper");
    assert_eq!(image.files[&b"etc/os-release"[..]], b"ID=debian");
    let file = |path: &[u8]| {
        image.nodes[vm2docker_self::model::tree::find(&image.nodes, path).unwrap()].kind.clone()
    };
    let content =
        |text: &[u8]| Kind::File { size: text.len() as u64, sha256: Some(Sha256::digest(text).into()) };
    assert_eq!(file(b"linked"), content(b"replaced"));
    assert_eq!(file(b"linked-too"), content(b"1"));
    assert_eq!(file(b"both"), content(b"2"));
}

#[test]
fn read_oci_layout_as_directory_and_archive_returns_image() {
    let layout = layout();
    let directory = tempfile::tempdir().unwrap();
    write_directory(&layout, directory.path());
    let from_directory = image::read(directory.path(), "amd64").unwrap();
    check(&from_directory, Some("debian:12"));
    assert!(from_directory.manifest_digest.is_some());
    let from_archive = read(&pack(&layout.0), "amd64").unwrap();
    assert_eq!(from_archive, from_directory);
    let other = read(&pack(&layout.0), "arm64").unwrap();
    assert_eq!(other.architecture.as_deref(), Some("arm64"));
    assert!(vm2docker_self::model::tree::find(&other.nodes, b"etc/old").is_some());
}

#[test]
fn read_docker_save_old_and_new_format_returns_image() {
    check(&read(&old_save("amd64"), "amd64").unwrap(), Some("debian:12"));
    let mut layout = layout();
    let member = format!("blobs/sha256/{}", &digest(&config(&layers(), "amd64"))[7..]);
    let list = serde_json::json!([{"Config": member, "RepoTags": ["tagged:1"], "Layers": []}]);
    layout.0.insert("manifest.json".to_owned(), serde_json::to_vec(&list).unwrap());
    check(&read(&pack(&layout.0), "amd64").unwrap(), Some("tagged:1"));
}

#[test]
fn read_root_file_system_ignores_whiteouts() {
    let archive =
        tar("d .\nd etc\nf etc/.wh.passwd x\nf etc/passwd root\nf etc/passwd root2\nh etc/link etc/passwd");
    for packed in [archive.clone(), gzip(&archive), zstd(&archive)] {
        let image = read(&packed, "amd64").unwrap();
        assert_eq!(
            dump(&image.nodes),
            "d / 700\nd /etc 700\nf /etc/.wh.passwd 700\nf /etc/link 700 1\nf /etc/passwd 700 1\n"
        );
        assert_eq!(image.files[&b"etc/passwd"[..]], b"root2");
        assert_eq!((image.name, image.config_digest, image.architecture), (None, None, None));
    }
}

#[test]
fn read_hard_link_keeps_replaced_target() {
    let archive = tar("f a 1\nh b a\nf a 2\nh c a\nh d b\nf x/y 1\nf x now-a-file\nf z/y 1\nl z x\nd x");
    let contents = read_tree(archive.as_slice(), &|path| path.len() == 1).unwrap();
    let files: Vec<_> = contents
        .files
        .iter()
        .map(|(path, content)| format!("{}={}", display(path), display(content)))
        .collect();
    assert_eq!(files, ["/a=/2", "/b=/1", "/c=/2", "/d=/1"]);
    assert_eq!(
        dump(&contents.nodes),
        "d / 755\nf /a 700 1\nf /b 700 2\nf /c 700 1\nf /d 700 2\nd /x 700\nl /z 700\n"
    );
    for (broken, why) in [
        ("h a none", "which is not there"),
        ("d a\nh b a", "a hard link to the directory /a"),
        ("f a x\nf a/b x", "/a is not a directory"),
        ("l a a\nf a/b x", "circles"),
        ("f a/../b x", ".. component"),
    ] {
        let error = read_tree(tar(broken).as_slice(), &|_| false).unwrap_err().to_string();
        assert!(error.contains(why) && error.contains("archive member"), "{error}");
    }
}

#[test]
fn read_wrong_platform_or_several_images_returns_error() {
    let text = refusal(&pack(&layout().0), "riscv64");
    assert!(
        text.contains("no image for linux/riscv64") && text.contains("linux/amd64") && text.contains("hint:"),
        "{text}"
    );
    let text = refusal(&old_save("arm64"), "amd64");
    assert!(text.contains("found: linux/arm64"), "{text}");
    let mut both = Layout::default();
    let manifests = [both.image(&layers(), "amd64"), both.image(&layers()[..1], "amd64")];
    let text = refusal(&pack(&both.finish(&manifests).0), "amd64");
    assert!(text.contains("2 images"), "{text}");
    let mut variants = Layout::default();
    let v5 = with_platform(variants.image(&layers()[..1], "arm"), "linux", "arm");
    let v7 = with_platform(variants.image(&layers(), "arm"), "linux", "arm");
    let (mut v5, mut v7) = (v5, v7);
    (v5["platform"]["variant"], v7["platform"]["variant"]) = ("v5".into(), "v7".into());
    let variants = pack(&variants.finish(&[v5, v7]).0);
    assert!(refusal(&variants, "arm").contains("2 images"));
    assert_eq!(dump(&read(&variants, "arm/v7").unwrap().nodes), TREE);
}

#[test]
fn read_wrong_digest_error_contains_both() {
    let good = layout();
    let index: Vec<&String> = good.0.keys().filter(|name| name.starts_with("blobs/")).collect();
    let mut reported = 0;
    for name in index {
        let mut layout = good.clone();
        let content = layout.0.get_mut(name).unwrap();
        let last = content.len() - 1;
        content[last] ^= 1;
        let found = digest(content);
        if let Err(error) = read(&pack(&layout.0), "amd64") {
            let text = error.to_string();
            assert!(text.contains(&name[13..]) && text.contains(&found), "{text}");
            reported += 1;
        }
        let content = layout.0.get_mut(name).unwrap();
        content.truncate(last);
        if let Err(error) = read(&pack(&layout.0), "amd64") {
            assert!(
                error.to_string().contains(&format!("has {last} bytes instead of {}", last + 1)),
                "{error}"
            );
        }
    }
    // Index, two manifests, a configuration and three layers; not those of the other image and of
    // the attestation.
    assert_eq!(reported, 7);
}

#[test]
fn read_layer_with_wrong_diff_id_returns_error() {
    let mut layers = layers();
    let config = config(&layers, "amd64");
    layers[1] = tar("f other x");
    let mut layout = Layout::default();
    let config = layout.blob("application/vnd.oci.image.config.v1+json", config);
    let blobs: Vec<_> = layers
        .iter()
        .map(|layer| layout.blob("application/vnd.oci.image.layer.v1.tar+gzip", gzip(layer)))
        .collect();
    let manifest = serde_json::json!({"config": config, "layers": blobs});
    let manifest =
        layout.blob("application/vnd.oci.image.manifest.v1+json", serde_json::to_vec(&manifest).unwrap());
    let text = refusal(&pack(&layout.finish(&[manifest]).0), "amd64");
    assert!(text.contains(&digest(&layers[1])) && text.contains(&digest(&tar(LAYERS[1]))), "{text}");
}

#[test]
fn read_other_file_error_names_its_type() {
    let cases: [(Vec<u8>, &str); 8] = [
        (Vec::new(), "an empty file"),
        (b"\x7fELF\x02\x01".to_vec(), "an ELF program"),
        (b"FROM debian:12\n".to_vec(), "text"),
        (b"BZh91AY&SY".to_vec(), "bzip2 -d"),
        (tar("f README x"), "neither an image nor a root file system"),
        (gzip(&old_save("amd64")), "decompress it first"),
        (zstd(&pack(&layout().0)), "decompress it first"),
        (gzip(b"not a tar"), "truncated"),
    ];
    for (content, text) in cases {
        let error = refusal(&content, "amd64");
        assert!(error.contains(text), "{error}");
    }
    let error = image::read(Path::new("/nonexistent\n"), "amd64").unwrap_err();
    assert!(error.code == Code::Failed && error.to_string().contains("/nonexistent\\x0a"), "{error}");
    assert_eq!(image::read(tempfile::tempdir().unwrap().path(), "amd64").unwrap_err().code, Code::NotStarted);
}

/// Truncates the image at every block and flips a byte in every block.
///
/// Reading must not panic. Images with digests must be read unchanged or not at all.
#[test]
fn read_damaged_image_never_panics_or_returns_other_image() {
    let rootfs = tar("d etc\nf etc/passwd root\nh link etc/passwd\nl long aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    let images = [pack(&layout().0), old_save("amd64"), rootfs.clone(), gzip(&rootfs), zstd(&rootfs)];
    let file = tempfile::NamedTempFile::new().unwrap();
    for (number, image) in images.iter().enumerate() {
        std::fs::write(file.path(), image).unwrap();
        let good = image::read(file.path(), "amd64").unwrap();
        for end in (0..image.len().saturating_sub(1024)).step_by(512) {
            std::fs::write(file.path(), &image[..end]).unwrap();
            let result = image::read(file.path(), "amd64");
            // The image is complete without the data after its last required member.
            assert!(result.map_or(true, |image| number < 2 && image == good), "{number} at {end}");
        }
        for place in (0..image.len()).step_by(127) {
            let mut flipped = image.clone();
            flipped[place] ^= 0x55;
            std::fs::write(file.path(), &flipped).unwrap();
            let _ = image::read(file.path(), "amd64")
                .is_ok_and(|image| number > 1 || image.nodes == good.nodes || panic!("{place}"));
        }
    }
}
