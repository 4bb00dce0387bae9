//! Which processors the machine's programs are for. A kernel runs programs of more than one kind, and the files of a machine can lie
//! on another one; so it is asked of a program that every machine has, not of the kernel and not of this program.

use crate::model::findings::{self, Findings};
use crate::system::cache_neutral::CacheNeutralReader;
use crate::system::root::Root;
use std::fs::File;
use std::io::Read;

/// A processor architecture under the names that others have for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Architecture {
    /// Docker's, with the variant where there are several (`amd64`, `arm/v7`; image-spec: `image-index.md`, "Platform Variants").
    pub docker: &'static str,
    /// systemd's (`x86-64`; `ConditionArchitecture=` in `systemd.unit(5)`).
    pub systemd: &'static str,
}

const fn named(docker: &'static str, systemd: &'static str) -> Architecture {
    Architecture { docker, systemd }
}

/// What this program is for.
pub const OWN: Architecture = if cfg!(target_arch = "aarch64") { ARM64 } else { AMD64 };
const _: () = assert!(cfg!(any(target_arch = "x86_64", target_arch = "aarch64")), "name the architecture");

const AMD64: Architecture = named("amd64", "x86-64");
const ARM64: Architecture = named("arm64", "arm64");

/// Programs that every machine has, most often the first.
const PROGRAMS: &[&[u8]] = &[b"bin/sh", b"usr/bin/env", b"sbin/init"];

/// As much of a program as is looked at: the identification, type and machine, and the flags of a 32-bit one.
const HEADER: u64 = 40;

const LITTLE_ENDIAN: u8 = 1;
/// `EF_ARM_ABI_FLOAT_HARD` ("ELF for the Arm Architecture", section 5.2).
const HARD_FLOAT: u32 = 0x400;

/// The architecture of the machine under `root`; of this program, and a note says so, where nothing tells.
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

/// The same, and nothing where nothing tells.
pub fn find(root: &Root) -> Option<Architecture> {
    PROGRAMS.iter().find_map(|path| of_program(&head(root, path)?))
}

fn head(root: &Root, path: &[u8]) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    let file = CacheNeutralReader::new(File::from(root.open_file(path).ok()?));
    file.take(HEADER).read_to_end(&mut head).ok()?;
    Some(head)
}

/// Whether a kernel that runs programs for `machine` runs this one too: 64-bit kernels run both.
fn runs(own: Architecture, machine: Architecture) -> bool {
    own == machine
        || (own == AMD64 && machine.docker == "386")
        || (own == ARM64 && machine.docker.starts_with("arm/"))
}

/// What a program is for, by its first bytes ("ELF Header" in the System V ABI's generic part; the numbers are in `elf.h`).
/// Nothing if it is no such program, or for an architecture that no image is made for.
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

    /// The first 40 bytes of dash in Debian 12 (riscv64: 13), for each architecture that it is released for.
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
    fn a_program_tells_what_it_is_for() {
        for (head, docker, systemd) in DASH {
            assert_eq!(of_program(&bytes(head)), Some(named(docker, systemd)));
        }
        let own = std::fs::read("/proc/self/exe").unwrap();
        assert_eq!(of_program(&own), Some(OWN));
    }

    #[test]
    fn what_is_no_program_tells_nothing() {
        for (head, ..) in DASH {
            let head = bytes(head);
            for length in 0..20 {
                assert_eq!(of_program(&head[..length]), None);
            }
            // Neither does one of the other byte order or size.
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
    fn the_machine_is_what_its_programs_are() {
        let other = DASH.iter().filter(|row| row.1 == "s390x" || row.1 == "riscv64");
        for (head, docker, _) in other {
            let mut findings = Findings::default();
            let (_directory, root) = machine(&[("usr/bin/busybox", &bytes(head))]);
            assert_eq!(load(&root, &mut findings).docker, *docker);
            let told = findings.sorted();
            assert!(told.len() == 1 && told[0].text.contains(&format!("a machine for {docker}")), "{told:?}");
        }
        let mut findings = Findings::default();
        let own = std::fs::read("/proc/self/exe").unwrap();
        // A shell that is a script, as some have it.
        let (_directory, root) = machine(&[("usr/bin/busybox", b"#!/bin/x\n"), ("usr/bin/env", &own)]);
        assert_eq!((load(&root, &mut findings), findings.sorted().len()), (OWN, 0));
        let (_directory, root) = machine(&[]);
        assert_eq!(load(&root, &mut findings), OWN);
        assert!(findings.sorted()[0].text.starts_with("no program tells"), "{findings:?}");
    }

    #[test]
    fn kernels_of_64_bits_run_both() {
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
