//! Uploads: the server stores the context and confirms it, or the upload counts as failed.
#![expect(clippy::unwrap_used, reason = "a test")]

mod support;

use sha2::Digest as _;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use support::schema::Schema;
use support::store::{self, Manner, Store};
use support::tool::{Place, Ran, binary, finish};
use vm2docker_self::context::reader::{BINARY, COMPLETE, checksum_line};
use vm2docker_self::context::tar::Reader;
use vm2docker_self::error::{Code, Error};
use vm2docker_self::transfer::upload::{Form, Options, Receipt, RetryPolicy, Server, upload};

/// Writes a complete context of about `size` bytes with random content.
fn context(at: &Path, size: usize) -> PathBuf {
    let delta = store::random(size);
    let files: [(&str, &[u8]); 4] = [
        ("README.md", b"read me"),
        ("delta.tar.zst", &delta),
        ("services/a b/Dockerfile", b"FROM x"),
        (BINARY, b"#!"),
    ];
    let mut checksums = String::new();
    for (name, content) in files {
        std::fs::create_dir_all(at.join(name).parent().unwrap()).unwrap();
        std::fs::write(at.join(name), content).unwrap();
        checksums += &checksum_line(name, &sha2::Sha256::digest(content).into());
    }
    std::fs::write(at.join(COMPLETE), checksums).unwrap();
    std::fs::write(at.join("not ours"), "stays here").unwrap();
    at.to_owned()
}

fn options(context: &Path, url: String, form: Form) -> Options {
    let millis = Duration::from_millis;
    let patience =
        RetryPolicy { tries: 4, first: millis(1), longest: millis(20), deadline: Duration::from_secs(120) };
    let server = Server { url, token: None, ca_file: None, patience, quiet: true };
    Options { context: context.to_owned(), form, server, token_file: None }
}

fn send(context: &Path, store: &Store, path: &str, form: Form) -> Result<Receipt, Error> {
    upload(&options(context, store.url(path), form))
}

/// Returns the members of a tar archive.
fn unpack(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut reader = Reader::new(archive);
    let mut files = BTreeMap::new();
    while let Some(mut entry) = reader.next_entry().unwrap() {
        let mut content = Vec::new();
        entry.content.read_to_end(&mut content).unwrap();
        files.insert(String::from_utf8(entry.node.path.to_vec()).unwrap(), content);
    }
    files
}

fn is_the_context(files: &BTreeMap<String, Vec<u8>>, context: &Path) {
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    assert_eq!(names, [COMPLETE, "README.md", "delta.tar.zst", "services/a b/Dockerfile", BINARY]);
    for (name, content) in files {
        assert!(std::fs::read(context.join(name)).unwrap() == *content, "{name}");
    }
}

#[test]
fn upload_each_honest_server_confirms_context() {
    let dir = tempfile::tempdir().unwrap();
    let context = context(&dir.path().join("ctx"), 300_000);
    for (manner, proof) in [
        (Manner::Plain, "read back"),
        (Manner::Answers, "read back"),
        (Manner::Digest, "digest"),
        (Manner::Tag, "digest"),
    ] {
        let store = Store::new(manner);
        let receipt = send(&context, &store, "/put/", Form::Tar).unwrap();
        assert!(receipt.text().contains(proof), "{}", receipt.text());
        let archive = store.object("/put/ctx.tar").unwrap();
        assert_eq!(receipt.bytes, archive.len() as u64);
        is_the_context(&unpack(&archive), &context);
        // The archive of a context is always the same object, so a second upload succeeds.
        send(&context, &store, "/named?sig=1", Form::Tar).unwrap();
        assert_eq!(store.object("/named?sig=1").unwrap(), archive);
    }
    let store = Store::new(Manner::Plain);
    let receipt = send(&context, &store, "/dir", Form::Files).unwrap();
    assert_eq!(receipt.objects, 5);
    let requests = store.seen.lock().unwrap().requests.clone();
    let sent: Vec<&str> =
        requests.iter().filter(|asked| asked.0 == "PUT").map(|asked| asked.1.as_str()).collect();
    assert_eq!(sent.last().unwrap(), &format!("/dir/{COMPLETE}"), "COMPLETE is sent last");
    assert_eq!(store.object("/dir/services/a%20b/Dockerfile").unwrap(), b"FROM x");
    // The second upload compares the objects that exist.
    assert_eq!(send(&context, &store, "/dir", Form::Files).unwrap().objects, 5);
}

