//! `stand-in`: a small converter that works, or has a selected fault. `self-test` uses it to show
//! that each check can fail. It opens files by path, so it also loses each race.

use crate::Result;
use crate::args::Args;
use crate::seal;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Ways to misbehave.
pub const FAULTS: &[&str] = &[
    "none",
    "elsewhere",
    "in-place",
    "early-rename",
    "panic",
    "deaf",
    "silent",
    "untold",
    "litter",
    "final",
    "short",
    "program",
    "socket",
    "touch",
    "atime",
];

struct StandIn {
    root: PathBuf,
    out: PathBuf,
    partial: PathBuf,
    fault: String,
    seal: Vec<(String, String)>,
    losses: Vec<String>,
}

/// `stand-in --root DIR --out DIR [--fault NAME]`; exit codes as the program has them.
pub fn run(words: &[String]) -> Result<ExitCode> {
    let args = Args::parse(words, &["root", "out", "fault"], &[])?;
    let (root, out) =
        (args.one("root").unwrap_or_default(), PathBuf::from(args.one("out").unwrap_or_default()));
    let fault = args.one("fault").unwrap_or_else(|| "none".to_owned());
    if !FAULTS.contains(&fault.as_str()) {
        return Err(format!("--fault {fault}: choose from {}", FAULTS.join(" ")).into());
    }
    let partial = match fault.as_str() {
        "in-place" => out.clone(),
        _ => out.with_file_name(format!(".ctx.partial-{}", std::process::id())),
    };
    let mut stand_in =
        StandIn { root: root.into(), out, partial, fault, seal: Vec::new(), losses: Vec::new() };
    stand_in.misbehave_at_once()?;
    let done = stand_in.convert();
    if stand_in.fault == "panic" {
        done.as_ref().expect("asked to panic");
    }
    if let Err(cause) = done {
        eprintln!("error: {cause}");
        if stand_in.fault != "litter" {
            let _ = fs::remove_dir_all(&stand_in.partial);
        }
        return Ok(ExitCode::from(if stand_in.fault == "deaf" { 0 } else { 1 }));
    }
    Ok(ExitCode::from(if stand_in.losses.is_empty() { 0 } else { 3 }))
}

impl StandIn {
    fn is(&self, fault: &str) -> bool {
        self.fault == fault
    }

    fn misbehave_at_once(&self) -> Result<()> {
        match self.fault.as_str() {
            "elsewhere" => fs::write(self.out.with_file_name("stray"), "x")?,
            "program" => drop(std::process::Command::new("/bin/true").status()?),
            "socket" => drop(std::net::UdpSocket::bind("127.0.0.1:0")?),
            "touch" => {
                File::open(self.root.join("etc/hostname"))?.set_modified(std::time::UNIX_EPOCH)?;
            }
            "atime" => drop(fs::read(self.root.join("etc/hostname"))?),
            _ => {}
        }
        Ok(())
    }

    fn convert(&mut self) -> io::Result<()> {
        fs::create_dir(&self.partial)?;
        let (mut archive, mut manifest) = (Vec::new(), String::new());
        self.directory(&self.root.clone(), &mut archive, &mut manifest);
        archive.extend([0; 1024]);
        self.write("delta.tar", &archive)?;
        self.write("manifest.jsonl", manifest.as_bytes())?;
        let losses: String = if self.is("untold") { String::new() } else { self.losses.concat() };
        self.write("findings.jsonl", losses.as_bytes())?;
        if self.is("early-rename") {
            fs::rename(&self.partial, &self.out)?;
            self.partial.clone_from(&self.out);
        }
        let seal: String = self.seal.iter().map(|(name, digest)| format!("{digest}  {name}\n")).collect();
        self.write("COMPLETE", seal.as_bytes())?;
        if self.partial != self.out {
            fs::rename(&self.partial, &self.out)?;
        }
        let durable = self.out.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all());
        if durable.is_err() && !self.is("final") {
            fs::remove_dir_all(&self.out)?;
        }
        durable
    }

    fn directory(&mut self, directory: &Path, archive: &mut Vec<u8>, manifest: &mut String) {
        let entries = fs::read_dir(directory).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let mut paths: Vec<PathBuf> = match entries {
            Ok(entries) => entries.iter().map(fs::DirEntry::path).collect(),
            Err(cause) => return self.lost(directory, &cause),
        };
        paths.sort();
        for path in paths {
            match fs::symlink_metadata(&path) {
                Ok(stat) if stat.is_dir() => self.directory(&path, archive, manifest),
                Ok(stat) if stat.is_file() => match read_quietly(&path) {
                    Ok(content) => self.file(&path, &content, archive, manifest),
                    Err(cause) => self.lost(&path, &cause),
                },
                Ok(_) => {}
                Err(cause) => self.lost(&path, &cause),
            }
        }
    }

    fn file(&self, path: &Path, content: &[u8], archive: &mut Vec<u8>, manifest: &mut String) {
        let name = path.strip_prefix(&self.root).unwrap_or(path);
        let mut header = [0; 512];
        let bytes = name.as_os_str().as_bytes();
        header[..bytes.len()].copy_from_slice(bytes);
        header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        header[156] = b'0';
        archive.extend(header);
        archive.extend(content);
        archive.resize(archive.len().next_multiple_of(512), 0);
        let digest = seal::hex(content);
        manifest.push_str(&format!("{{\"path\":\"/{}\",\"sha256\":\"{digest}\"}}\n", name.display()));
    }

    fn lost(&mut self, path: &Path, cause: &io::Error) {
        let line =
            format!("{{\"severity\":\"loss\",\"path\":\"{}\",\"text\":\"{cause}\"}}\n", path.display());
        if !self.is("silent") {
            self.losses.push(line);
        }
    }

    fn write(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        let mut file = File::create_new(self.partial.join(name))?;
        // In pieces, so that there are moments in between.
        for piece in content.chunks(8192) {
            if self.is("short") {
                let _written = file.write(piece)?;
            } else {
                file.write_all(piece)?;
            }
        }
        file.sync_all()?;
        self.seal.push((name.to_owned(), seal::hex(content)));
        Ok(())
    }
}

fn read_quietly(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::options().read(true).custom_flags(libc::O_NOATIME).open(path)?.read_to_end(&mut content)?;
    Ok(content)
}
