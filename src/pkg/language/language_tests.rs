use super::*;
use crate::model::tree::{Kind, Node, Stat};
use crate::walk::{Content, WalkedEntry};
use proptest::prelude::*;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// When the records of the tests were written, in seconds since 1970.
const WRITTEN: u64 = 1_700_000_000;

struct Machine(tempfile::TempDir);

impl Machine {
    /// Makes files that were modified when the records were written.
    fn new(files: &[(&str, &str)]) -> Self {
        let machine = Machine(tempfile::tempdir().unwrap());
        files.iter().for_each(|(path, content)| machine.put(path, content, 0));
        machine
    }

    fn put(&self, path: &str, content: &str, seconds_later: u64) {
        let full = self.0.path().join(path);
        fs::create_dir_all(full.parent().unwrap()).unwrap();
        fs::write(&full, content).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(WRITTEN + seconds_later);
        fs::File::options().append(true).open(&full).unwrap().set_modified(time).unwrap();
    }

    /// Whether the file of the machine is a published one.
    fn publishes(&self, path: &str) -> bool {
        let root = Root::open(self.0.path()).unwrap();
        let language = LanguagePackages::new(&root);
        let wanted = language.wanted_digest(path.as_bytes());
        let entry = walked(&self.0.path().join(path), path, wanted);
        let is_published = language.is_published(path.as_bytes(), Some(&entry));
        assert!(!is_published || language.is_published(path.as_bytes(), None), "{path}");
        is_published
    }
}

fn walked(file: &Path, path: &str, wanted: Option<Algorithm>) -> WalkedEntry {
    let content = fs::read(file).unwrap();
    let modified = fs::metadata(file).unwrap().modified().unwrap();
    let mtime = modified.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64;
    let kind = Kind::File { size: content.len() as u64, sha256: Some(sha2::Sha256::digest(&content).into()) };
    let stat = Stat { mtime, ..Stat::default() };
    let sha1 = || Digest::Sha1(<sha1::Sha1 as sha1::Digest>::digest(&content).into());
    WalkedEntry {
        node: Node { path: path.as_bytes().into(), kind, stat, group: 0, xattrs: None },
        rule: None,
        content: Content::Known,
        secret: None,
        published: false,
        extra: (wanted == Some(Algorithm::Sha1)).then(|| Box::new(crate::walk::Extra::Claimed(sha1()))),
    }
}

/// SHA-256 of `abc` as a wheel's `RECORD` has it.
const ABC: &str = "sha256=ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0";
const SITE: &str = "opt/app/venv/lib/python3.11/site-packages";

fn site(record: &str) -> Machine {
    let machine = Machine::new(&[]);
    machine.put(&format!("{SITE}/lib-1.0.dist-info/RECORD"), record, 0);
    machine
}

#[test]
fn is_published_python_file_needs_the_recorded_digest() {
    let machine =
        site(&format!("lib/a.py,{ABC},3\r\n\"lib/b,\"\"c\"\".py\",{ABC},3\nlib-1.0.dist-info/RECORD,,\n"));
    for (path, content) in [("lib/a.py", "abc"), ("lib/b,\"c\".py", "abc"), ("lib/other.py", "abc")] {
        machine.put(&format!("{SITE}/{path}"), content, 0);
    }
    assert!(machine.publishes(&format!("{SITE}/lib/a.py")));
    assert!(machine.publishes(&format!("{SITE}/lib/b,\"c\".py")));
    assert!(!machine.publishes(&format!("{SITE}/lib/other.py")));
    assert!(!machine.publishes(&format!("{SITE}/lib-1.0.dist-info/RECORD")));
    machine.put(&format!("{SITE}/lib/a.py"), "password", 0);
    assert!(!machine.publishes(&format!("{SITE}/lib/a.py")), "changed");
}

