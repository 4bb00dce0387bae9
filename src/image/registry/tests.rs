//! Registries that answer correctly, and faulty ones.

use crate::context::tar::Writer;
use crate::image::registry::*;
use crate::model::tree::{Kind, Node, Stat};
use crate::transfer::net::server::{Answer, Asked, Manner, Server, client};
use serde_json::{Value, json};
use sha2::Digest;
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// Returns a layer of files whose content is their name.
fn layer(names: &[&str]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for name in names {
        let kind = Kind::File { size: name.len() as u64, sha256: None };
        let node = Node { path: name.as_bytes().into(), kind, stat: Stat::default(), group: 0, xattrs: None };
        assert!(writer.append_file(&node, &mut name.as_bytes()).unwrap().is_whole());
    }
    writer.finish().unwrap()
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn digest(content: &[u8]) -> String {
    digest_text(&sha2::Sha256::digest(content).into())
}

/// Documents by digest; the tag refers to the last one that was added.
#[derive(Clone, Default)]
struct Image {
    blobs: BTreeMap<String, Vec<u8>>,
    tagged: String,
}

impl Image {
    fn put(&mut self, media_type: &str, content: Vec<u8>) -> Value {
        let (digest, size) = (digest(&content), content.len());
        self.blobs.insert(digest.clone(), content);
        self.tagged.clone_from(&digest);
        json!({"mediaType": media_type, "digest": digest, "size": size})
    }

    fn put_json(&mut self, media_type: &str, content: &Value) -> Value {
        self.put(media_type, serde_json::to_vec(content).unwrap())
    }

    /// Adds a manifest with its configuration and layers.
    fn manifest(&mut self, layers: &[Vec<u8>], diff_ids: &[String]) -> Value {
        let rootfs = json!({"type": "layers", "diff_ids": diff_ids});
        let config = self.put_json(
            CONFIG,
            &json!({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["sh"]}, "rootfs": rootfs}),
        );
        let layers: Vec<Value> = layers.iter().map(|layer| self.put(LAYER, gzip(layer))).collect();
        self.put_json(MANIFEST, &json!({"schemaVersion": 2, "config": config, "layers": layers}))
    }

    /// Adds an index of this image, of a missing image for another platform, and of an
    /// attestation.
    fn index(mut self, mut manifest: Value) -> Self {
        manifest["platform"] = json!({"os": "linux", "architecture": "amd64"});
        let other = json!({"mediaType": MANIFEST, "digest": digest(b"other"), "size": 5,
            "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"}});
        let attestation = json!({"mediaType": MANIFEST, "digest": digest(b"attestation"), "size": 5,
            "platform": {"os": "unknown", "architecture": "unknown"},
            "annotations": {"vnd.docker.reference.type": "attestation-manifest"}});
        self.put_json(INDEX, &json!({"schemaVersion": 2, "manifests": [other, attestation, manifest]}));
        self
    }

    fn honest() -> Self {
        let layers = [layer(&["etc/os-release", "etc/old", "big"]), layer(&["etc/.wh.old", "etc/new"])];
        let diff_ids = layers.each_ref().map(|layer| digest(layer));
        let mut image = Image::default();
        let manifest = image.manifest(&layers, &diff_ids);
        image.index(manifest)
    }

    /// Returns the response of a registry with this image.
    fn answer(&self, asked: &Asked) -> Answer {
        let target = asked.path.rsplit('/').next().unwrap_or_default();
        let target = if target == "12" { &self.tagged } else { target };
        let is_there = asked.path.starts_with("/v2/team/base/");
        match self.blobs.get(target).filter(|_| is_there) {
            None => Answer::new(404, r#"{"errors": [{"code": "MANIFEST_UNKNOWN"}]}"#),
            Some(content) => part(asked, content).with("Docker-Content-Digest", target),
        }
    }

    fn serve(self) -> Server {
        Server::start(move |asked| self.answer(asked))
    }

    /// Returns the digest of the lowest layer's blob.
    fn lowest(&self) -> String {
        let has_os_release =
            |content: &&Vec<u8>| content.windows(14).any(|window| window == b"etc/os-release");
        digest(self.blobs.values().find(has_os_release).unwrap())
    }
}