#[test]
fn upload_dishonest_server_fails() {
    let dir = tempfile::tempdir().unwrap();
    let context = context(&dir.path().join("ctx"), 9_000);
    let mut liars = vec![Manner::Forgets, Manner::Hides, Manner::Appends];
    liars.extend((0..40).map(|step| Manner::Truncates(1 + step * 251)));
    liars.extend((0..90).map(|step| Manner::Flips(step * 157)));
    liars.extend((0..90).map(|step| Manner::FlipsAndTells(step * 157)));
    liars.extend((0..20).map(|step| Manner::LyingTus(step * 499)));
    // The server says that it checks the parts, but does not return the object.
    liars.push(Manner::Tus { checks: true, shows: false });
    let mut count = 0;
    for manner in liars {
        let store = Store::new(manner.clone());
        let error = send(&context, &store, "/x", Form::Tar).unwrap_err();
        assert_eq!(error.code, Code::UploadFailed, "{manner:?}");
        assert!(error.to_string().contains("to try again"), "{error}");
        count += 1;
    }
    assert!(count >= 200);
    assert!(Path::new(&context).join(COMPLETE).exists());
}

#[test]
fn upload_tus_interrupted_resumes_at_server_offset() {
    let dir = tempfile::tempdir().unwrap();
    let size = 64 << 20;
    let context = context(&dir.path().join("ctx"), size);
    let mut cuts = 0;
    for checks in [true, false, true] {
        let store = Store::new(Manner::Tus { checks, shows: true });
        let planned: Vec<usize> = (0..80).map(|step| step * 997 * 641 % (1 << 20) + 1).collect();
        let count = planned.len();
        store.seen.lock().unwrap().cuts = planned;
        let receipt = send(&context, &store, "/files/", Form::Tar).unwrap();
        let archive = store.object("/files/1").unwrap();
        assert_eq!(receipt.bytes, archive.len() as u64);
        is_the_context(&unpack(&archive), &context);
        assert!(receipt.text().contains("read back"), "{}", receipt.text());
        let seen = store.seen.lock().unwrap();
        assert_eq!(seen.cuts.len(), 0, "all of them have happened");
        let sent: usize = seen.requests.iter().map(|asked| asked.3).sum();
        // Bytes that the server has stored before an interruption are not sent again.
        assert_eq!(sent, archive.len(), "received bytes");
        cuts += count;
    }
    assert!(cuts >= 200);
    // The server returns neither a digest nor the object.
    let store = Store::new(Manner::Tus { checks: false, shows: false });
    assert_eq!(send(&context, &store, "/files/", Form::Tar).unwrap_err().code, Code::UploadFailed);
}

#[test]
fn upload_put_interrupted_sends_object_again() {
    let dir = tempfile::tempdir().unwrap();
    let context = context(&dir.path().join("ctx"), 200_000);
    for step in 0..60 {
        let store = Store::new(Manner::Plain);
        store.seen.lock().unwrap().cuts = vec![step * 3389];
        send(&context, &store, "/x", Form::Tar).unwrap();
        is_the_context(&unpack(&store.object("/x").unwrap()), &context);
    }
    // The connection breaks in each attempt.
    let store = Store::new(Manner::Plain);
    store.seen.lock().unwrap().cuts = vec![1000; 50];
    assert_eq!(send(&context, &store, "/x", Form::Tar).unwrap_err().code, Code::UploadFailed);
}

#[test]
fn upload_interrupted_confirmation_sends_object_once() {
    let dir = tempfile::tempdir().unwrap();
    let context = context(&dir.path().join("ctx"), 300_000);
    for (manner, path, breaks) in [
        (Manner::Plain, "/x", vec!["GET", "GET"]),
        (
            Manner::Tus { checks: false, shows: true },
            "/files/",
            vec!["OPTIONS", "HEAD", "HEAD", "GET", "GET"],
        ),
        (Manner::Tus { checks: true, shows: true }, "/files/", vec!["HEAD", "GET"]),
    ] {
        let store = Store::new(manner);
        store.seen.lock().unwrap().breaks = breaks;
        let receipt = send(&context, &store, path, Form::Tar).unwrap();
        let seen = store.seen.lock().unwrap();
        assert_eq!(seen.breaks, [""; 0], "all of them have happened");
        let sent: u64 = seen.requests.iter().map(|asked| asked.3 as u64).sum();
        assert_eq!(sent, receipt.bytes);
    }
}

