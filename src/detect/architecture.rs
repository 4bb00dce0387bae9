//! Detects the CPU architecture of the machine's executables.
//!
//! Reads it from an executable that every machine has. The kernel does not determine it, because
//! a kernel can run executables of several architectures. vm2docker-self's own architecture does
//! not either, because it can read the file system of another machine.

use crate::model::findings::{self, Findings};
use crate::system::cache_neutral::CacheNeutralReader;
use crate::system::root::Root;
use std::fs::File;
use std::io::Read;

/// CPU architecture with its names in other programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Architecture {
    /// Name in Docker, with the variant if there are several: `amd64`, `arm/v7` (image-spec:
    /// `image-index.md`, "Platform Variants").
    pub docker: &'static str,
    /// Name in systemd: `x86-64` (`ConditionArchitecture=` in `systemd.unit(5)`).
    pub systemd: &'static str,
}

const fn named(docker: &'static str, systemd: &'static str) -> Architecture {
    Architecture { docker, systemd }
}

/// Architecture that vm2docker-self was built for.
pub const OWN: Architecture = if cfg!(target_arch = "aarch64") { ARM64 } else { AMD64 };
const _: () = assert!(cfg!(any(target_arch = "x86_64", target_arch = "aarch64")), "name the architecture");

const AMD64: Architecture = named("amd64", "x86-64");
const ARM64: Architecture = named("arm64", "arm64");

/// Executables that exist on most machines, in the order in which they are tried.
const PROGRAMS: &[&[u8]] = &[b"bin/sh", b"usr/bin/env", b"sbin/init"];

/// Number of bytes to read of an executable. They contain the ELF identification, type and
/// machine, and the flags of a 32-bit executable.
const HEADER: u64 = 40;

const LITTLE_ENDIAN: u8 = 1;
/// `EF_ARM_ABI_FLOAT_HARD` ("ELF for the Arm Architecture", section 5.2).
const HARD_FLOAT: u32 = 0x400;

/// Returns the architecture of the machine under `root`. If no executable has a known
/// architecture, returns [`OWN`] and adds a note.
pub fn load(root: &Root, findings: &mut Findings) -> Architecture {
    let Some(found) = find(root) else {
        let text =
            format!("no program tells the machine's architecture, {} is assumed: this program's", OWN.docker);
        findings.note(findings::Kind::Architecture, b"", text);
        return OWN;
    };
    if !runs(OWN, found) {
        let text = format!(
            "a machine for {}, looked at by a program for {}: the copy of it in the context, which works during the build, needs \
             an emulator there; the program for {} needs none",
            found.docker, OWN.docker, found.docker
        );
        findings.note(findings::Kind::Architecture, b"", text);
    }
    found
}

/// Returns the architecture of the first executable in [`PROGRAMS`] whose architecture is known.
pub fn find(root: &Root) -> Option<Architecture> {
    PROGRAMS.iter().find_map(|path| of_program(&head(root, path)?))
}

fn head(root: &Root, path: &[u8]) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    let file = CacheNeutralReader::new(File::from(root.open_file(path).ok()?));
    file.take(HEADER).read_to_end(&mut head).ok()?;
    Some(head)
}

/// Whether a kernel for executables of `machine` also runs those of `own`. 64-bit kernels also
/// run 32-bit executables.
fn runs(own: Architecture, machine: Architecture) -> bool {
    own == machine
        || (own == AMD64 && machine.docker == "386")
        || (own == ARM64 && machine.docker.starts_with("arm/"))
}

