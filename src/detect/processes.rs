//! Reads the process table once from a procfs as bytes (`proc(5)`).
//!
//! Opens the directory of each process once and reads all its files through this descriptor,
//! which never refers to a later process with the same PID. Reads a process again if it called
//! `execve(2)` during the read.

use super::process::{Process, Processes};
use super::process_files::decimal;
use super::process_reader::Reader;
use crate::model::findings::{self, Findings};
use crate::system::root::Root;

/// Maximum number of processes to read.
const MAX_PROCESSES: usize = 65_536;

impl Processes {
    /// Reads the complete table. `proc` is a root opened on a procfs.
    ///
    /// Skips processes that end during the read. Other read errors are losses, reported once for
    /// each file name and cause.
    pub fn load(proc: &Root, findings: &mut Findings) -> Processes {
        let mut reader = Reader::new(proc);
        let mut list: Vec<Process> = Vec::new();
        for pid in process_numbers(proc, findings) {
            list.extend(reader.process(pid));
        }
        let machine = match list.first() {
            Some(first) if first.pid == 1 => first.namespaces,
            _ => reader.own_namespaces(),
        };
        for process in &mut list {
            let differs = |own: Option<u64>, machines: Option<u64>| own.is_none() || own != machines;
            let namespaces = process.namespaces;
            if !differs(namespaces.pid, machine.pid) && !differs(namespaces.mnt, machine.mnt) {
                process.contained = None;
            }
        }
        reader.report(findings);
        Processes(list)
    }
}

fn process_numbers(proc: &Root, findings: &mut Findings) -> Vec<u32> {
    let names = proc.list(b"").unwrap_or_else(|cause| {
        findings.loss(findings::Kind::Processes, b"proc", format!("no process is known: {cause}"));
        Vec::new()
    });
    let mut numbers: Vec<u32> = names.iter().filter_map(|name| decimal(name)).collect();
    numbers.sort_unstable();
    if numbers.len() > MAX_PROCESSES {
        let text = format!("{} processes, of which {MAX_PROCESSES} are looked at", numbers.len());
        findings.loss(findings::Kind::Processes, b"proc", text);
        numbers.truncate(MAX_PROCESSES);
    }
    if !numbers.is_empty() && !numbers.contains(&1) {
        findings.note(
            findings::Kind::Processes,
            b"proc/1",
            "not shown: processes of others are hidden (hidepid of proc(5))",
        );
    }
    numbers
}
