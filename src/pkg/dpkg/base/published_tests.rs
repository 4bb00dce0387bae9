use crate::pkg::Family;
use crate::pkg::dpkg::base::published::*;
use std::collections::BTreeMap;

macro_rules! manifest {
    ($name:literal) => {
        include_bytes!(concat!("../../../../tests/data/baseimages/", $name, ".manifest"))
    };
}

const BOOKWORM: &[u8] = manifest!("debian-bookworm-amd64");
const POTATO: &[u8] = manifest!("debian-potato-i386-slim");

const IMAGE_ID: &str = "sha256:39db83443324e7ef683bd854a90c6615741fecbfe005bc10228129e03af1e950";
const INDEX: &str = "sha256:813017f3d62be4b5891a7acca6a01bdcd4b8513daa81b1ab99d3a50385b26931";

/// Builds a page in the format of repo-info's `local`.
fn page(created: &str) -> String {
    let package = |source: &str, binaries: &[&str]| {
        let binaries: String = binaries.iter().map(|binary| format!("- `{binary}`\n")).collect();
        format!(
            "### `dpkg` source package: `{source}`\n\nBinary Packages:\n\n{binaries}\n\
             Licenses: (parsed from: `/usr/share/doc/x/copyright`)\n\n- `GPL-2`\n- `GPL-3+`\n\n\
             Source:\n\n```console\n$ apt-get source -qq --print-uris {source}\n'http://example.org/x.dsc' x.dsc 1 SHA256:0\n```\n\n\
             Other potentially useful URLs:\n\n- https://sources.example.org/src/x/ (for browsing the source)\n\n"
        )
    };
    let packages = [
        package("attr=1:2.5.1-4", &["libattr1:amd64=1:2.5.1-4"]),
        package("base-files=12.4+deb12u15", &["base-files=12.4+deb12u15"]),
        package("dpkg=1.21.22", &["dpkg=1.21.22"]),
        package("glibc=2.36-9+deb12u10", &["libc-bin=2.36-9+deb12u10", "libc6:amd64=2.36-9+deb12u10"]),
    ];
    format!(
        "# `debian:bookworm`\n\n## Docker Metadata\n\n- Image ID: `{IMAGE_ID}`\n- Created: `{created}`\n\
         - Virtual Size: ~ 116.57 Mb  \n  (total size of all layers on-disk)\n- Arch: `linux`/`amd64`\n- Entrypoint: `[]`\n\
         - Environment:\n  - `PATH=/usr/sbin`\n\n## `dpkg` (`.deb`-based packages)\n\n{}",
        packages.concat()
    )
}

/// Builds a page in the format of repo-info's `remote`.
fn remote(image_id: &str) -> String {
    let section = |platform: &str, id: &str| {
        format!(
            "### `debian:12` - {platform}\n\n```console\n$ docker pull debian@sha256:0\n```\n\n-\tImage ID: `{id}`\n\n"
        )
    };
    format!(
        "## `debian:12`\n\n```console\n$ docker pull debian@{INDEX}\n```\n\n-\tPlatforms: 2\n\t-\tlinux; amd64\n\n{}{}",
        section("linux; arm64 variant v8", "sha256:1"),
        section("linux; amd64", image_id)
    )
}

#[test]
fn read_manifest_real_images_return_all_packages() {
    for (bytes, count, first, last) in [
        (BOOKWORM, 88, "adduser=3.134", "zlib1g:amd64=1:1.2.13.dfsg-1"),
        (
            manifest!("debian-bullseye-eol-arm32v7"),
            96,
            "adduser=3.118+deb11u1",
            "zlib1g:armhf=1:1.2.11.dfsg-2+deb11u2",
        ),
        (manifest!("debian-jessie-amd64"), 111, "acl=2.2.52-2", "zlib1g:amd64=1:1.2.8.dfsg-2+deb8u1"),
        (manifest!("debian-lenny-amd64"), 71, "apt=0.7.20.2+lenny2", "zlib1g=1:1.2.3.3.dfsg-12"),
        (
            manifest!("ubuntu-focal-amd64"),
            92,
            "adduser=3.118ubuntu2",
            "zlib1g:amd64=1:1.2.11.dfsg-2ubuntu1.3",
        ),
        (
            manifest!("ubuntu-trusty-amd64"),
            213,
            "adduser=3.113+nmu3ubuntu3",
            "zlib1g:amd64=1:1.2.8.dfsg-1ubuntu1.1",
        ),
    ] {
        let packages = read_manifest(bytes).unwrap();
        let show = |listed: &Listed| {
            let architecture = listed.architecture.as_ref().map(|a| format!(":{a}")).unwrap_or_default();
            format!("{}{architecture}={}", listed.name, listed.version)
        };
        assert_eq!((packages.len(), show(&packages[0]).as_str()), (count, first));
        assert_eq!(show(&packages[count - 1]), last);
        for line in String::from_utf8_lossy(bytes).lines() {
            assert!(packages.iter().any(|listed| show(listed) == line.replace('\t', "=")), "{line}");
        }
    }
}