#[test]
fn upload_file_truncated_meanwhile_fails_at_once() {
    let start = std::time::Instant::now();
    for (manner, form) in [
        (Manner::Plain, Form::Tar),
        (Manner::Plain, Form::Files),
        (Manner::Tus { checks: true, shows: true }, Form::Tar),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let context = context(&dir.path().join("ctx"), 24 << 20);
        let store = Store::new(manner);
        store.seen.lock().unwrap().shortens = Some(context.join("delta.tar.zst"));
        let error = send(&context, &store, "/files/", form).unwrap_err();
        assert_eq!(error.code, Code::UploadFailed);
        assert!(error.to_string().matches("cannot read the data to send").count() == 1, "{error}");
        assert!(!error.to_string().contains("is complete"), "{error}");
    }
    assert!(start.elapsed() < Duration::from_secs(60));
}

#[test]
fn upload_temporary_status_retries_and_permanent_fails() {
    let dir = tempfile::tempdir().unwrap();
    let context = context(&dir.path().join("ctx"), 5_000);
    let tries =
        |store: &Store| store.seen.lock().unwrap().requests.iter().filter(|asked| asked.0 == "PUT").count();
    for status in [408, 409, 423, 425, 429, 500, 502, 503, 504] {
        let store = Store::new(Manner::Status(status, 2));
        send(&context, &store, "/x", Form::Tar).unwrap();
        assert_eq!(tries(&store), 3, "{status}");
        let store = Store::new(Manner::Status(status, usize::MAX));
        let error = send(&context, &store, "/x", Form::Tar).unwrap_err();
        assert_eq!((error.code, tries(&store)), (Code::UploadFailed, 4), "{status} in each attempt");
    }
    let start = std::time::Instant::now();
    for status in [400, 401, 403, 404, 410, 413, 501, 507] {
        let store = Store::new(Manner::Status(status, usize::MAX));
        let error = send(&context, &store, "/x", Form::Tar).unwrap_err();
        assert_eq!((error.code, tries(&store)), (Code::UploadFailed, 1), "{status}");
        let bytes: usize = store.seen.lock().unwrap().requests.iter().map(|asked| asked.3).sum();
        assert_eq!(bytes, 0, "{status}: refused before the body was sent");
    }
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "the client handles a refusal at once although the connection stays open"
    );
}

#[test]
fn upload_redirect_to_other_server_fails() {
    let dir = tempfile::tempdir().unwrap();
    let context = context(&dir.path().join("ctx"), 5_000);
    let store = Store::new(Manner::Redirects("/moved/x".to_owned()));
    send(&context, &store, "/x", Form::Tar).unwrap();
    is_the_context(&unpack(&store.object("/moved/x").unwrap()), &context);
    let other = Store::new(Manner::Plain);
    for to in [other.url("/x"), format!("https://{}/x", other.address)] {
        let store = Store::new(Manner::Redirects(to));
        assert_eq!(send(&context, &store, "/x", Form::Tar).unwrap_err().code, Code::UploadFailed);
        let bytes: usize = store.seen.lock().unwrap().requests.iter().map(|asked| asked.3).sum();
        assert_eq!(bytes, 0);
    }
    assert_eq!(other.seen.lock().unwrap().requests.len(), 0, "the other server received no request");
}

#[test]
fn upload_existing_other_object_is_not_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let context = context(&dir.path().join("ctx"), 5_000);
    let store = Store::new(Manner::Plain);
    store.seen.lock().unwrap().objects.insert("/x".to_owned(), b"mine".to_vec());
    let error = send(&context, &store, "/x", Form::Tar).unwrap_err();
    assert!(error.to_string().contains("another object exists"), "{error}");
    assert_eq!(store.object("/x").unwrap(), b"mine");
}

