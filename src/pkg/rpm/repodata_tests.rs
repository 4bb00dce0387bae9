//! Lists as createrepo_c writes them, reduced to the elements that are read.

use crate::pkg::rpm::Damage;
use crate::pkg::rpm::repodata::{OfferedPackage, parse_repomd, read_primary};
use proptest::prelude::*;

const PRIMARY: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<metadata xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm" packages="2">
<package type="rpm">
  <name>hello</name>
  <arch>x86_64</arch>
  <version epoch="1" ver="2.10" rel="3.el9"/>
  <checksum type="sha256" pkgid="YES">00ff</checksum>
  <summary>Says &lt;hello&gt;</summary>
  <size package="2845" installed="70" archive="404"/>
  <location href="Packages/h/hello-2.10-3.el9.x86_64.rpm"/>
  <format>
    <rpm:sourcerpm>hello-2.10-3.el9.src.rpm</rpm:sourcerpm>
    <rpm:header-range start="280" end="2637"/>
    <rpm:provides><rpm:entry name="hello" flags="EQ" epoch="1" ver="2.10" rel="3.el9"/></rpm:provides>
    <rpm:requires><rpm:entry name="libc.so.6()(64bit)"/><rpm:entry name="bash" flags="GE" epoch="0" ver="5"/></rpm:requires>
    <file>/usr/bin/hello</file>
  </format>
</package>
<package type="rpm">
  <name>world</name>
  <arch>noarch</arch>
  <version epoch="0" ver="1" rel="1"/>
  <checksum type="sha256" pkgid="YES">0a0b</checksum>
  <location href="w/world-1-1.noarch.rpm"/>
</package>
</metadata>
"#;
fn packages(text: &str) -> (Vec<OfferedPackage>, u64) {
    let mut packages = Vec::new();
    let damages = read_primary(&mut text.as_bytes(), &mut |package| packages.push(package.clone())).unwrap();
    (packages, damages.total)
}

#[test]
fn read_primary_values_of_a_package() {
    let (packages, damages) = packages(PRIMARY);
    assert_eq!((packages.len(), damages), (2, 0));
    let OfferedPackage { name, architecture, epoch, version, release } = &packages[0];
    let values = [name, architecture, epoch, version, release];
    assert_eq!(values, ["hello", "x86_64", "1", "2.10", "3.el9"].map(|text| text.as_bytes()));
}

#[test]
fn read_primary_damaged_package_others_are_returned() {
    let text = PRIMARY.replace("<name>hello</name>", "");
    let (packages, damages) = packages(&text);
    assert_eq!((packages.len(), damages), (1, 1));
    assert_eq!(packages[0].name, b"world");
}

#[test]
fn parse_repomd_other_document_returns_error() {
    let parse = |text: &str| parse_repomd(&mut text.as_bytes()).map_err(|damage: Damage| damage.to_string());
    assert_eq!(parse("<html></html>"), Err("the document has another root element at offset 0".to_owned()));
    assert_eq!(parse("<repomd><data>"), Err("the document is truncated at offset 14".to_owned()));
    assert!(parse("<repomd/>").unwrap().lists.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn read_changed_lists_never_panic(changes in proptest::collection::vec((0.0..1.0, any::<u8>()), 1..6)) {
        let mut text = PRIMARY.as_bytes().to_vec();
        for &(place, value) in &changes {
            let at = (text.len() as f64 * place) as usize;
            text[at] = value;
        }
        let _ = read_primary(&mut text.as_slice(), &mut |_| ());
        let _ = parse_repomd(&mut text.as_slice());
    }
}
