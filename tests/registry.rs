//! Pulls images from a real registry, with every kind of layer, login and certificate.
#![expect(clippy::unwrap_used, reason = "a test")]

mod support;

use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use support::images::{Layout, TREE, config, digest, dump, gzip, layers, with_platform, write_directory};
use support::tool::{command, finish};
use vm2docker_self::image;
use vm2docker_self::image::BaseImage;
use vm2docker_self::image::registry::{Access, Credentials, Failure, Reference};
use vm2docker_self::transfer::net;
use vm2docker_self::transfer::net::{Client, Request, Settings};

/// `docker-registry` on a free loopback port; it is killed when dropped.
struct Registry {
    child: Child,
    address: SocketAddr,
}

impl Registry {
    /// Starts a registry that stores images in `directory`.
    ///
    /// `http` is added to the section `http` of the configuration, `more` to its top level.
    fn start(directory: &Path, http: &str, more: &str) -> Self {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let mut text = "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n".to_owned();
        writeln!(text, "storage: {{filesystem: {{rootdirectory: {}}}}}", directory.join("storage").display())
            .unwrap();
        write!(text, "http:\n  addr: {address}\n{http}{more}").unwrap();
        let file = directory.join(format!("{}.yml", address.port()));
        std::fs::write(&file, text).unwrap();
        let child = command("docker-registry")
            .arg("serve")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let registry = Registry { child, address };
        let began = Instant::now();
        while TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err() {
            assert!(began.elapsed() < Duration::from_secs(30), "docker-registry does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        registry
    }

    fn reference(&self, name: &str) -> Reference {
        Reference::parse(&format!("{}/{name}", self.address)).unwrap()
    }

    /// Copies an OCI layout to the registry with skopeo.
    fn push(&self, layout: &Path, name: &str, options: &[&str]) {
        let mut skopeo = command("skopeo");
        skopeo.args(["--insecure-policy", "copy", "--dest-tls-verify=false"]).args(options);
        skopeo.arg(format!("oci:{}", layout.display())).arg(format!("docker://{}/{name}", self.address));
        finish(skopeo.env("HOME", layout)).ends(0);
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn client() -> Client {
    Client::new(Settings::default()).unwrap()
}

fn access(client: &Client) -> Access<'_> {
    Access { client, credentials: Credentials::default() }
}

/// Returns a layout with an index of two platforms and three layers (gzip, zstd, uncompressed)
/// with whiteouts.
fn oci() -> Layout {
    let mut layout = Layout::default();
    let amd64 = layout.image(&layers(), "amd64");
    let arm64 = layout.image(&layers()[..1], "arm64");
    let index =
        layout.index(&[with_platform(arm64, "linux", "arm64"), with_platform(amd64, "linux", "amd64")]);
    layout.finish(&[index])
}

/// Returns an image with gzip layers only, because Docker's manifests do not support others.
fn gzip_image() -> Layout {
    let mut layout = Layout::default();
    let config = layout.blob("application/vnd.oci.image.config.v1+json", config(&layers(), "amd64"));
    let packed: Vec<serde_json::Value> = layers()
        .iter()
        .map(|layer| layout.blob("application/vnd.oci.image.layer.v1.tar+gzip", gzip(layer)))
        .collect();
    let manifest = serde_json::json!({"schemaVersion": 2, "config": config, "layers": packed});
    let manifest = serde_json::to_vec(&manifest).unwrap();
    let manifest = layout.blob("application/vnd.oci.image.manifest.v1+json", manifest);
    layout.finish(&[manifest])
}

/// Removes name and digests of the manifest, which differ between the sources of an image.
fn content(image: BaseImage) -> BaseImage {
    BaseImage { name: None, index_digest: None, manifest_digest: None, ..image }
}

#[test]
fn pull_pushed_image_returns_same_content() {
    let place = tempfile::tempdir().unwrap();
    let registry = Registry::start(place.path(), "", "");
    let client = client();
    let access = access(&client);
    for (layout, name, options, same_documents) in [
        (oci(), "team/oci:12", &["--all"][..], true),
        (gzip_image(), "docker:12", &["--format", "v2s2"], false),
        (gzip_image(), "a/b/single", &[], true),
    ] {
        let directory = place.path().join(name.replace(['/', ':'], "-"));
        write_directory(&layout, &directory);
        registry.push(&directory, name, options);
        let reference = registry.reference(name);
        let expected = image::read(&directory, "amd64").unwrap();
        let image = access.pull(&reference, "amd64").unwrap();
        assert_eq!(dump(&image.nodes), TREE);
        assert_eq!(image.name, Some(reference.to_string()));
        assert_eq!(image.manifest_digest == expected.manifest_digest, same_documents);
        let index = image.index_digest.clone().unwrap();
        let is_tagged = layout.0["index.json"].windows(index.len()).any(|window| window == index.as_bytes());
        assert_eq!(is_tagged, same_documents, "{index}");
        assert_eq!(content(image), content(expected));
        let pinned = Reference::parse(&reference.pinned(&index)).unwrap();
        assert!(access.pull(&pinned, "amd64").is_ok() && access.exists(&pinned).unwrap());
    }
    let other = access.pull(&registry.reference("team/oci:12"), "arm64").unwrap();
    assert_eq!(other.architecture.as_deref(), Some("arm64"));
    let failure = access.pull(&registry.reference("team/oci:12"), "s390x").unwrap_err();
    assert!(failure.to_string().contains("linux/arm64, linux/amd64"), "{failure}");
    let absent = registry.reference("team/oci").pinned(&digest(b"absent"));
    for absent in [registry.reference("team/none:12"), Reference::parse(&absent).unwrap()] {
        assert!(!access.exists(&absent).unwrap());
        assert!(matches!(access.pull(&absent, "amd64"), Err(Failure::Net(failure)) if failure.is_absent()));
    }
    assert!(client.figures().received > 0);
}

#[test]
fn tags_pushed_tags_are_listed() {
    let place = tempfile::tempdir().unwrap();
    let registry = Registry::start(place.path(), "", "");
    let directory = place.path().join("layout");
    write_directory(&gzip_image(), &directory);
    for tag in ["12", "12.1", "bookworm"] {
        registry.push(&directory, &format!("debian:{tag}"), &[]);
    }
    let client = client();
    assert_eq!(access(&client).tags(&registry.reference("debian")).unwrap(), ["12", "12.1", "bookworm"]);
}

#[test]
fn pull_login_in_docker_config_is_used() {
    let place = tempfile::tempdir().unwrap();
    let passwords = finish(command("htpasswd").args(["-nbB", "me", "secret"])).ends(0).out;
    let file = place.path().join("passwords");
    std::fs::write(&file, passwords.trim()).unwrap();
    let auth = format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", file.display());
    let registry = Registry::start(place.path(), "", &auth);
    let directory = place.path().join("layout");
    write_directory(&oci(), &directory);
    registry.push(&directory, "private:12", &["--all", "--dest-creds", "me:secret"]);
    let client = client();
    let reference = registry.reference("private:12");
    let failure = access(&client).pull(&reference, "amd64").unwrap_err();
    assert!(matches!(&failure, Failure::Net(net::Failure::Status { status: 401, .. })), "{failure}");
    for (auth, good) in [("bWU6c2VjcmV0", true), ("bWU6d3Jvbmc=", false)] {
        let docker = place.path().join("config.json");
        let text = serde_json::json!({"auths": {registry.address.to_string(): {"auth": auth}}});
        std::fs::write(&docker, text.to_string()).unwrap();
        let access = Access { client: &client, credentials: Credentials::of_file(&docker) };
        assert_eq!(access.pull(&reference, "amd64").is_ok(), good);
    }
}

/// Runs openssl in the directory.
fn openssl(directory: &Path, arguments: &str) {
    finish(command("openssl").current_dir(directory).args(arguments.split(' '))).ends(0);
}

/// Creates a CA (`ca.pem`) and certificates with name, subject alternative name and validity.
fn certificates(directory: &Path, wanted: &[(&str, &str, &str, &str)]) {
    let text = "[ca]\ndefault_ca=own\n[own]\nnew_certs_dir=.\ndatabase=list\nserial=serial\ndefault_md=sha256\npolicy=any\n\
                unique_subject=no\n[any]\ncommonName=supplied\n";
    for (name, content) in [("ca.cnf", text), ("list", ""), ("serial", "01\n")] {
        std::fs::write(directory.join(name), content).unwrap();
    }
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(directory, &format!("req -x509 {key} -subj /CN=authority -days 30 -keyout ca.key -out ca.pem"));
    for (name, alternative, start, end) in wanted {
        std::fs::write(directory.join("extensions"), format!("subjectAltName={alternative}\n")).unwrap();
        openssl(directory, &format!("req {key} -subj /CN={name} -keyout {name}.key -out {name}.csr"));
        openssl(
            directory,
            &format!(
                "ca -batch -notext -config ca.cnf -cert ca.pem -keyfile ca.key -startdate {start} -enddate {end} \
                 -extfile extensions -in {name}.csr -out {name}.pem"
            ),
        );
    }
}

#[test]
fn pull_invalid_certificate_returns_error() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path();
    let (past, now, future) = ("20200101000000Z", "20210101000000Z", "20990101000000Z");
    let here = "IP:127.0.0.1,DNS:localhost";
    certificates(
        directory,
        &[
            ("good", here, now, future),
            ("other", "DNS:other.example", now, future),
            ("expired", here, past, now),
            ("early", here, "20980101000000Z", future),
        ],
    );
    let layout = directory.join("layout");
    write_directory(&oci(), &layout);
    Registry::start(directory, "", "").push(&layout, "debian:12", &["--all"]);
    let with_ca =
        Client::new(Settings { ca_file: Some(directory.join("ca.pem")), ..Settings::default() }).unwrap();
    let without_ca = client();
    for (name, client, expected) in [
        ("good", &with_ca, None),
        ("good", &without_ca, Some("--ca-file")),
        ("other", &with_ca, Some("for another host name")),
        ("expired", &with_ca, Some("expired at 2021-01-01 00:00 UTC; this machine's clock says 20")),
        ("early", &with_ca, Some("is valid from 2098-01-01 00:00 UTC; this machine's clock says 20")),
    ] {
        let file = |end: &str| directory.join(format!("{name}.{end}")).display().to_string();
        let tls = format!("  tls: {{certificate: {}, key: {}}}\n", file("pem"), file("key"));
        let registry = Registry::start(directory, &tls, "");
        let result = access(client).pull(&registry.reference("debian:12"), "amd64");
        match (result, expected) {
            (Ok(image), None) => assert_eq!(dump(&image.nodes), TREE),
            (Err(failure), Some(expected)) => {
                assert!(failure.to_string().contains(expected), "{name}: {failure}")
            }
            (result, _) => panic!("{name}: {:?}", result.map(|_| ())),
        }
        let url = format!("https://localhost:{}/v2/", registry.address.port());
        let answer = client.get_bytes(&Request::new(&url, 1 << 10));
        assert_eq!(answer.is_ok(), expected.is_none(), "{name}: {answer:?}");
    }
}