/// Returns the requested range of `content`.
fn part(asked: &Asked, content: &[u8]) -> Answer {
    let start =
        asked.header("range").and_then(|range| range.strip_prefix("bytes=")?.split('-').next()?.parse().ok());
    match start {
        None => Answer::new(200, content),
        Some(start) => Answer::new(206, &content[start..])
            .with("Content-Range", format!("bytes {start}-{}/{}", content.len() - 1, content.len())),
    }
}

fn reference(server: &Server) -> Reference {
    Reference::parse(&format!("{}/team/base:12", server.address)).unwrap()
}

fn pull(server: &Server) -> Result<BaseImage, Failure> {
    let client = client();
    Access { client: &client, credentials: Credentials::default() }.pull(&reference(server), "amd64")
}

fn login(text: &str) -> Credentials {
    serde_json::from_str(text).unwrap()
}

fn paths(image: &BaseImage) -> String {
    image.nodes.iter().map(|node| escape::display(&node.path)).collect::<Vec<_>>().join(" ")
}

#[test]
fn pull_honest_registry_returns_verified_image() {
    let image = Image::honest();
    let tagged = image.tagged.clone();
    let server = image.serve();
    let base = pull(&server).unwrap();
    assert_eq!(paths(&base), "/ /big /etc /etc/new /etc/os-release");
    assert_eq!(base.files[&b"etc/os-release"[..]], b"etc/os-release");
    assert_eq!(base.config.cmd, ["sh"]);
    assert_eq!(base.index_digest.as_deref(), Some(&*tagged));
    assert_eq!(base.name, Some(reference(&server).to_string()));
    // Requests: the index, one of three manifests, the configuration, two layers.
    assert_eq!(server.asked().len(), 5);
    let pinned = Reference::parse(&reference(&server).pinned(&tagged)).unwrap();
    let client = client();
    let access = Access { client: &client, credentials: Credentials::default() };
    assert!(access.pull(&pinned, "amd64").is_ok());
    assert_eq!(access.exists(&pinned), Ok(true));
    assert_eq!(access.exists(&pinned.with_tag("13").unwrap()), Ok(false));
    assert!(
        matches!(access.pull(&pinned, "s390x"), Err(Failure::Image(why)) if why.contains("linux/arm64, linux/amd64"))
    );
}

/// Starts a registry that has replaced `what` in every document and kept the digests.
fn forged(what: &str, with: &str) -> Server {
    let mut image = Image::honest();
    assert_eq!(what.len(), with.len());
    for content in image.blobs.values_mut() {
        while let Some(at) = content.windows(what.len()).position(|window| window == what.as_bytes()) {
            content[at..at + what.len()].copy_from_slice(with.as_bytes());
        }
    }
    image.serve()
}

#[test]
fn pull_changed_document_returns_error() {
    for (what, with, expected) in [
        ("unknown", "unknowx", "the manifest"),
        ("\"layers\":[{", "\"Layers\":[{", "a document of the image"),
        ("[\"sh\"]", "[\"su\"]", "a document of the image"),
        ("etc/os-release", "etc/os-releasX", "layer"),
    ] {
        let failure = pull(&forged(what, with)).unwrap_err().to_string();
        assert!(failure.starts_with(&format!("{expected} has digest")), "{what}: {failure}");
    }
    let image = Image::honest();
    let server = image.clone().serve();
    let other = Reference::parse(&reference(&server).pinned(&digest(b"other"))).unwrap();
    let lying = Server::start(move |asked| {
        let target = asked.path.rsplit('/').next().unwrap_or_default();
        let content = image.blobs.get(target).unwrap_or(&image.blobs[&image.tagged]);
        Answer::new(200, content.clone())
    });
    let other =
        Reference::parse(&other.to_string().replace(&server.address.to_string(), &lying.address.to_string()))
            .unwrap();
    let client = client();
    let failure =
        Access { client: &client, credentials: Credentials::default() }.pull(&other, "amd64").unwrap_err();
    assert!(failure.to_string().contains("has digest"), "{failure}");
}