#[test]
fn read_manifest_other_documents_return_error() {
    let half = &BOOKWORM[..BOOKWORM.len() / 3];
    for bytes in [
        &b""[..],
        b"404: Not Found",
        b"<!DOCTYPE html>\n<html>\tx</html>\n",
        b"\xff\t1\n",
        b"apt\t2.6.1\n",
        POTATO,
        half,
        &[BOOKWORM, b"oops\n"].concat(),
    ] {
        assert!(read_manifest(bytes).is_err(), "{}", bytes.escape_ascii());
        assert!(read_page(bytes).is_err(), "{}", bytes.escape_ascii());
    }
}

#[test]
fn read_page_returns_image_id_and_packages() {
    let read = read_page(page("2026-08-24T00:00:00Z").as_bytes()).unwrap();
    assert_eq!((read.image_id.as_str(), read.created.as_deref()), (IMAGE_ID, Some("2026-08-24T00:00:00Z")));
    let names: Vec<&str> = read.packages.iter().map(|listed| listed.name.as_str()).collect();
    assert_eq!(names, ["libattr1", "base-files", "dpkg", "libc-bin", "libc6"]);
    assert_eq!(read.packages[0].version, "1:2.5.1-4");
    assert!(read_page(page("").replace("`amd64`", "`arm64`").as_bytes()).is_err());
    assert!(read_page(page("").replace("- `dpkg=1.21.22`", "- `dpkg`").as_bytes()).is_err());
}

#[test]
fn index_digest_other_image_returns_none() {
    // repo-info has the same digest, of an empty index, for every removed tag.
    let gone =
        format!("## `debian:12`\n\n```console\n$ docker pull debian@{INDEX}\n```\n\n-\tPlatforms: 0\n");
    for (page, expected) in [
        (remote(IMAGE_ID), Some(INDEX)),
        (remote("sha256:2"), None),
        (gone, None),
        (remote(IMAGE_ID).replace("linux; amd64\n\n```", "linux; 386\n\n```"), None),
        (remote(IMAGE_ID).replace(INDEX, "sha256:zz"), None),
        (String::new(), None),
    ] {
        assert_eq!(index_digest(page.as_bytes(), IMAGE_ID).as_deref(), expected, "{page}");
    }
    assert_eq!(index_digest(remote("").as_bytes(), ""), None);
}

/// Returns the publishers' documents, found by the end of the URL.
fn net(files: &[(&str, Vec<u8>)]) -> impl FnMut(&str, u64) -> Result<Vec<u8>, String> + use<> {
    let files: BTreeMap<String, Vec<u8>> =
        files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.clone())).collect();
    move |address, limit| {
        let name = address.strip_prefix("https://raw.githubusercontent.com/").unwrap();
        let bytes = files.get(name).cloned().ok_or("404")?;
        assert!(bytes.len() as u64 <= limit, "{address}");
        Ok(bytes)
    }
}

const LOCAL: &str = "docker-library/repo-info/master/repos/debian/local/";
const REMOTE: &str = "docker-library/repo-info/master/repos/debian/remote/";
const ARTIFACTS: &str = "debuerreotype/docker-debian-artifacts/";

fn image<'a>(reference: &'a str, architecture: &'a str) -> Image<'a> {
    let (repository, tag) = reference.split_once(':').unwrap();
    Image { repository, tag, digest: None, codename: "bookworm", architecture }
}