#[test]
fn is_published_python_package_of_a_directory_is_not() {
    let machine = site(&format!("lib/a.py,{ABC},3\n"));
    machine.put(&format!("{SITE}/lib/a.py"), "abc", 0);
    machine.put(&format!("{SITE}/lib-1.0.dist-info/direct_url.json"), "{}", 0);
    assert!(!machine.publishes(&format!("{SITE}/lib/a.py")));
}

#[test]
fn is_published_compiled_python_needs_its_published_source() {
    let machine = site(&format!("lib/a.py,{ABC},3\nlib/__pycache__/a.cpython-311.pyc,,\n"));
    machine.put(&format!("{SITE}/lib/a.py"), "abc", 0);
    let compiled = format!("{SITE}/lib/__pycache__/a.cpython-311.pyc");
    let header = |flags: u32, size: u32| {
        let numbers = [3495 | 0x0a0d << 16, flags, WRITTEN as u32, size];
        numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>()
    };
    let put = |content: Vec<u8>| {
        machine.put(&compiled, "", 0);
        fs::write(machine.0.path().join(&compiled), content).unwrap();
    };
    put(header(0, 3));
    assert!(machine.publishes(&compiled));
    put(header(0, 4));
    assert!(!machine.publishes(&compiled), "compiled from another source");
    put(header(1, 3));
    assert!(!machine.publishes(&compiled), "no time in it");
    put(header(0, 3));
    machine.put(&format!("{SITE}/lib/a.py"), "abd", 0);
    assert!(!machine.publishes(&compiled), "changed source");
}

#[test]
fn is_published_egg_needs_the_list_and_its_time() {
    let egg = "usr/local/lib/python3.9/dist-packages";
    let list = "../lib/a.py\n../../../../bin/tool\nPKG-INFO\n";
    let machine = Machine::new(&[]);
    machine.put(&format!("{egg}/lib-1.0.egg-info/installed-files.txt"), list, 0);
    machine.put(&format!("{egg}/lib/a.py"), "abc", 0);
    machine.put(&format!("{egg}/lib/b.py"), "abc", 0);
    assert!(machine.publishes(&format!("{egg}/lib/a.py")));
    assert!(!machine.publishes(&format!("{egg}/lib/b.py")));
    machine.put(&format!("{egg}/lib/a.py"), "abc", 1);
    assert!(!machine.publishes(&format!("{egg}/lib/a.py")));
}

#[test]
fn is_published_npm_lock_lists_packages_of_a_registry() {
    let lock = r#"{"packages": {
        "node_modules/a": {"version": "1.0.0", "resolved": "https://registry.example.org/a.tgz", "integrity": "sha512-x"},
        "node_modules/@s/b": {"version": "1.0.0", "integrity": "sha512-x"},
        "node_modules/file": {"version": "1.0.0", "resolved": "file:../file.tgz", "integrity": "sha512-x"},
        "node_modules/own": {"version": "1.0.0", "resolved": "git+ssh://git@example.com/own.git#0"}}}"#;
    let manifest = r#"{"name": "x", "version": "1.0.0"}"#;
    let machine = Machine::new(&[
        ("srv/app/node_modules/.package-lock.json", lock),
        ("srv/app/node_modules/a/test/key.pem", ""),
        ("srv/app/node_modules/a/.env", ""),
        ("srv/app/node_modules/a/prod.env", ""),
        ("srv/app/node_modules/@s/b/node_modules/bundled/x.js", ""),
        ("srv/app/node_modules/file/x.js", ""),
        ("srv/app/node_modules/own/package.json", manifest),
        ("srv/app/node_modules/own/x.js", ""),
        ("srv/app/node_modules/stray/package.json", manifest),
        ("srv/app/node_modules/stray/x.js", ""),
        ("srv/app/node_modules/x.js", ""),
    ]);
    let publishes = |path: &str| machine.publishes(&format!("srv/app/node_modules/{path}"));
    assert!(publishes("a/test/key.pem") && publishes("@s/b/node_modules/bundled/x.js"));
    for path in ["a/.env", "a/prod.env", "file/x.js", "own/x.js", "stray/x.js", "x.js"] {
        assert!(!publishes(path), "{path}");
    }
    machine.put("srv/app/node_modules/a/test/key.pem", "", 1);
    assert!(!publishes("a/test/key.pem"), "modified after npm ended");
}