#[test]
fn pull_inconsistent_image_returns_error() {
    let content = layer(&["a"]);
    let with = |layers: &[Vec<u8>], diff_ids: &[String]| {
        let mut image = Image::default();
        image.manifest(layers, diff_ids);
        image
    };
    let mut odd = Image::default();
    odd.put_json(MANIFEST, &json!({"schemaVersion": 1, "fsLayers": [], "history": []}));
    let mut both = Image::default();
    both.put_json(MANIFEST, &json!({"schemaVersion": 2, "config": {}, "layers": [], "manifests": []}));
    let mut text = Image::default();
    text.put(MANIFEST, b"<html>".to_vec());
    let mut long = Image::honest();
    let manifest = json!({"mediaType": MANIFEST, "digest": digest(b"x"), "size": 9 << 20});
    long.put_json(INDEX, &json!({"schemaVersion": 2, "manifests": [manifest]}));
    let mut nested = Image::honest();
    let manifest = json!({"mediaType": MANIFEST, "digest": nested.tagged, "size": 1});
    nested.put_json(INDEX, &json!({"schemaVersion": 2, "manifests": [manifest]}));
    for (image, expected) in [
        (with(std::slice::from_ref(&content), &[digest(b"other")]), "the uncompressed layer"),
        (with(std::slice::from_ref(&content), &[]), "the manifest lists 1 layers"),
        (with(&[b"no archive".to_vec()], &[digest(b"no archive")]), "layer sha256:"),
        (odd, "schema 1"),
        (both, "is not a valid document"),
        (text, "is not a valid document"),
        (long, "exceeds the limit"),
        (nested, "exceeds 1 bytes"),
    ] {
        let failure = pull(&image.serve()).unwrap_err().to_string();
        assert!(failure.contains(expected), "{expected}: {failure}");
    }
}

#[test]
fn pull_interrupted_layer_resumes_once() {
    let good = paths(&pull(&Image::honest().serve()).unwrap());
    for (with_ranges, breaks, comes) in [(true, 1, true), (false, 1, true), (true, 2, false)] {
        let image = Image::honest();
        let (lowest, times) = (image.lowest(), AtomicUsize::new(0));
        let server = Server::start(move |asked| {
            if !asked.path.ends_with(&lowest) {
                return image.answer(asked);
            }
            let answer = if with_ranges {
                image.answer(asked)
            } else {
                Answer::new(200, image.blobs[&lowest].clone())
            };
            let breaks = times.fetch_add(1, Ordering::Relaxed) < breaks;
            answer.in_manner(if breaks { Manner::CutAt(700) } else { Manner::Whole })
        });
        match pull(&server) {
            Ok(image) => assert!(comes && paths(&image) == good),
            Err(failure) => {
                assert!(!comes && matches!(failure, Failure::Net(net::Failure::CutOff { .. })), "{failure}")
            }
        }
        let ranges: Vec<String> =
            server.asked().iter().filter_map(|asked| asked.header("range").map(str::to_owned)).collect();
        assert!(ranges.len() == 1 && ranges[0].starts_with("bytes=700-"), "{ranges:?}");
    }
}

#[test]
fn pull_endless_response_returns_error() {
    let drip = |answer: Answer| answer.in_manner(Manner::Drip(Duration::from_millis(20)));
    let endless = |answer: Answer| answer.in_manner(Manner::Endless);
    let huge = |_: Answer| Answer::new(200, vec![b' '; 9 << 20]);
    let status = |status| move |_: Answer| Answer::new(status, "").with("Retry-After", "0");
    type Lie = Box<dyn Fn(Answer) -> Answer + Send + Sync>;
    let cases: [(&str, Lie, &str); 7] = [
        ("/blobs/", Box::new(drip), "stopped responding"),
        ("/blobs/", Box::new(endless), "the response exceeds"),
        ("/manifests/", Box::new(endless), "the response exceeds"),
        ("/manifests/", Box::new(huge), "exceeds 8388608 bytes"),
        ("/manifests/", Box::new(status(429)), "limits requests"),
        ("/blobs/", Box::new(status(500)), "500"),
        ("/manifests/", Box::new(status(404)), "404"),
    ];
    for (path, lie, expected) in cases {
        let image = Image::honest();
        let server = Server::start(move |asked| {
            let answer = image.answer(asked);
            if asked.path.contains(path) { lie(answer) } else { answer }
        });
        let failure = pull(&server).unwrap_err().to_string();
        assert!(failure.contains(expected), "{path}: {failure}");
    }
}

