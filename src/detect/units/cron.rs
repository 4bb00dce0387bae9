//! Reads the jobs of cron and at (`crontab(5)`, `cron(8)`, `run-parts(8)`, `at(1)`).

use super::environment::Variables;
use super::load::{list, read};
use crate::model::findings::{self, Findings};
use crate::model::problem::{Problem, note};
use crate::model::tree;
use crate::system::root::Root;
use std::fmt;

/// The cron and at jobs of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cron {
    /// Cron jobs, by file and in the order of the file. They include the scripts of
    /// `/etc/cron.daily` and similar directories, which a line of `/etc/crontab` often starts.
    pub jobs: Vec<Job>,
    /// Paths of at jobs, relative to the root. They run once, so their content is not read.
    pub at: Vec<Vec<u8>>,
    /// Table of anacron, which has jobs of its own, relative to the root (`anacrontab(5)`).
    pub anacrontab: Option<Vec<u8>>,
}

/// The time of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// Minute, hour, day of month, month and day of week, as written.
    Fields([Vec<u8>; 5]),
    /// `@daily` or `@reboot`. Scripts of `/etc/cron.daily` have `@daily`.
    Word(Vec<u8>),
}

/// A line of a crontab, or a script of a directory. Commands can contain secrets, so `Debug`
/// omits command and input.
#[derive(Clone, PartialEq, Eq)]
pub struct Job {
    /// Time of the job.
    pub schedule: Schedule,
    /// User that runs the job.
    pub user: Vec<u8>,
    /// Command line for the shell.
    pub command: Vec<u8>,
    /// Standard input: the text after the first `%`.
    pub input: Option<Vec<u8>>,
    /// File that defines the job, relative to the root.
    pub file: Vec<u8>,
    /// Variables that preceding lines set.
    pub environment: Variables,
}

impl fmt::Debug for Job {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = crate::model::escape::escape;
        write!(out, "Job({} as {}, {:?})", shown(&self.file), shown(&self.user), self.schedule)
    }
}

/// Directories of scripts and their times. The last ones exist on Alpine.
const SCRIPTS: &[(&str, &str)] = &[
    ("etc/cron.hourly", "@hourly"),
    ("etc/cron.daily", "@daily"),
    ("etc/cron.weekly", "@weekly"),
    ("etc/cron.monthly", "@monthly"),
    ("etc/cron.yearly", "@yearly"),
    ("etc/periodic/15min", "*/15 * * * *"),
    ("etc/periodic/hourly", "@hourly"),
    ("etc/periodic/daily", "@daily"),
    ("etc/periodic/weekly", "@weekly"),
    ("etc/periodic/monthly", "@monthly"),
];
/// Directories of users' crontabs on Debian, SUSE, Alpine and RPM systems.
const USERS: &[&str] = &["var/spool/cron/crontabs", "var/spool/cron/tabs", "etc/crontabs", "var/spool/cron"];
/// Table of anacron.
const ANACRONTAB: &[u8] = b"etc/anacrontab";
/// Directories of at jobs.
const AT: &[&str] = &["var/spool/cron/atjobs", "var/spool/at", "var/spool/atjobs"];

/// Reads all cron and at jobs of the machine.
pub fn load(root: &Root, findings: &mut Findings) -> Cron {
    let mut cron = Cron::default();
    let is_debian = root.open_file(b"etc/debian_version").is_ok();
    let mut tables = vec![(b"etc/crontab".to_vec(), None)];
    tables.extend(entries(root, "etc/cron.d", is_debian, findings).into_iter().map(|path| (path, None)));
    for directory in USERS {
        for name in list(root, directory.as_bytes(), findings) {
            let path = tree::join(directory.as_bytes(), &name);
            // The directories of USERS are nested, so an entry can be one of them.
            if !name.starts_with(b".") && root.list(&path).is_err() {
                tables.push((path, Some(name)));
            }
        }
    }
    for (path, user) in tables {
        // Only /etc/crontab is optional. All other paths come from directory listings.
        if path == b"etc/crontab"
            && root.open_file(&path).is_err_and(|cause| cause.kind() == std::io::ErrorKind::NotFound)
        {
            continue;
        }
        let Some(text) = read(root, &path, findings) else { continue };
        let (jobs, problems) = parse(&text, &path, user.as_deref());
        cron.jobs.extend(jobs);
        for problem in problems {
            findings.note(findings::Kind::Cron, &path, problem.to_string());
        }
    }
    for (directory, time) in SCRIPTS {
        for path in entries(root, directory, is_debian, findings) {
            if is_executable(root, &path, findings) {
                cron.jobs.push(script(path, time));
            }
        }
    }
    let has_anacrontab = root.open_file(ANACRONTAB).is_ok();
    cron.anacrontab = has_anacrontab.then(|| ANACRONTAB.to_vec());
    for directory in AT {
        let names = list(root, directory.as_bytes(), findings).into_iter();
        let jobs = names.filter(|name| name.first().is_some_and(u8::is_ascii_alphanumeric));
        cron.at.extend(jobs.map(|name| tree::join(directory.as_bytes(), &name)));
    }
    cron
}

/// Returns the files of a directory that cron runs. Reports other files as notes, because they
/// can be a mistake.
fn entries(root: &Root, directory: &str, is_debian: bool, findings: &mut Findings) -> Vec<Vec<u8>> {
    let mut paths = Vec::new();
    for name in list(root, directory.as_bytes(), findings) {
        let path = tree::join(directory.as_bytes(), &name);
        if is_accepted(&name, is_debian) {
            paths.push(path);
        } else if !name.starts_with(b".") {
            findings.note(findings::Kind::Cron, &path, "not run: cron ignores file names of this form");
        }
    }
    paths
}