#[test]
fn is_published_npm_package_without_lock_needs_its_manifest() {
    let machine = Machine::new(&[
        ("usr/lib/node_modules/a/package.json", r#"{"name": "a", "version": "1.0.0"}"#),
        ("usr/lib/node_modules/a/lib/x.js", ""),
        (
            "usr/lib/node_modules/@s/own/package.json",
            r#"{"name": "@s/own", "version": "1.0.0", "private": true}"#,
        ),
        ("usr/lib/node_modules/@s/own/x.js", ""),
        ("usr/lib/node_modules/c/x.js", ""),
    ]);
    assert!(machine.publishes("usr/lib/node_modules/a/lib/x.js"));
    assert!(!machine.publishes("usr/lib/node_modules/@s/own/x.js"));
    assert!(!machine.publishes("usr/lib/node_modules/c/x.js"));
    machine.put("usr/lib/node_modules/a/lib/x.js", "", 3);
    assert!(!machine.publishes("usr/lib/node_modules/a/lib/x.js"));
}

#[test]
fn is_published_gem_needs_its_specification() {
    let machine = Machine::new(&[
        ("var/lib/gems/3.1.0/specifications/net-ssh-7.2.0.gemspec", ""),
        ("var/lib/gems/3.1.0/gems/net-ssh-7.2.0/test/key", ""),
        ("var/lib/gems/3.1.0/gems/own-1.0/key", ""),
        ("var/lib/gems/3.1.0/cache/net-ssh-7.2.0.gem", ""),
        ("var/lib/gems/3.1.0/bundler/gems/net-ssh-7.2.0/key", ""),
    ]);
    assert!(machine.publishes("var/lib/gems/3.1.0/gems/net-ssh-7.2.0/test/key"));
    assert!(machine.publishes("var/lib/gems/3.1.0/cache/net-ssh-7.2.0.gem"));
    assert!(!machine.publishes("var/lib/gems/3.1.0/gems/own-1.0/key"));
    assert!(!machine.publishes("var/lib/gems/3.1.0/bundler/gems/net-ssh-7.2.0/key"));
    machine.put("var/lib/gems/3.1.0/gems/net-ssh-7.2.0/test/key", "", 1);
    assert!(!machine.publishes("var/lib/gems/3.1.0/gems/net-ssh-7.2.0/test/key"));
}

#[test]
fn is_published_composer_package_is_from_packagist() {
    let installed = r#"{"packages": [
        {"name": "phpseclib/phpseclib", "install-path": "../phpseclib/phpseclib",
         "notification-url": "https://packagist.org/downloads/"},
        {"name": "corp/own", "install-path": "../corp/own"},
        {"name": "drupal/core", "install-path": "../../web/core", "notification-url": "https://packagist.org/downloads/"}]}"#;
    let machine = Machine::new(&[
        ("var/www/app/vendor/composer/installed.json", installed),
        ("var/www/app/vendor/phpseclib/phpseclib/key.php", ""),
        ("var/www/app/vendor/corp/own/key.php", ""),
    ]);
    assert!(machine.publishes("var/www/app/vendor/phpseclib/phpseclib/key.php"));
    assert!(!machine.publishes("var/www/app/vendor/corp/own/key.php"));
    assert!(!machine.publishes("var/www/app/vendor/composer/installed.json"));
    machine.put("var/www/app/vendor/phpseclib/phpseclib/key.php", "", 1);
    assert!(!machine.publishes("var/www/app/vendor/phpseclib/phpseclib/key.php"));
}