#[test]
fn fetch_page_returns_digest_and_dated_tag() {
    let file = |folder: &str, name: &str| format!("{folder}{name}.md");
    let (local, distant) = (file(LOCAL, "12-slim"), file(REMOTE, "12-slim"));
    let catalog = Catalog::empty(Family::Dpkg, "amd64");
    let midnight = page("2026-08-24T00:00:00Z").into_bytes();
    let ours = remote(IMAGE_ID).into_bytes();
    for (page, remote, tag, digest) in [
        (midnight.clone(), ours.clone(), Some("bookworm-20260824-slim"), Some(INDEX)),
        (midnight, Vec::new(), Some("bookworm-20260824-slim"), None),
        (page("2026-08-17T13:09:51.01Z").into_bytes(), ours, None, Some(INDEX)),
    ] {
        let mut get = net(&[(&local, page), (&distant, remote)]);
        let list = fetch_with(&image("library/debian:12-slim", "amd64"), &catalog, &mut get).unwrap();
        assert_eq!((list.tag.as_deref(), list.digest.as_deref()), (tag, digest));
        assert_eq!(list.packages.len(), 5);
        assert_eq!(list.packages[3].to_string(), "libc-bin:amd64=2.36-9+deb12u10");
        // A reference with a digest accepts only the list of that image.
        let wanted = Image { digest: Some(INDEX), ..image("debian:12-slim", "amd64") };
        assert_eq!(fetch_with(&wanted, &catalog, &mut get).is_ok(), digest.is_some());
    }
}

#[test]
fn fetch_manifest_date_is_its_serial() {
    let artifacts = |name: &str| format!("{ARTIFACTS}dist-arm32v7/{name}");
    let eol = "debuerreotype/docker-debian-eol-artifacts/dist-jessie/jessie/arm32v7/slim/rootfs.manifest";
    let mut get = net(&[
        (&artifacts("serial"), b"20241202\n".to_vec()),
        (&artifacts("bookworm/rootfs.manifest"), BOOKWORM.to_vec()),
        (&artifacts("bookworm/slim/rootfs.manifest"), BOOKWORM.to_vec()),
        (&artifacts("trixie/rootfs.manifest"), b"404: Not Found".to_vec()),
        (eol, manifest!("debian-jessie-amd64").to_vec()),
    ]);
    let catalog = Catalog::empty(Family::Dpkg, "armhf");
    for (reference, tag) in [
        ("debian:12", Some("bookworm-20241202")),
        ("debian:bookworm", Some("bookworm-20241202")),
        ("library/debian:12-slim", Some("bookworm-20241202-slim")),
        ("debian:bookworm-20241202", Some("bookworm-20241202")),
        ("debian/eol:jessie-slim", None),
    ] {
        let list = fetch_with(&image(reference, "arm/v7"), &catalog, &mut get).unwrap();
        assert_eq!(list.tag.as_deref(), tag, "{reference}");
    }
    for reference in [
        "debian:bookworm-20240101",
        "debian:12.8",
        "debian:trixie",
        "debian/eol:jessie",
        "example/debian:12",
        "ubuntu:24.04",
        "debian:",
        "debian:../x",
    ] {
        assert!(fetch_with(&image(reference, "arm/v7"), &catalog, &mut get).is_err(), "{reference}");
    }
    assert!(fetch_with(&image("debian:12", "sparc"), &catalog, &mut get).is_err());
}

#[test]
fn dated_splits_tag_at_date() {
    for (tag, expected) in [
        ("bookworm-20260803", Some(("bookworm", "20260803"))),
        ("noble-20260730.1", Some(("noble", "20260730.1"))),
        ("bookworm-20260803-slim", None),
        ("bookworm-2026080", None),
        ("20260803", None),
        ("-20260803", None),
        ("noble-20260730.", None),
        ("noble-20260730.x", None),
    ] {
        assert_eq!(dated(tag), expected, "{tag}");
    }
}

proptest::proptest! {
    #[test]
    fn parsers_any_bytes_never_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..256), text in "[-`: a=\t\n#]{0,64}") {
        for bytes in [&bytes[..], text.as_bytes()] {
            let _ = (read_manifest(bytes), read_page(bytes), index_digest(bytes, "sha256:0"));
        }
    }
}
