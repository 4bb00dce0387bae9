//! Package files, generated here and by `dpkg-deb`, and servers with and without range requests.

use crate::context::tar;
use crate::model::tree::{Kind, Node, Stat};
use crate::pkg::dpkg::repository::deb::*;
use crate::pkg::dpkg::repository::mirror::{Fault, Files, Mirror, client, pin, xz};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::io::Write;

const CONTROL: &str = "Package: a\nVersion: 1\nArchitecture: all\nDescription: x\n";
const SUM: &str = "d41d8cd98f00b204e9800998ecf8427e";

fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = tar::Writer::new(Vec::new());
    let root = Node {
        path: b"".as_slice().into(),
        kind: Kind::Directory,
        stat: Stat::default(),
        group: 0,
        xattrs: None,
    };
    writer.append(&root).unwrap();
    for (path, content) in files {
        let kind = Kind::File { size: content.len() as u64, sha256: None };
        let node = Node { path: path.as_bytes().into(), kind, ..root.clone() };
        writer.append_file(&node, &mut &content[..]).unwrap();
    }
    writer.finish().unwrap()
}

fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, content) in members {
        bytes.extend(
            format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100_644, content.len()).bytes(),
        );
        bytes.extend_from_slice(content);
        bytes.extend(vec![b'\n'; content.len() % 2]);
    }
    bytes
}

fn gz(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// Returns a package whose control member has about `padding` bytes.
fn package(padding: usize) -> Vec<u8> {
    let sums = format!("{SUM}  usr/bin/a\nbroken\n{SUM}  ./etc/b\n");
    // Random bytes, which do not compress.
    let noise: Vec<u8> =
        (0..padding as u32 / 4).flat_map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
    let control = tar(&[
        ("control", CONTROL.as_bytes()),
        ("conffiles", b"/etc/b\n/etc/c d\nremove-on-upgrade /etc/old\n"),
        ("postinst", &noise),
        ("md5sums", sums.as_bytes()),
    ]);
    let data = tar(&[("usr/bin/a", b""), ("etc/b", b"bb")]);
    ar(&[("debian-binary", b"2.0\n"), ("control.tar.gz", &gz(&control)), ("data.tar.xz", &xz(&data))])
}

fn expected() -> Head {
    let file = |path: &str, md5: bool, conffile| {
        let md5 = if md5 { crate::model::escape::unhex(SUM.as_bytes()) } else { None };
        PackagedFile { path: path.as_bytes().into(), md5, conffile }
    };
    let files = vec![file("etc/b", true, true), file("etc/c d", false, true), file("usr/bin/a", true, false)];
    Head { pin: pin("a 1 all"), files }
}

#[test]
fn parse_every_compression_returns_files() {
    let control = tar(&[("control", CONTROL.as_bytes())]);
    let zstd = zstd::encode_all(&control[..], 1).unwrap();
    for (name, member) in [
        ("control.tar", control.clone()),
        ("control.tar.gz", gz(&control)),
        ("control.tar.xz/", xz(&control)),
        ("control.tar.zst", zstd),
    ] {
        let package = ar(&[("debian-binary", b"2.0\n"), ("_more", b"x"), (name, &member)]);
        assert_eq!(parse(&package[..]).unwrap(), Head { pin: pin("a 1 all"), files: Vec::new() }, "{name}");
    }
    assert_eq!(parse(&package(0)[..]).unwrap(), expected());
}

#[test]
fn parse_truncated_or_other_file_returns_error() {
    let whole = package(0);
    let end = ar::end_of_member(&whole[..200], b"control.tar").unwrap() as usize;
    for length in 0..end {
        assert!(parse(&whole[..length]).is_err(), "{length}");
    }
    assert_eq!(parse(&whole[..end]).unwrap(), expected());
    for bytes in [
        ar(&[("debian-binary", b"2.0\n")]),
        ar(&[("a", b"".as_slice()); 20]),
        b"<html>".repeat(50),
        Vec::new(),
    ] {
        assert!(parse(&bytes[..]).is_err());
    }
    let nameless = ar(&[("control.tar", &tar(&[("control", b"Version: 1\n")]))]);
    assert!(parse(&nameless[..]).unwrap_err().to_string().contains("names no package"));
}

fn serve(content: Vec<u8>, fault: Option<Fault>) -> (Mirror, Wanted) {
    let mirror = Mirror::start(
        Files(BTreeMap::from([("a.deb".to_owned(), content)])),
        fault.map(|fault| ("a.deb".to_owned(), fault)).into_iter().collect(),
    );
    let wanted = Wanted { url: mirror.url("/a.deb"), pin: pin("a 1 all") };
    (mirror, wanted)
}

#[test]
fn head_fetches_first_kilobytes_only() {
    for (padding, fault, requests) in
        [(0, None, 1), (40_000, None, 2), (0, Some(Fault::NoParts), 1), (40_000, Some(Fault::NoParts), 1)]
    {
        let mut content = package(padding);
        content.resize(1 << 20, 0);
        let (mirror, wanted) = serve(content, fault);
        let client = client();
        assert_eq!(head(&client, &wanted).unwrap(), expected(), "{padding} {fault:?}");
        assert_eq!(mirror.asked().len(), requests);
        assert!(client.figures().received < 256 << 10, "{:?}", client.figures());
    }
}

#[test]
fn many_wrong_responses_are_separate_errors() {
    let (_good, right) = serve(package(0), None);
    let (_cut, cut) = serve(package(0), Some(Fault::CutAt(100)));
    let absent = Wanted { url: right.url.replace("a.deb", "b.deb"), pin: right.pin.clone() };
    let other = Wanted { pin: pin("a 2 all"), ..right.clone() };
    let huge = String::from_utf8(ar(&[("control.tar", b"")])).unwrap().replace("0         `", "9999999999`");
    let huge = huge.into_bytes();
    let (_huge, huge) = serve(huge, None);
    let (_html, html) = serve(b"<html>".repeat(1000), None);
    let results = many(&client(), &[absent, right, other, cut, huge, html]);
    let shown: Vec<String> = results
        .iter()
        .map(|result| match result {
            Ok(head) => head.pin.to_string(),
            Err(cause) => cause.to_string(),
        })
        .collect();
    for (shown, part) in shown.iter().zip([
        "404",
        "a:all=1",
        "another package",
        "interrupted",
        "too large",
        "not a Debian package",
    ]) {
        assert!(shown.contains(part), "{shown}: {part}");
    }
}

proptest! {
    #[test]
    fn parse_any_bytes_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&[ar(&[]), bytes.clone()].concat()[..]);
        let _ = parse(&ar(&[("control.tar", &bytes)])[..]);
    }
}