/// SHA-1 of `abc` (FIPS 180-4).
const ABC_SHA1: &str = "a9993e364706816aba3e25717850c26c9cd0d89d";

#[test]
fn is_published_java_archive_needs_the_downloaded_checksum() {
    let artifact = "root/.m2/repository/org/lib/1.0";
    let machine = Machine::new(&[]);
    let remote = "#NOTE\nlib-1.0.jar>central=\nlib-1.0.pom>central=\nown.jar>=\n";
    for (name, content) in [
        ("_remote.repositories", remote),
        ("lib-1.0.jar", "abc"),
        ("lib-1.0.jar.sha1", ABC_SHA1),
        ("lib-1.0.pom", "abd"),
        ("lib-1.0.pom.sha1", &format!("{ABC_SHA1}  lib-1.0.pom\n")),
        ("own.jar", "abc"),
        ("own.jar.sha1", ABC_SHA1),
    ] {
        machine.put(&format!("{artifact}/{name}"), content, 0);
    }
    assert!(machine.publishes(&format!("{artifact}/lib-1.0.jar")));
    assert!(!machine.publishes(&format!("{artifact}/lib-1.0.pom")), "changed");
    assert!(!machine.publishes(&format!("{artifact}/own.jar")), "built here");
}

#[test]
fn is_published_gradle_file_has_the_digest_of_its_directory() {
    let cache = format!("root/.gradle/caches/modules-2/files-2.1/org/lib/1.0/{ABC_SHA1}");
    let machine = Machine::new(&[]);
    machine.put(&format!("{cache}/lib-1.0.jar"), "abc", 0);
    machine.put(&format!("{cache}/lib-1.0.pom"), "abd", 0);
    assert!(machine.publishes(&format!("{cache}/lib-1.0.jar")));
    assert!(!machine.publishes(&format!("{cache}/lib-1.0.pom")));
    assert_eq!(maven::parse_directory(b"1").unwrap()[19], 1);
    assert_eq!(maven::parse_directory(b""), None);
    assert_eq!(maven::parse_directory(&[b'0'; 41]), None);
}

#[test]
fn is_published_go_module_needs_the_digest_of_all_files() {
    // golang.org/x/mod/sumdb/dirhash: sha256 of "HEX  MODULE@VERSION/PATH\n" per file.
    let files = [("key.go", "abc"), ("sub/x.go", "")];
    let digest = |content: &str| -> Sha256 { sha2::Sha256::digest(content).into() };
    let list = files.map(|(path, content)| {
        format!("{}  example.com/Lib@v1.0.0/{path}\n", crate::model::escape::hex(&digest(content)))
    });
    let all = digest(&list.concat());
    let hash = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, all);
    let machine = Machine::new(&[("root/go/pkg/mod/cache/download/example.com/!lib/@v/v1.0.0.zip", "")]);
    let recorded = "root/go/pkg/mod/cache/download/example.com/!lib/@v/v1.0.0.ziphash";
    machine.put(recorded, &format!("h1:{hash}"), 0);
    files.iter().for_each(|(path, content)| {
        machine.put(&format!("root/go/pkg/mod/example.com/!lib@v1.0.0/{path}"), content, 0)
    });
    assert!(machine.publishes("root/go/pkg/mod/example.com/!lib@v1.0.0/key.go"));
    assert!(machine.publishes("root/go/pkg/mod/example.com/!lib@v1.0.0/sub/x.go"));
    assert!(machine.publishes("root/go/pkg/mod/cache/download/example.com/!lib/@v/v1.0.0.zip"));
    machine.put("root/go/pkg/mod/example.com/!lib@v1.0.0/sub/secret", "", 0);
    assert!(!machine.publishes("root/go/pkg/mod/example.com/!lib@v1.0.0/key.go"));
}