#[test]
fn upload_unusable_url_is_usage_error() {
    let dir = tempfile::tempdir().unwrap();
    let context = context(&dir.path().join("ctx"), 5_000);
    let refused = |url: &str, form| upload(&options(&context, url.to_owned(), form)).unwrap_err();
    for url in
        ["http://example.org/x", "https://user:pass@example.org/x", "example.org", "file:///x", "https://"]
    {
        let error = refused(url, Form::Tar);
        assert_eq!(error.code, Code::Usage, "{url}");
        assert!(!error.to_string().contains("pass@"), "{error}");
    }
    assert_eq!(refused("https://example.org/x?sig=1", Form::Files).code, Code::Usage);
    std::fs::write(context.join("README.md"), "changed").unwrap();
    let store = Store::new(Manner::Plain);
    for form in [Form::Tar, Form::Files] {
        let error = send(&context, &store, "/x", form).unwrap_err();
        assert_eq!(error.code, Code::Failed);
        assert!(error.to_string().contains("README.md is damaged"), "{error}");
    }
    assert_eq!(store.seen.lock().unwrap().requests.len(), 0, "a damaged context is not sent");
}

const TOKEN: &str = "token-that-must-stay-secret";

/// Converts a small machine with `--upload`.
fn convert(place: &Place, store: &Store, more: &[&str]) -> Ran {
    let token = place.path("token");
    std::fs::write(&token, TOKEN).unwrap();
    std::fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    convert_with(place, &store.url("/in/"), &token, more)
}

fn convert_with(place: &Place, url: &str, token: &Path, more: &[&str]) -> Ran {
    let mut command = binary();
    command.arg("--root").arg(place.path("machine")).arg("--out").arg(place.path("ctx"));
    command.args(["--base-from", "none", "--upload", url]).arg("--token-file").arg(token);
    finish(command.args(more))
}

fn machine() -> Place {
    let place = Place::new();
    place.root("machine", "file 0644 0:0 /etc/os-release \"ID=debian\\nVERSION_ID=12\\n\"\n");
    place
}

#[test]
fn convert_upload_sends_written_context() {
    let (place, store) = (machine(), Store::new(Manner::Plain));
    let ran = convert(&place, &store, &["--json"]).ends(0);
    let document: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    Schema::load().check("conversion", &document);
    assert_eq!(document["receipt"]["confirmation"], "read-back");
    let archive = store.object("/in/ctx.tar").unwrap();
    assert_eq!(document["receipt"]["bytes"], archive.len());
    let files = unpack(&archive);
    for (name, content) in &files {
        assert!(std::fs::read(place.path("ctx").join(name)).unwrap() == *content, "{name}");
        assert!(memchr::memmem::find(content, TOKEN.as_bytes()).is_none(), "{name} has the token");
    }
    let seen = store.seen.lock().unwrap();
    assert!(seen.requests.iter().all(|asked| asked.2.as_deref() == Some(&format!("Bearer {TOKEN}"))));
    drop(seen);
    // A dry run sends nothing.
    let before = store.seen.lock().unwrap().requests.len();
    convert(&machine(), &store, &["--dry-run"]).ends(0);
    assert_eq!(store.seen.lock().unwrap().requests.len(), before);
}

#[test]
fn convert_token_from_pipe_is_read_once() {
    for kept in [true, false] {
        let (place, store) = (machine(), Store::new(Manner::Plain));
        let mut command = binary();
        command.arg("--root").arg(place.path("machine")).args(["--base-from", "none"]);
        command.args(["--upload", &store.url("/in/"), "--token-file", "/dev/fd/0"]);
        if kept {
            command.arg("--out").arg(place.path("ctx"));
        }
        let (input, mut input_writer) = std::io::pipe().unwrap();
        input_writer.write_all(TOKEN.as_bytes()).unwrap();
        drop(input_writer);
        finish(command.stdin(input)).ends(0).says(&["sent to"]);
        if kept {
            let (input, mut input_writer) = std::io::pipe().unwrap();
            input_writer.write_all(TOKEN.as_bytes()).unwrap();
            drop(input_writer);
            let mut again = binary();
            again.arg("upload").arg(place.path("ctx")).args([
                &store.url("/again"),
                "--token-file",
                "/dev/fd/0",
            ]);
            finish(again.stdin(input)).ends(0).says(&["sent to"]);
        }
        let seen = store.seen.lock().unwrap();
        assert!(!seen.objects.is_empty());
        assert!(seen.requests.iter().all(|asked| asked.2.as_deref() == Some(&format!("Bearer {TOKEN}"))));
    }
}

