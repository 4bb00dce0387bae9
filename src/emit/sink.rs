//! The output directory: private from the start, under its final name only when it is whole.

use crate::context::{self, COMPLETE};
use crate::error::{Code, Error, Result};
use crate::escape;
use crate::tree::Sha256;
use sha2::Digest;
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The partial directory of this run, if there is one, for whoever has to clean up when a signal ends the run.
pub type Scratch = Arc<Mutex<Option<PathBuf>>>;

/// A context under construction. Dropped before [`Sink::finish`], it leaves nothing behind.
#[derive(Debug)]
pub struct Sink {
    out: PathBuf,
    partial: PathBuf,
    scratch: Scratch,
    digests: BTreeMap<String, Sha256>,
}

impl Sink {
    /// Begins a context that will stand at `out`, which must not exist or be an empty directory.
    pub fn create(out: &Path, scratch: &Scratch) -> Result<Self> {
        check_free(out)?;
        let parent = parent(out);
        let name = out.file_name().ok_or_else(|| usage(out, "names no directory"))?;
        let mut partial = std::ffi::OsString::from(".");
        partial.push(name);
        partial.push(format!(".partial-{}", std::process::id()));
        let partial = parent.join(partial);
        DirBuilder::new().mode(0o700).create(&partial).map_err(|cause| {
            Error::io(format!("cannot make {}", name_of(&partial)), cause)
                .hint("--out needs an existing parent directory that root can write to")
        })?;
        *scratch.lock().unwrap_or_else(PoisonError::into_inner) = Some(partial.clone());
        Ok(Sink { out: out.to_owned(), partial, scratch: Arc::clone(scratch), digests: BTreeMap::new() })
    }

    /// Begins a file; directories in its name are made.
    pub fn file(&mut self, name: &str) -> Result<SinkFile<'_>> {
        let path = self.partial.join(name);
        let directory = path.parent().unwrap_or(&self.partial);
        let made = DirBuilder::new().mode(0o700).recursive(true).create(directory);
        let opened =
            made.and_then(|()| OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path));
        let file = opened.map_err(|cause| Error::io(name_of(&path), cause))?;
        Ok(SinkFile {
            sink: self,
            name: name.to_owned(),
            file: BufWriter::new(file),
            sha256: sha2::Sha256::new(),
            size: 0,
        })
    }

    /// Writes a whole file.
    pub fn write(&mut self, name: &str, content: &[u8]) -> Result<()> {
        let mut file = self.file(name)?;
        file.write_all(content).map_err(|cause| Error::io(escape::escape(name.as_bytes()), cause))?;
        file.finish().map(drop)
    }

    /// Lets the owner run a file that was written.
    pub fn make_executable(&self, name: &str) -> Result<()> {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        fs::set_permissions(self.partial.join(name), mode).map_err(|cause| Error::io(name, cause))
    }

    /// Seals the context and gives it its name.
    pub fn finish(mut self) -> Result<()> {
        let seal: String =
            self.digests.iter().map(|(name, digest)| context::seal_line(name, digest)).collect();
        self.write(COMPLETE, seal.as_bytes())?;
        let failed = |cause| Error::io(name_of(&self.out), cause);
        File::open(&self.partial).and_then(|directory| directory.sync_all()).map_err(failed)?;
        // Replaces an empty directory, and nothing else (rename(2)).
        fs::rename(&self.partial, &self.out).map_err(failed)?;
        File::open(parent(&self.out)).and_then(|directory| directory.sync_all()).map_err(failed)?;
        *self.scratch.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(())
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        remove_scratch(&self.scratch);
    }
}

/// Removes the partial directory of this run, if there is one.
pub fn remove_scratch(scratch: &Scratch) {
    if let Some(partial) = scratch.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // Nothing can be done about a failure here, and the run has its own error to report.
        let _ = fs::remove_dir_all(partial);
    }
}

/// One file of the context, hashed while it is written.
pub struct SinkFile<'a> {
    sink: &'a mut Sink,
    name: String,
    file: BufWriter<File>,
    sha256: sha2::Sha256,
    size: u64,
}

impl SinkFile<'_> {
    /// Puts the content on the disk and returns its size.
    pub fn finish(self) -> Result<u64> {
        let failed = |cause| Error::io(escape::escape(self.name.as_bytes()), cause);
        let file = self.file.into_inner().map_err(|error| failed(error.into_error()))?;
        file.sync_all().map_err(failed)?;
        self.sink.digests.insert(self.name, self.sha256.finalize().into());
        Ok(self.size)
    }
}

impl Write for SinkFile<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.file.write(bytes)?;
        self.sha256.update(&bytes[..length]);
        self.size += length as u64;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Refuses an output directory that holds anything.
pub fn check_free(out: &Path) -> Result<()> {
    match fs::read_dir(out) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(usage(out, "exists and is not empty")),
        },
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(cause) => {
            Err(Error::io(name_of(out), cause).hint("--out names a directory that does not exist yet"))
        }
    }
}

/// The directory in which `out` will stand.
pub fn parent(out: &Path) -> &Path {
    out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn usage(out: &Path, what: &str) -> Error {
    Error::new(Code::Usage, format!("--out {} {what}", name_of(out)))
        .hint("name a directory that does not exist yet, or an empty one; nothing is ever overwritten")
}

fn name_of(path: &Path) -> String {
    escape::escape(path.as_os_str().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_context_appears_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("ctx");
        let mut sink = Sink::create(&out, &Scratch::default()).unwrap();
        sink.write("a", b"x").unwrap();
        assert!(!out.exists());
        drop(sink);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "a dropped sink leaves nothing");

        let mut sink = Sink::create(&out, &Scratch::default()).unwrap();
        sink.write("packages/list", b"x").unwrap();
        sink.write(context::BINARY, b"x").unwrap();
        sink.finish().unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(fs::metadata(&out).unwrap().mode() & 0o7777, 0o700);
        assert_eq!(fs::metadata(out.join("packages/list")).unwrap().mode() & 0o7777, 0o600);
        crate::context::Context::open(&out).unwrap().check_all().unwrap();
    }

    #[test]
    fn nothing_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("mine"), "").unwrap();
        let error = Sink::create(dir.path(), &Scratch::default()).unwrap_err();
        assert_eq!(error.code, Code::Usage);
        let empty = dir.path().join("empty");
        fs::create_dir(&empty).unwrap();
        Sink::create(&empty, &Scratch::default()).unwrap().finish().unwrap();
        assert!(empty.join(COMPLETE).exists());
    }
}
