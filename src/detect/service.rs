//! The command that a container of the whole machine runs: the daemon that answers on its best-known port.
//!
//! Only daemons whose way of staying in the foreground is known are chosen, so
//! nothing that a process says about itself reaches the Dockerfile.

use crate::findings::Findings;
use procfs::net::{TcpNetEntry, TcpState};
use procfs::process::{FDTarget, all_processes};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Daemons that serve others, by program name: the foreground command. Best known first.
const FOREGROUND: &[(&str, &[&str])] = &[
    ("nginx", &["/usr/sbin/nginx", "-g", "daemon off;"]),
    ("apache2", &["/usr/sbin/apachectl", "-D", "FOREGROUND"]),
];

/// The daemon that was chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Service {
    /// The program's name.
    pub program: &'static str,
    /// Its foreground command.
    pub command: &'static [&'static str],
    /// The TCP ports on which it listened.
    pub ports: BTreeSet<u16>,
}

/// Looks at the running machine's listening sockets and who holds them. What cannot be read is a finding.
pub fn main_service(findings: &mut Findings) -> Option<Service> {
    let ports = listening(findings);
    let mut by_program: BTreeMap<String, BTreeSet<u16>> = BTreeMap::new();
    let processes = match all_processes() {
        Ok(processes) => processes,
        Err(cause) => {
            findings.note("processes", b"", format!("/proc cannot be read, no service was chosen: {cause}"));
            return None;
        }
    };
    // A process that ends meanwhile is no service.
    for process in processes.flatten() {
        let (Ok(exe), Ok(fds)) = (process.exe(), process.fd()) else { continue };
        let Some(program) = exe.file_name().and_then(|name| name.to_str()) else { continue };
        let sockets = fds.flatten().filter_map(|fd| match fd.target {
            FDTarget::Socket(inode) => ports.get(&inode).copied(),
            _ => None,
        });
        by_program.entry(program.to_owned()).or_default().extend(sockets);
    }
    FOREGROUND.iter().find_map(|(program, command)| {
        let ports = by_program.get(*program).filter(|ports| !ports.is_empty())?.clone();
        Some(Service { program, command, ports })
    })
}

/// Listening TCP sockets: port by inode.
fn listening(findings: &mut Findings) -> BTreeMap<u64, u16> {
    let mut entries: Vec<TcpNetEntry> = Vec::new();
    for (table, name) in [(procfs::net::tcp(), "tcp"), (procfs::net::tcp6(), "tcp6")] {
        match table {
            Ok(table) => entries.extend(table),
            Err(procfs::ProcError::NotFound(_)) => {}
            Err(cause) => findings.note("sockets", b"", format!("/proc/net/{name} cannot be read: {cause}")),
        }
    }
    entries
        .into_iter()
        .filter(|entry| entry.state == TcpState::Listen)
        .map(|entry| (entry.inode, entry.local_address.port()))
        .collect()
}