/// Returns whether cron and run-parts accept a file name. Debian accepts letters, digits, `_` and
/// `-`; other systems accept all names except backups.
pub fn is_accepted(name: &[u8], is_debian: bool) -> bool {
    if is_debian {
        return name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(byte));
    }
    let endings = ["~", ",", ".rpmsave", ".rpmorig", ".rpmnew", ".swp", ".cfsaved"];
    !name.starts_with(b".")
        && !name.starts_with(b"#")
        && !endings.iter().any(|end| name.ends_with(end.as_bytes()))
}

fn is_executable(root: &Root, path: &[u8], findings: &mut Findings) -> bool {
    let mode = root.open_file(path).and_then(|file| Ok(rustix::fs::fstat(&file)?.st_mode));
    match mode {
        Ok(mode) if mode & 0o111 != 0 => true,
        Ok(_) => {
            findings.note(findings::Kind::Cron, path, "not run: file is not executable");
            false
        }
        Err(cause) => {
            findings.note(findings::Kind::Cron, path, format!("not run: {cause}"));
            false
        }
    }
}

fn script(path: Vec<u8>, time: &str) -> Job {
    let (schedule, _) = schedule(time.as_bytes()).expect("the table contains valid times");
    let command = [b"/", path.as_slice()].concat();
    Job {
        schedule,
        user: b"root".to_vec(),
        command,
        input: None,
        file: path,
        environment: Variables::default(),
    }
}

/// Parses a crontab. If `user` is `None`, each line names its user, as in `/etc/crontab`.
pub fn parse(text: &[u8], file: &[u8], user: Option<&[u8]>) -> (Vec<Job>, Vec<Problem>) {
    let (mut jobs, mut problems) = (Vec::new(), Vec::new());
    let mut environment = Variables::default();
    for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() || line[0] == b'#' {
            continue;
        }
        if let Some((name, value)) = assignment(line) {
            environment.set(name, value);
            continue;
        }
        let Some((schedule, rest)) = schedule(line) else {
            note(&mut problems, index + 1, "neither a schedule nor an assignment");
            continue;
        };
        let (user, command) = match user {
            Some(user) => (user, rest),
            None => word(rest),
        };
        if user.is_empty() || command.is_empty() {
            note(&mut problems, index + 1, "schedule without a command");
            continue;
        }
        let (command, input) = input(command);
        let (user, file) = (user.to_vec(), file.to_vec());
        jobs.push(Job { schedule, user, command, input, file, environment: environment.clone() });
    }
    (jobs, problems)
}

/// Parses `NAME = value` and removes quotes around name and value.
fn assignment(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let equals = memchr::memchr(b'=', line)?;
    let unquote = |text: &'_ [u8]| -> (usize, usize) {
        match text {
            [first @ (b'"' | b'\''), .., last] if first == last => (1, text.len() - 1),
            _ => (0, text.len()),
        }
    };
    let (name, value) = (line[..equals].trim_ascii(), line[equals + 1..].trim_ascii());
    let (from, to) = unquote(name);
    let name = &name[from..to];
    let (from, to) = unquote(value);
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    (!name.is_empty() && !name[0].is_ascii_digit() && name.iter().all(is_name))
        .then_some((name, &value[from..to]))
}

/// Splits the first word from the rest.
fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(u8::is_ascii_whitespace).unwrap_or(text.len());
    (&text[..end], text[end..].trim_ascii_start())
}

/// Splits the time from the rest of a line.
fn schedule(line: &[u8]) -> Option<(Schedule, &[u8])> {
    // In cronie, a leading `-` disables logging of the job.
    let line = line.strip_prefix(b"-").unwrap_or(line);
    if line.starts_with(b"@") {
        let (name, rest) = word(line);
        let names =
            ["@reboot", "@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];
        let name = name.to_ascii_lowercase();
        return names.iter().any(|known| known.as_bytes() == name).then_some((Schedule::Word(name), rest));
    }
    let mut fields: [Vec<u8>; 5] = Default::default();
    let mut rest = line;
    for field in &mut fields {
        let (text, tail) = word(rest);
        let is_valid = |byte: &u8| byte.is_ascii_alphanumeric() || b"*/,-~?".contains(byte);
        if !text.iter().all(is_valid)
            || !text.iter().any(|byte| byte.is_ascii_alphanumeric() || b"*?~".contains(byte))
        {
            return None;
        }
        *field = text.to_vec();
        rest = tail;
    }
    Some((Schedule::Fields(fields), rest))
}

/// Splits command and input: the first `%` ends the command, further ones become newlines, `\%`
/// is a literal `%`.
fn input(text: &[u8]) -> (Vec<u8>, Option<Vec<u8>>) {
    let mut parts = vec![Vec::new()];
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        let part = parts.last_mut().expect("parts starts with one element");
        match (byte, tail) {
            (b'\\', [b'%', tail @ ..]) => {
                part.push(b'%');
                rest = tail;
            }
            (b'%', _) => parts.push(Vec::new()),
            _ => part.push(byte),
        }
    }
    let command = parts.remove(0);
    let input = (!parts.is_empty()).then(|| parts.join(&b'\n'));
    (command, input)
}
