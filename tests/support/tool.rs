//! The binary and other programs.
#![expect(clippy::disallowed_methods, reason = "tests run the binary and cp, tar")]

use super::fixture;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// Asserts the exit code, and shows everything if it is another.
    #[track_caller]
    pub(crate) fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    /// Asserts that standard error has each of these texts.
    #[track_caller]
    pub(crate) fn says(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.err.contains(text), "no {text:?} in stderr:\n{}", self.err);
        }
        self
    }
}

/// A program with nothing in its environment but the path.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C");
    command
}

/// The binary under test.
pub(crate) fn binary() -> Command {
    let mut binary = command(env!("CARGO_BIN_EXE_vm2docker-self"));
    // Tests must not depend on the network; the tests of the network unset this.
    binary.env("VM2DOCKER_OFFLINE", "true");
    binary
}

/// Runs a program to its end.
pub(crate) fn finish(command: &mut Command) -> Ran {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// Runs the binary.
pub(crate) fn run<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Ran {
    finish(binary().args(args))
}

/// A directory for one test: `machine`, `base`, `built` and `ctx` are its usual names.
pub(crate) struct Place {
    pub(crate) dir: tempfile::TempDir,
    /// Contexts hold the binary, and are synced: memory is the place for them where there is
    /// some.
    memory: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let memory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        Place { dir: tempfile::tempdir().unwrap(), memory }
    }

    /// A path in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        if name.starts_with("ctx") { self.memory.path().join(name) } else { self.dir.path().join(name) }
    }

    /// A new root with these objects.
    pub(crate) fn root(&self, name: &str, text: &str) -> PathBuf {
        let root = self.path(name);
        std::fs::create_dir(&root).unwrap();
        fixture::lay(&root, text);
        root
    }

    /// Converts `machine` to the context `ctx`.
    pub(crate) fn convert<S: AsRef<OsStr>>(&self, ctx: &str, args: &[S]) -> Ran {
        let (root, out) = (self.path("machine"), self.path(ctx));
        run([OsStr::new("--root"), root.as_os_str(), OsStr::new("--out"), out.as_os_str()]
            .into_iter()
            .chain(args.iter().map(AsRef::as_ref)))
    }

    /// Packs a root as a base image.
    pub(crate) fn pack(&self, root: &str) -> PathBuf {
        let tar = self.path(&format!("{root}.tar"));
        let mut command = command("tar");
        command.args(["--numeric-owner", "--xattrs", "--xattrs-include=*", "--acls", "--sort=name", "-C"]);
        finish(command.arg(self.path(root)).arg("-cf").arg(&tar).arg(".")).ends(0);
        tar
    }

    /// Copies a root with everything; nothing is copied where `from` is not there.
    pub(crate) fn copy(&self, from: &str, to: &str) {
        std::fs::create_dir(self.path(to)).unwrap();
        if self.path(from).exists() {
            finish(command("cp").arg("-a").arg(self.path(from).join(".")).arg(self.path(to))).ends(0);
        }
    }

    /// Builds the context like an engine: copies `base` to `built`, then adds both layers.
    pub(crate) fn build(&self, ctx: &str, built: &str) -> Ran {
        self.copy("base", built);
        let ctx_path = self.path(ctx);
        if ctx_path.join("packages.tar.zst").exists() || ctx_path.join("packages").exists() {
            self.apply(ctx, built, &["--stage", "packages"]).ends(0);
        }
        self.apply(ctx, built, &[])
    }

    pub(crate) fn apply(&self, ctx: &str, root: &str, args: &[&str]) -> Ran {
        run([OsString::from("apply"), self.path(ctx).into(), "--root".into(), self.path(root).into()]
            .into_iter()
            .chain(args.iter().map(OsString::from)))
    }

    pub(crate) fn verify(&self, ctx: &str, root: &str) -> Ran {
        run([OsStr::new("verify"), self.path(ctx).as_ref(), "--root".as_ref(), self.path(root).as_ref()])
    }

    /// A decompressed file of a context.
    pub(crate) fn unpacked(&self, ctx: &str, name: &str) -> Vec<u8> {
        let path = self.path(ctx).join(name);
        let bytes = std::fs::read(&path).unwrap();
        if name.ends_with(".zst") { zstd::decode_all(&bytes[..]).unwrap() } else { bytes }
    }

    /// The manifest's lines.
    pub(crate) fn manifest(&self, ctx: &str) -> Vec<serde_json::Value> {
        let text = self.unpacked(ctx, "manifest.jsonl.zst");
        let lines = text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
    }

    /// The paths that the delta carries.
    pub(crate) fn carried(&self, ctx: &str) -> BTreeSet<Vec<u8>> {
        let manifest = self.manifest(ctx);
        let delta = manifest.iter().filter(|record| record["layer"] == "delta");
        let path = |record: &serde_json::Value| {
            let text = record["path"].as_str().unwrap().replace('"', "\\x22");
            fixture::words(&format!("\"{text}\"")).remove(0)
        };
        delta.map(path).collect()
    }
}

/// The file of a base image as arguments.
pub(crate) fn from_file(tar: &Path) -> Vec<OsString> {
    vec!["--base".into(), "debian:12".into(), "--base-from".into(), tar.into()]
}
