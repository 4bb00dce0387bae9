//! A command that is run again and again, each time with an output directory of its own.

use crate::Result;
use crate::args::Args;
use crate::filter::Filter;
use crate::seal::{self, Seal};
use crate::snapshot::Snapshot;
use crate::tracer::{self, End, Launch, Step};
use crate::{call::Call, kill::Cleaner};
use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{Read, Seek};
use std::os::fd::FromRawFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// In a command: where its output goes.
const OUT: &str = "{out}";
/// Name of the output directory.
pub const NAME: &str = "ctx";
/// Prefix of the names of unfinished output directories.
pub const PARTIAL: &str = ".ctx.partial-";

/// The command, its place, and what must not change meanwhile.
pub struct Trial {
    template: Vec<String>,
    /// Parent of the output directory; emptied before each run.
    pub parent: PathBuf,
    /// The output directory.
    pub out: PathBuf,
    output: File,
    limit: Duration,
    watched: Vec<PathBuf>,
    before: RefCell<Snapshot>,
    /// Calls that are answered with an error in runs without ptrace.
    pub filter: Option<Filter>,
}

/// Options of [`Trial::new`].
pub const OPTIONS: &[&str] = &["scratch", "watch", "seconds"];

impl Trial {
    /// Reads `--scratch DIR` (created if missing), `--watch DIR` (repeatable) and `--seconds N`,
    /// the maximum time of a run.
    pub fn new(args: &Args) -> Result<Self> {
        if args.command.is_empty() {
            return Err("a command is missing: -- COMMAND..., with {out} for its output directory".into());
        }
        let parent = args.one("scratch").map(PathBuf::from).ok_or("--scratch DIR is missing")?;
        fs::create_dir_all(&parent)?;
        let parent = parent.canonicalize()?;
        let watched = args.paths("watch");
        let trial = Trial {
            template: args.command.clone(),
            out: parent.join(NAME),
            parent,
            output: memory_file()?,
            limit: Duration::from_secs(args.parsed("seconds")?.unwrap_or(20)),
            before: RefCell::new(Snapshot::take(&watched)?),
            watched,
            filter: None,
        };
        trial.clear()?;
        Ok(trial)
    }

    /// The command with its output directory.
    pub fn command(&self) -> Vec<String> {
        let out = self.out.display().to_string();
        self.template.iter().map(|word| word.replace(OUT, &out)).collect()
    }

    /// Runs it under ptrace.
    pub fn trace(&self, filter: &Filter, decide: impl FnMut(&Call) -> Step) -> Result<End> {
        self.forget_output()?;
        let command = self.command();
        let launch = Launch { command: &command, output: &self.output, limit: self.limit };
        Ok(tracer::trace(&launch, filter, decide)?)
    }

    /// Starts it without ptrace.
    pub fn start(&self) -> Result<Child> {
        self.start_with(str::to_owned)
    }

    /// The same with something done to each word of the command.
    pub fn start_with(&self, replace: impl Fn(&str) -> String) -> Result<Child> {
        self.forget_output()?;
        let words: Vec<String> = self.command().iter().map(|word| replace(word)).collect();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null());
        command.stdout(self.output.try_clone()?).stderr(self.output.try_clone()?);
        if let Some(filter) = &self.filter {
            let filter = filter.clone();
            // SAFETY: between fork and exec only prctl is called, on memory that was allocated
            // before.
            unsafe { command.pre_exec(move || filter.install()) };
        }
        Ok(command.spawn()?)
    }

    /// Runs it twice undisturbed. Both contexts must be complete and equal.
    pub fn reference(&self) -> Result<Seal> {
        let first = self.undisturbed()?;
        let second = self.undisturbed()?;
        if first != second {
            return Err(format!("two undisturbed runs differ: {}", seal::differences(&first, &second)).into());
        }
        Ok(first)
    }

    fn undisturbed(&self) -> Result<Seal> {
        self.clear()?;
        let status = self.start()?.wait()?;
        if !status.success() {
            return Err(format!("the undisturbed run: {}\n{}", ended(status), self.output()?).into());
        }
        let seal = seal::check(&self.out)?;
        self.clear()?;
        Ok(seal)
    }

    /// Returns the output of the last run.
    pub fn output(&self) -> Result<String> {
        let mut file = self.output.try_clone()?;
        file.rewind()?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Removes everything that the last run left.
    pub fn clear(&self) -> Result<()> {
        for path in self.left()? {
            match fs::symlink_metadata(&path)?.is_dir() {
                true => fs::remove_dir_all(path)?,
                false => fs::remove_file(path)?,
            }
        }
        Ok(())
    }

    /// Returns the entries of the parent of the output directory.
    pub fn left(&self) -> Result<Vec<PathBuf>> {
        fs::read_dir(&self.parent)?.map(|entry| Ok(entry?.path())).collect()
    }

    /// Returns the problems with the files that the last run left after it was killed.
    pub fn after_kill(&self, reference: &Seal, cleaner: &Cleaner) -> Result<Vec<String>> {
        let mut problems = Vec::new();
        for path in self.left()? {
            let name = name_of(&path);
            if name == NAME {
                match seal::check(&path) {
                    Ok(seal) if seal == *reference => {}
                    Ok(seal) => problems.push(format!(
                        "complete, and another context: {}",
                        seal::differences(reference, &seal)
                    )),
                    Err(what) => problems.push(format!("under the final name, and not whole: {what}")),
                }
            } else if !name.starts_with(PARTIAL) || !fs::symlink_metadata(&path)?.is_dir() {
                problems.push(format!("left behind: {name}"));
            }
        }
        problems.extend(self.changed()?);
        problems.extend(cleaner.clean(self)?);
        Ok(problems)
    }

    /// Returns the changes in the watched directories since the last call.
    pub fn changed(&self) -> Result<Vec<String>> {
        let now = Snapshot::take(&self.watched)?;
        Ok(self.before.replace_with(|_| now).differences(&self.before.borrow()))
    }

    fn forget_output(&self) -> Result<()> {
        self.output.set_len(0)?;
        (&self.output).rewind()?;
        Ok(())
    }
}

/// Returns the last component of the path as text.
pub fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Returns how a process ended, as text.
pub fn ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit {code}"),
        (None, signal) => format!("signal {}", signal.unwrap_or_default()),
    }
}

/// A file without a name, so that a run's output is in no directory that is compared.
fn memory_file() -> Result<File> {
    // SAFETY: the name is a constant text that ends in a zero byte.
    let fd = unsafe { libc::memfd_create(c"output".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    // SAFETY: the call has just made this descriptor, and nothing else owns it.
    Ok(unsafe { File::from_raw_fd(fd) })
}