#[test]
fn is_published_crate_is_from_the_public_registry() {
    let registry = "root/.cargo/registry";
    let public = "index.crates.io-1949cf8c6b5b557f";
    let machine = Machine::new(&[]);
    for path in [
        format!("src/{public}/lib-1.0.0/.cargo-ok"),
        format!("src/{public}/lib-1.0.0/src/key.rs"),
        format!("src/{public}/half-1.0.0/src/key.rs"),
        format!("cache/{public}/lib-1.0.0.crate"),
        "src/registry.corp-0/lib-1.0.0/.cargo-ok".to_owned(),
        "src/registry.corp-0/lib-1.0.0/src/key.rs".to_owned(),
    ] {
        machine.put(&format!("{registry}/{path}"), "", 0);
    }
    assert!(machine.publishes(&format!("{registry}/src/{public}/lib-1.0.0/src/key.rs")));
    assert!(machine.publishes(&format!("{registry}/cache/{public}/lib-1.0.0.crate")));
    assert!(!machine.publishes(&format!("{registry}/src/{public}/half-1.0.0/src/key.rs")));
    assert!(!machine.publishes(&format!("{registry}/src/registry.corp-0/lib-1.0.0/src/key.rs")));
}

#[test]
fn is_published_vendored_crate_needs_the_recorded_digest() {
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let checksums = |package| format!(r#"{{"files": {{"src/key.rs": "{abc}"}}, "package": {package}}}"#);
    let machine =
        Machine::new(&[("srv/app/vendor/lib/src/key.rs", "abc"), ("srv/app/vendor/git/src/key.rs", "abc")]);
    machine.put("srv/app/vendor/lib/.cargo-checksum.json", &checksums("\"0\""), 0);
    machine.put("srv/app/vendor/git/.cargo-checksum.json", &checksums("null"), 0);
    assert!(machine.publishes("srv/app/vendor/lib/src/key.rs"));
    assert!(!machine.publishes("srv/app/vendor/git/src/key.rs"));
    machine.put("srv/app/vendor/lib/src/key.rs", "abd", 0);
    assert!(!machine.publishes("srv/app/vendor/lib/src/key.rs"));
}

#[test]
fn is_published_damaged_record_publishes_nothing() {
    for (record, file) in [
        ("a/node_modules/.package-lock.json", "a/node_modules/b/x.js"),
        ("a/node_modules/b/package.json", "a/node_modules/b/x.js"),
        ("a/vendor/composer/installed.json", "a/vendor/b/c/x.php"),
        ("a/vendor/b/.cargo-checksum.json", "a/vendor/b/src/x.rs"),
        ("a/site-packages/b.dist-info/RECORD", "a/site-packages/b/x.py"),
        (".m2/repository/a/_remote.repositories", ".m2/repository/a/x.jar"),
    ] {
        for content in ["", "{", "[]", "\0", "x.jar>\nb/x.py,sha256=,\n../x,sha256=!,1\n"] {
            let machine = Machine::new(&[(record, content), (file, "abc")]);
            assert!(!machine.publishes(file), "{record}: {content:?}");
        }
    }
}

proptest! {
    #[test]
    fn parse_any_record_never_panics(text: Vec<u8>) {
        pip::parse_record(&text);
        pip::source(&text);
        npm::parse_lock(&text);
        composer::parse_installed(&text);
        maven::parse_remote(&text);
        maven::parse_directory(&text);
        cargo::parse_checksums(&text);
        go::parse_hash(&text);
    }

    #[test]
    fn places_any_path_returns_directories_above(parts in prop::collection::vec(
        prop::sample::select(vec!["a", "node_modules", "@s", "gems", "cache", "vendor", "site-packages", "x.gem",
            "pkg", "mod", "m@v1", "@v", "registry", "src", "github.com-0", ".m2", "repository", ""]), 1..9)) {
        let path = parts.join("/").into_bytes();
        for (places, _) in MANAGERS {
            prop_assert!(places(&path).iter().all(|&length| length == 0 || path[length] == b'/'));
        }
    }
}