#[test]
fn pull_token_is_scoped_and_sent_to_its_registry_only() {
    let image = Image::honest();
    let stored = image.clone();
    let store = Server::start(move |asked| {
        let target = asked.path.trim_start_matches("/store/");
        part(asked, &stored.blobs[target])
    });
    let tokens = Server::start(|asked| {
        let expected = "/token?x=1&scope=repository%3Ateam%2Fbase%3Apull&service=the%20service";
        match (asked.path == expected, asked.header("authorization")) {
            (true, Some("Basic bWU6c2VjcmV0")) => Answer::new(200, r#"{"access_token": "t0k"}"#),
            _ => Answer::new(403, "secret"),
        }
    });
    let (realm, blobs) = (tokens.url("/token?x=1"), store.url("/store/"));
    let server = Server::start(move |asked| {
        if asked.header("authorization") != Some("Bearer t0k") {
            let scope = "repository:other/private:pull,push";
            let challenge = format!(r#"Bearer realm="{realm}",service="the service",scope="{scope}""#);
            return Answer::new(401, "").with("WWW-Authenticate", challenge);
        }
        match asked.path.split_once("/blobs/") {
            Some((_, digest)) => Answer::new(307, "").with("Location", format!("{blobs}{digest}")),
            None => image.answer(asked),
        }
    });
    let client = client();
    let credentials = login(&format!(r#"{{"auths": {{"{}": {{"auth": "bWU6c2VjcmV0"}}}}}}"#, server.address));
    let access = Access { client: &client, credentials };
    assert!(access.pull(&reference(&server), "amd64").is_ok());
    assert_eq!(tokens.asked().len(), 1);
    assert!(
        store.asked().len() == 3 && store.asked().iter().all(|asked| asked.header("authorization").is_none())
    );
    assert!(
        server
            .asked()
            .iter()
            .all(|asked| asked.header("authorization").is_none_or(|shown| shown == "Bearer t0k"))
    );
    let failure = pull(&server).unwrap_err();
    assert!(matches!(&failure, Failure::Net(net::Failure::Status { status: 403, .. })), "{failure}");
    assert!(!failure.to_string().contains("secret"));
}

#[test]
fn exists_basic_challenge_sends_password() {
    let image = Image::honest();
    let server = Server::start(move |asked| match asked.header("authorization") {
        Some("Basic bWU6c2VjcmV0") => image.answer(asked),
        _ => Answer::new(401, "").with("WWW-Authenticate", "Basic realm=\"x\""),
    });
    let client = client();
    let mut access = Access { client: &client, credentials: Credentials::default() };
    let failure = access.exists(&reference(&server)).unwrap_err();
    assert!(failure.to_string().contains("docker login"));
    access.credentials = login(&format!(
        r#"{{"auths": {{"{}": {{"username": "me", "password": "secret"}}}}}}"#,
        server.address
    ));
    assert_eq!(access.exists(&reference(&server)), Ok(true));
}

#[test]
fn tags_all_pages_are_read_from_same_path() {
    let server = Server::start(|asked| {
        let (page, next) = match asked.path.split_once("last=").map(|(_, last)| last) {
            None => (r#"{"tags": ["1", "2"]}"#, "</v2/team/base/tags/list?last=2>; rel=\"next\""),
            Some("2") => {
                (r#"{"tags": ["3"]}"#, "<http://other.example/v2/team/base/tags/list?last=3>; rel=\"next\"")
            }
            Some("3") => (r#"{"tags": ["4"]}"#, "</v2/team/secret/tags/list?last=4>; rel=\"next\""),
            _ => (r#"{"tags": null}"#, ""),
        };
        Answer::new(200, page).with("Link", next)
    });
    let client = client();
    let access = Access { client: &client, credentials: Credentials::default() };
    assert_eq!(access.tags(&reference(&server)).unwrap(), ["1", "2", "3", "4"]);
    let endless = Server::start(|_| {
        Answer::new(200, r#"{"tags": ["1"]}"#).with("Link", "</v2/team/base/tags/list?x>; rel=\"next\"")
    });
    assert_eq!(access.tags(&reference(&endless)).unwrap(), ["1"]);
    assert_eq!(endless.asked().len(), MAX_PAGES);
}
