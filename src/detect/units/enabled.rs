//! Determines the units that start at boot: all that `default.target` pulls in.
//!
//! Ignores conditions (`Condition*=`) and the current state. The result is the set of units that
//! systemd tries to start.

use super::load::{Loaded, Units};
use super::names;
use super::path::PathUnit;
use super::section::Section;
use super::service::Relations;
use super::socket::SocketUnit;
use super::specifiers::Host;
use super::timer::TimerUnit;
use crate::model::findings::{self, Findings};
use crate::system::root::Root;
use std::collections::{BTreeMap, VecDeque};

/// Boot targets. The other targets apply only if there is no `default.target`.
const TARGETS: &[&str] = &["default.target", "multi-user.target", "graphical.target"];
/// Maximum number of units, more than ten times that of large machines.
const MAX_UNITS: usize = 20_000;

/// A unit that starts at boot, or that a started unit can activate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enabled {
    /// The unit.
    pub loaded: Loaded,
    /// Unit that pulls it in, the first one found from the target; `None` for the target itself.
    pub by: Option<Vec<u8>>,
    /// Reason for its start.
    pub reason: StartReason,
}

/// The reason for a unit's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StartReason {
    /// It starts at boot.
    Boot,
    /// A socket, timer or path unit activates it.
    Activated,
}

/// Returns the units that start at boot, by name. Leaves out masked units and units without a
/// file.
pub(super) fn enabled(units: &Units<'_>, host: &Host, findings: &mut Findings) -> Vec<Enabled> {
    let target = TARGETS.iter().map(|name| name.as_bytes()).find(|name| units.has(name));
    let Some(target) = target else {
        return Vec::new();
    };
    let mut found: BTreeMap<Vec<u8>, Enabled> = BTreeMap::new();
    let mut seen: BTreeMap<Vec<u8>, StartReason> = BTreeMap::new();
    let mut todo = VecDeque::from([Pull { name: target.to_vec(), by: None, reason: StartReason::Boot }]);
    while let Some(Pull { name, by, reason }) = todo.pop_front() {
        let name = units.resolve(&name);
        // A unit can start at boot and through a socket. The start at boot takes precedence.
        if seen.get(&name).is_some_and(|&known| known <= reason) {
            continue;
        }
        if seen.len() >= MAX_UNITS {
            findings.loss(
                findings::Kind::Unit,
                b"",
                format!("more than {MAX_UNITS} units start at boot; the others are ignored"),
            );
            break;
        }
        seen.insert(name.clone(), reason);
        let Some(loaded) = units.load(&name, findings).filter(|loaded| !loaded.masked) else { continue };
        todo.extend(pulls(&loaded, reason, host, findings));
        if loaded.path.is_some() {
            found.insert(name, Enabled { loaded, by, reason });
        }
    }
    found.into_values().collect()
}

/// The units of a machine, and those that start at boot.
#[derive(Debug)]
pub struct BootUnits<'r> {
    /// Values of specifiers.
    pub host: Host,
    /// All unit files.
    pub units: Units<'r>,
    /// Units that start at boot.
    pub enabled: Vec<Enabled>,
}

impl<'r> BootUnits<'r> {
    /// Reads the units of a root. Unreadable files are losses; malformed lines are notes.
    pub fn load(root: &'r Root, findings: &mut Findings) -> Self {
        let host = Host::load(root);
        let units = Units::index(root, findings);
        let enabled = enabled(&units, &host, findings);
        BootUnits { host, units, enabled }
    }
}

/// A unit that is not yet visited.
struct Pull {
    name: Vec<u8>,
    by: Option<Vec<u8>>,
    reason: StartReason,
}

/// Returns the units that a unit pulls in.
fn pulls(loaded: &Loaded, reason: StartReason, host: &Host, findings: &mut Findings) -> Vec<Pull> {
    let (relations, activates) = match names::unit_type(&loaded.name) {
        Some("socket") => {
            let unit = SocketUnit::new(loaded, host, findings);
            (unit.relations, Some(unit.service))
        }
        Some("timer") => {
            let unit = TimerUnit::new(loaded, host, findings);
            (unit.relations, Some(unit.unit))
        }
        Some("path") => {
            let unit = PathUnit::new(loaded, host, findings);
            (unit.relations, Some(unit.unit))
        }
        _ => {
            let mut section = Section::new(loaded, "Unit", host, findings);
            (Relations::read(&mut section, loaded), None)
        }
    };
    let Relations { requires, wants, binds_to, upholds, .. } = relations;
    let pull = |name, reason| Pull { name, by: Some(loaded.name.clone()), reason };
    let wanted = [requires, wants, binds_to, upholds].into_iter().flatten();
    let wanted = wanted.map(|name| pull(name, reason));
    wanted.chain(activates.map(|name| pull(name, StartReason::Activated))).collect()
}