/// Returns the architecture of an ELF executable from its first bytes ("ELF Header" in the
/// generic System V ABI; the numbers are in `elf.h`).
///
/// Returns `None` for other files, and for architectures without container images.
pub fn of_program(head: &[u8]) -> Option<Architecture> {
    let [0x7f, b'E', b'L', b'F', class, order, ..] = *head else { return None };
    let little = order == LITTLE_ENDIAN;
    let machine: [u8; 2] = head.get(18..20)?.try_into().ok()?;
    let machine = if little { u16::from_le_bytes(machine) } else { u16::from_be_bytes(machine) };
    let flags = || Some(u32::from_le_bytes(head.get(36..40)?.try_into().ok()?));
    let bits = u32::from(class) * 32;
    Some(match (machine, bits, little) {
        (62, 64, true) => AMD64,
        (183, 64, true) => ARM64,
        (3, 32, true) => named("386", "x86"),
        (40, 32, true) if flags()? & HARD_FLOAT != 0 => named("arm/v7", "arm"),
        (40, 32, true) => named("arm/v5", "arm"),
        (8, 64, true) => named("mips64le", "mips64-le"),
        (21, 64, true) => named("ppc64le", "ppc64-le"),
        (22, 64, false) => named("s390x", "s390x"),
        (243, 64, true) => named("riscv64", "riscv64"),
        (258, 64, true) => named("loong64", "loongarch64"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// First 40 bytes of dash in Debian 12 (riscv64: Debian 13), for each released architecture.
    const DASH: &[(&str, &str, &str)] = &[
        (
            "7f454c4602010100000000000000000003003e000100000060470000000000004000000000000000",
            "amd64",
            "x86-64",
        ),
        ("7f454c460101010000000000000000000300030001000000d0270000340000007412020000000000", "386", "x86"),
        (
            "7f454c460201010000000000000000000300b7000100000080460000000000004000000000000000",
            "arm64",
            "arm64",
        ),
        ("7f454c460101010000000000000000000300280001000000f121000034000000a402020000040005", "arm/v7", "arm"),
        ("7f454c460101010000000000000000000300280001000000cc220000340000009c02020000020005", "arm/v5", "arm"),
        (
            "7f454c46020101000000000000000000030008000100000070820000000000004000000000000000",
            "mips64le",
            "mips64-le",
        ),
        (
            "7f454c46020101000000000000000000030015000100000034430000000000004000000000000000",
            "ppc64le",
            "ppc64-le",
        ),
        (
            "7f454c460201010000000000000000000300f30001000000d4500000000000004000000000000000",
            "riscv64",
            "riscv64",
        ),
        (
            "7f454c46020201000000000000000000000300160000000100000000000054600000000000000040",
            "s390x",
            "s390x",
        ),
    ];

    fn bytes(hex: &str) -> Vec<u8> {
        hex.as_bytes()
            .chunks(2)
            .map(|two| u8::from_str_radix(str::from_utf8(two).unwrap(), 16).unwrap())
            .collect()
    }

    #[test]
    fn of_program_elf_header_returns_architecture() {
        for (head, docker, systemd) in DASH {
            assert_eq!(of_program(&bytes(head)), Some(named(docker, systemd)));
        }
        let own = std::fs::read("/proc/self/exe").unwrap();
        assert_eq!(of_program(&own), Some(OWN));
    }

    #[test]
    fn of_program_other_bytes_return_none() {
        for (head, ..) in DASH {
            let head = bytes(head);
            for length in 0..20 {
                assert_eq!(of_program(&head[..length]), None);
            }
            // The byte order or the word size does not fit the architecture.
            for place in [4, 5] {
                let mut other = head.clone();
                other[place] ^= 3;
                assert_eq!(of_program(&other), None, "{place}: {other:?}");
            }
        }
        assert_eq!(of_program(b"#!/usr/bin/perl -w\nuse strict; exec 'sh', @ARGV;\n"), None);
    }

    fn machine(files: &[(&str, &[u8])]) -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(directory.path().join("usr/bin")).unwrap();
        symlink("usr/bin", directory.path().join("bin")).unwrap();
        symlink("/bin/busybox", directory.path().join("usr/bin/sh")).unwrap();
        for (path, content) in files {
            std::fs::write(directory.path().join(path), content).unwrap();
        }
        let root = Root::open(directory.path()).unwrap();
        (directory, root)
    }

    #[test]
    fn load_returns_architecture_of_executables() {
        let other = DASH.iter().filter(|row| row.1 == "s390x" || row.1 == "riscv64");
        for (head, docker, _) in other {
            let mut findings = Findings::default();
            let (_directory, root) = machine(&[("usr/bin/busybox", &bytes(head))]);
            assert_eq!(load(&root, &mut findings).docker, *docker);
            let notes = findings.sorted();
            assert!(
                notes.len() == 1 && notes[0].text.contains(&format!("a machine for {docker}")),
                "{notes:?}"
            );
        }
        let mut findings = Findings::default();
        let own = std::fs::read("/proc/self/exe").unwrap();
        // /bin/sh can be a script.
        let (_directory, root) = machine(&[("usr/bin/busybox", b"#!/bin/x\n"), ("usr/bin/env", &own)]);
        assert_eq!((load(&root, &mut findings), findings.sorted().len()), (OWN, 0));
        let (_directory, root) = machine(&[]);
        assert_eq!(load(&root, &mut findings), OWN);
        assert!(findings.sorted()[0].text.starts_with("no program tells"), "{findings:?}");
    }

    #[test]
    fn runs_64_bit_kernel_accepts_32_bit_machine() {
        for (own, machine, both) in [
            (AMD64, "386", true),
            (AMD64, "arm64", false),
            (AMD64, "arm/v7", false),
            (ARM64, "arm/v7", true),
            (ARM64, "386", false),
            (ARM64, "amd64", false),
        ] {
            assert_eq!(runs(own, named(machine, "")), both, "{} {machine}", own.docker);
        }
    }
}
