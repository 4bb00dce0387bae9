//! The process table, read once from a procfs as bytes (`proc(5)`).
//!
//! Everything about a process is read beneath one descriptor of its directory,
//! which never leads to another process that got the same number later, and
//! is dropped if the process ran another program meanwhile.

use super::process::{Process, Processes};
use super::process_files::decimal;
use super::process_reader::Reader;
use crate::model::findings::{self, Findings};
use crate::system::root::Root;

/// More processes than this are not looked at.
const MAX_PROCESSES: usize = 65_536;

impl Processes {
    /// Reads the whole table. `proc` is a root opened on a procfs.
    ///
    /// A process that ends meanwhile is left out; what is refused is a loss, told once for each kind of file.
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
