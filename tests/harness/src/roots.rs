//! `make-root`: creates a small root of a Debian machine with each kind of object that
//! vm2docker-self reads.

use crate::Result;
use crate::args::Args;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

const FILES: &[(&str, &str)] = &[
    (
        "etc/os-release",
        "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\nPRETTY_NAME=\"Debian 12\"\n",
    ),
    ("etc/hostname", "victim\n"),
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/bash\nwww:x:33:33:www:/var/www:/usr/sbin/nologin\neve:x:1001:1001::/home/eve:/bin/sh\n",
    ),
    ("etc/group", "root:x:0:\nwww:x:33:\neve:x:1001:\n"),
    ("etc/shadow", "root:$6$salt$hash:19000:0:99999:7:::\nwww:*:19000:0:99999:7:::\n"),
    ("etc/app.conf", "listen=8080\n"),
    (
        "etc/systemd/system/app.service",
        "[Unit]\nDescription=app\n[Service]\nExecStart=/usr/bin/app --port 8080\nUser=www\n[Install]\nWantedBy=multi-user.target\n",
    ),
    ("etc/cron.d/app", "5 4 * * * root /usr/bin/app --rotate\n"),
    ("etc/apt/sources.list", "deb http://example.org/debian bookworm main\n"),
    ("usr/bin/app", "#!/bin/sh\nexec sleep 1d\n"),
    ("usr/bin/hello", "#!/bin/sh\necho hello\n"),
    ("usr/share/doc/hello/copyright", "free\n"),
    ("var/www/index.html", "<p>hello</p>\n"),
    ("home/eve/notes", "nothing\n"),
    ("root/.profile", "umask 022\n"),
    (
        "var/lib/dpkg/status",
        "Package: hello\nStatus: install ok installed\nPriority: optional\nSection: misc\nMaintainer: M <m@example.org>\nArchitecture: amd64\nVersion: 1.0-1\nDescription: hello\n\n",
    ),
    (
        "var/lib/dpkg/info/hello.list",
        "/.\n/usr\n/usr/bin\n/usr/bin/hello\n/usr/share\n/usr/share/doc\n/usr/share/doc/hello\n/usr/share/doc/hello/copyright\n",
    ),
    (
        "var/lib/dpkg/info/hello.md5sums",
        "2cad20c19a8eb9bb11a9f76527aec9bc  usr/bin/hello\nc1ab0bb8ab9a8d3e8f9a9b1f3c5e7d10  usr/share/doc/hello/copyright\n",
    ),
    ("var/lib/dpkg/arch", "amd64\n"),
    (
        "etc/ssh/ssh_host_ed25519_key",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
    ),
];

/// Runs `make-root DIR [--files N] [--bytes N]`: creates the fixed files, and N files of N bytes
/// each below `srv/data`.
pub fn run(words: &[String]) -> Result<bool> {
    let args = Args::parse(words, &["files", "bytes"], &[])?;
    let root = args.word(0, "DIR")?;
    make(&root)?;
    let bytes: usize = args.parsed("bytes")?.unwrap_or(1000);
    for number in 0..args.parsed("files")?.unwrap_or(0usize) {
        let path = root.join(format!("srv/data/{:02}/file-{number:05}", number % 40));
        write(&path, &content(number, bytes))?;
    }
    Ok(true)
}

/// The fixed part.
pub fn make(root: &Path) -> Result<()> {
    for (path, text) in FILES {
        write(&root.join(path), text.as_bytes())?;
    }
    for directory in ["proc", "sys", "dev", "run", "tmp", "var/log", "var/cache", "usr/lib"] {
        fs::create_dir_all(root.join(directory))?;
    }
    for program in ["usr/bin/app", "usr/bin/hello"] {
        fs::set_permissions(root.join(program), fs::Permissions::from_mode(0o755))?;
    }
    symlink("usr/bin", root.join("bin"))?;
    symlink("/etc/systemd/system/app.service", root.join("etc/app-link"))?;
    fs::hard_link(root.join("home/eve/notes"), root.join("home/eve/same-notes"))?;
    nix::unistd::mkfifo(&root.join("home/eve/pipe"), nix::sys::stat::Mode::S_IRUSR)?;
    Ok(())
}

/// Writes a file and makes the directories above it.
pub fn write(path: &Path, content: &[u8]) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    Ok(fs::write(path, content)?)
}

/// Different for every file, and not too easy to compress.
fn content(number: usize, bytes: usize) -> Vec<u8> {
    let mut random = crate::random::Random::new(number as u64 + 1);
    (0..bytes).map(|_| b'a' + random.below(26) as u8).collect()
}