#[test]
fn convert_presigned_url_is_no_argument_and_not_in_help() {
    const SIGNATURE: &str = "signature-that-must-stay-secret";
    let (place, store) = (machine(), Store::new(Manner::Status(503, 1)));
    let url = store.url(&format!("/in/machine.tar?sig={SIGNATURE}"));
    let mut command = binary();
    command.env("VM2DOCKER_UPLOAD", &url).arg("--root").arg(place.path("machine"));
    command.args(["--base-from", "none"]).arg("--out").arg(place.path("ctx"));
    let run = std::thread::spawn(move || finish(&mut command));
    let (mut rounds, mut children) = (0, 0);
    while !run.is_finished() {
        for process in std::fs::read_dir("/proc").unwrap().flatten() {
            let arguments = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
            assert!(memchr::memmem::find(&arguments, SIGNATURE.as_bytes()).is_none());
            children += usize::from(memchr::memmem::find(&arguments, b"\0deliver\0").is_some());
        }
        rounds += 1;
    }
    run.join().unwrap().ends(0).says(&["sent to"]);
    assert!(rounds > 10 && children > 0, "{rounds} {children}");
    let mut help = binary();
    let help = finish(help.env("VM2DOCKER_UPLOAD", &url).arg("--help")).ends(0);
    assert!(help.out.contains("VM2DOCKER_UPLOAD") && !help.out.contains(SIGNATURE));
}

#[test]
fn convert_upload_retry_prints_message() {
    let (place, store) = (machine(), Store::new(Manner::Status(503, 1)));
    convert(&place, &store, &[]).ends(0).says(&["503", "retrying in", "(attempt 2 of 7)"]);
    let (place, store) = (machine(), Store::new(Manner::Status(503, 1)));
    assert_eq!(convert(&place, &store, &["--quiet"]).ends(0).err, "");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "runs the command of the hint as a user would")]
fn convert_failed_upload_keeps_context_and_hint_works() {
    let (place, store) = (machine(), Store::new(Manner::Status(507, 1)));
    let ran = convert(&place, &store, &[]).ends(12).says(&["507", "upload", "try again"]);
    let place_of = |text: &str| ran.err.find(text).unwrap_or_else(|| panic!("no {text:?} in {}", ran.err));
    assert!(place_of("next") < place_of("error: upload failed"), "{}", ran.err);
    assert!(!ran.err.contains(TOKEN) && !ran.out.contains(TOKEN));
    assert!(place.path("ctx").join(COMPLETE).exists());
    // Runs the command of the hint unchanged.
    let line = ran.err.lines().find(|line| line.starts_with("  ") && line.contains(" upload ")).unwrap();
    let mut shell = std::process::Command::new("sh");
    finish(shell.args(["-c", line])).ends(0).says(&["sent to", "read back"]);
    assert!(store.object("/in/ctx.tar").is_some());
}

#[test]
fn convert_unusable_upload_fails_before_conversion() {
    let (place, store) = (machine(), Store::new(Manner::Plain));
    let nowhere = Path::new("/nowhere/token");
    convert_with(&place, &store.url("/in/"), nowhere, &[]).ends(1).says(&["--token-file"]);
    let empty = place.path("empty");
    std::fs::write(&empty, "x").unwrap();
    std::fs::set_permissions(&empty, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    convert_with(&place, "http://example.org/", &empty, &[]).ends(2).says(&["https"]);
    assert!(!place.path("ctx").exists());
    // If the conversion fails, nothing is sent and the child ends.
    std::fs::create_dir(place.path("ctx")).unwrap();
    std::fs::write(place.path("ctx").join("mine"), "").unwrap();
    convert(&place, &store, &[]).ends(2);
    // The one that checks the address.
    assert_eq!(store.seen.lock().unwrap().requests.len(), 1);
}

#[test]
fn convert_unreachable_upload_is_refused_before_the_machine_is_read() {
    let (place, store) = (machine(), Store::new(Manner::Plain));
    // Writes the token.
    convert(&place, &store, &["--dry-run"]).ends(0);
    let start = std::time::Instant::now();
    for (url, cause) in [
        ("https://127.0.0.1:1/in/", "cannot connect to 127.0.0.1:1"),
        ("https://no-such-host.invalid/in/", "cannot connect to no-such-host.invalid"),
    ] {
        let ran = convert_with(&place, url, &place.path("token"), &[]).ends(20).says(&[cause, "hint: "]);
        assert!(!place.path("ctx").exists() && !ran.err.contains("machine  "), "{}", ran.err);
    }
    assert!(start.elapsed().as_secs() < 30, "{:?}", start.elapsed());
}
