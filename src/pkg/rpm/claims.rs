//! The claims of a package on its paths.

use super::Package;
use super::files::{DigestAlgorithm, File, FileFlags, FileState};
use crate::model::digest::Digest;
use crate::model::tree::Kind;
use crate::pkg::aliases::{Aliases, normal};
use crate::pkg::claim::{Claim, ClaimState, ClaimedMetadata, FileRole};
use crate::pkg::owned::PackageFiles;
use crate::pkg::package::PackageId;
use std::sync::Arc;

/// Returns the paths that a package put on the disk, in the names of the walked tree. Files that
/// the installation left out, and those that another package replaced, are not its own.
pub(super) fn of(id: PackageId, package: &Package<'_>, aliases: &Aliases) -> PackageFiles {
    let mut files = PackageFiles::new(id, package.files.len() * 48);
    let mut last: Option<Arc<ClaimedMetadata>> = None;
    for file in package.files.iter().filter(|file| matches!(file.state, None | Some(FileState::Normal))) {
        let path = file.path();
        // A path with `..` matches no path of the tree.
        let Some(path) = normal(&path) else { continue };
        let claim = claim(&file, package.files.algorithm, &mut last);
        files.push(&aliases.canonical(&path), claim);
    }
    files
}

/// Returns the claim on one path. `last` is the metadata of the previous file, because those of
/// most files of a package are equal.
fn claim(file: &File<'_>, algorithm: DigestAlgorithm, last: &mut Option<Arc<ClaimedMetadata>>) -> Claim {
    if file.flags.has(FileFlags::GHOST) {
        return Claim { role: FileRole::Ghost, state: ClaimState::Shipped, ..Claim::default() };
    }
    let role = if file.flags.has(FileFlags::CONFIG) {
        FileRole::Configuration
    } else if file.flags.has(FileFlags::DOC) {
        FileRole::Documentation
    } else {
        FileRole::Ordinary
    };
    let metadata = metadata(file).map(|metadata| match last {
        Some(known) if **known == metadata => known.clone(),
        _ => last.insert(Arc::new(metadata)).clone(),
    });
    Claim { digest: digest(file, algorithm), metadata, role, state: ClaimState::Shipped }
}

/// Returns the digest of the content. `None` for all but regular files, and for algorithms that
/// the walk does not compute; a file without a digest never counts as unchanged.
fn digest(file: &File<'_>, algorithm: DigestAlgorithm) -> Option<Digest> {
    if !file.is_regular() {
        return None;
    }
    match algorithm {
        DigestAlgorithm::Md5 => file.digest_bytes().map(Digest::Md5),
        DigestAlgorithm::Sha1 => file.digest_bytes().map(Digest::Sha1),
        DigestAlgorithm::Sha256 => file.digest_bytes().map(Digest::Sha256),
        _ => None,
    }
}

/// Returns the metadata of a path. `None` if a value is not possible.
fn metadata(file: &File<'_>) -> Option<ClaimedMetadata> {
    let (major, minor) = (u32::from(file.rdev >> 8), u32::from(file.rdev & 0xff));
    let kind = match file.mode & 0o170_000 {
        0o100_000 => Kind::File { size: 0, sha256: None },
        0o040_000 => Kind::Directory,
        0o120_000 => Kind::Symlink(file.link_target.into()),
        0o010_000 => Kind::Fifo,
        0o020_000 => Kind::CharDevice(major, minor),
        0o060_000 => Kind::BlockDevice(major, minor),
        _ => return None,
    };
    let name = |name| std::str::from_utf8(name).ok().map(Box::from);
    let capabilities = match file.capabilities {
        b"" => None,
        text => Some(capabilities(text)?),
    };
    Some(ClaimedMetadata {
        kind,
        mode: file.mode & 0o7777,
        user: name(file.user)?,
        group: name(file.group)?,
        capabilities,
    })
}

/// Names of the capabilities by number (capabilities(7)).
const CAPABILITIES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// Converts the notation of cap_from_text(3) to the attribute `security.capability`: version 2 of
/// `struct vfs_cap_data` (linux/capability.h). `None` if the text is not understood.
fn capabilities(text: &[u8]) -> Option<Box<[u8]>> {
    let text = std::str::from_utf8(text).ok()?;
    let (mut effective, mut permitted, mut inheritable) = (0_u64, 0_u64, 0_u64);
    for clause in text.split_ascii_whitespace() {
        let at = clause.find(['=', '+', '-'])?;
        let (names, mut actions) = clause.split_at(at);
        let mut mask = 0_u64;
        for name in names.split(',').filter(|name| !name.is_empty()) {
            mask |= match name.strip_prefix("cap_") {
                _ if name == "all" => (1 << CAPABILITIES.len()) - 1,
                name => 1 << CAPABILITIES.iter().position(|known| Some(*known) == name)?,
            };
        }
        if names.is_empty() {
            mask = (1 << CAPABILITIES.len()) - 1;
        }
        while let Some(operator) = actions.chars().next() {
            let flags = &actions[1..];
            let end = flags.find(['=', '+', '-']).unwrap_or(flags.len());
            if operator == '=' {
                for set in [&mut effective, &mut permitted, &mut inheritable] {
                    *set &= !mask;
                }
            }
            for flag in flags[..end].chars() {
                let set = match flag {
                    'e' => &mut effective,
                    'p' => &mut permitted,
                    'i' => &mut inheritable,
                    _ => return None,
                };
                if operator == '-' { *set &= !mask } else { *set |= mask }
            }
            actions = &flags[end..];
        }
    }
    // A file has one effective bit for all its capabilities.
    if effective != 0 && effective != (permitted | inheritable) {
        return None;
    }
    let words = [
        0x0200_0000 | u32::from(effective != 0),
        permitted as u32,
        inheritable as u32,
        (permitted >> 32) as u32,
        (inheritable >> 32) as u32,
    ];
    Some(words.iter().flat_map(|word| word.to_le_bytes()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_texts_return_attribute() {
        let hex = |text: &str| {
            let bytes = capabilities(text.as_bytes())?;
            Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
        };
        // Attributes as setcap(8) writes them.
        let raw = Some("0100000200200000000000000000000000000000".to_owned());
        assert_eq!(hex("cap_net_raw=ep"), raw);
        assert_eq!(hex("= cap_net_raw+ep"), raw);
        assert_eq!(hex("cap_net_raw+p cap_net_raw+e"), raw);
        let two = Some("0000000200300000000000000000000000000000".to_owned());
        assert_eq!(hex("cap_net_admin,cap_net_raw=p"), two);
        assert_eq!(hex("cap_bpf=i"), Some("0000000200000000000000000000000080000000".to_owned()));
        for text in
            ["cap_nonsense=ep", "cap_net_raw", "cap_net_raw=x", "cap_kill=p cap_net_raw=ep", "\u{fc}=p"]
        {
            assert_eq!(hex(text), None, "{text}");
        }
    }
}
