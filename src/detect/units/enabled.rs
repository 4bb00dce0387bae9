//! What a boot starts: everything that `default.target` pulls in.
//!
//! Conditions and the state of the machine are not looked at: a unit here is one that systemd would try to start.

use super::load::{Loaded, Units};
use super::names;
use super::path::PathUnit;
use super::section::Section;
use super::service::Relations;
use super::socket::SocketUnit;
use super::specifiers::Host;
use super::timer::TimerUnit;
use crate::model::findings::{self, Findings};
use std::collections::{BTreeMap, VecDeque};

/// Where a boot goes to; the others only if there is no link for it.
const TARGETS: &[&str] = &["default.target", "multi-user.target", "graphical.target"];
/// More units than this are not looked at: no machine has a tenth of them.
const MAX_UNITS: usize = 20_000;

/// A unit that a boot starts, or gets ready to be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enabled {
    /// The unit.
    pub loaded: Loaded,
    /// The unit that pulls it in, the first one found from the target; `None` for the target itself.
    pub by: Option<Vec<u8>>,
    /// How it does.
    pub how: How,
}

/// How a unit comes to be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    /// At boot.
    Boot,
    /// When the socket, timer or path that was started at boot has a reason to.
    Activated,
}

/// The units that a boot starts, by name; masked ones and those that no file defines are not among them.
pub fn enabled(units: &Units<'_>, host: &Host, findings: &mut Findings) -> Vec<Enabled> {
    let target = TARGETS.iter().map(|name| name.as_bytes()).find(|name| units.has(name));
    let Some(target) = target else {
        return Vec::new();
    };
    let mut found: BTreeMap<Vec<u8>, Enabled> = BTreeMap::new();
    let mut seen: BTreeMap<Vec<u8>, How> = BTreeMap::new();
    let mut todo = VecDeque::from([Pull { name: target.to_vec(), by: None, how: How::Boot }]);
    while let Some(Pull { name, by, how }) = todo.pop_front() {
        let name = units.resolve(&name);
        // What a socket starts may be started at boot as well, and boot counts more.
        if seen.get(&name).is_some_and(|&known| known <= how) {
            continue;
        }
        if seen.len() >= MAX_UNITS {
            findings.loss(
                findings::Kind::Unit,
                b"",
                format!("more than {MAX_UNITS} units pull each other in, the rest is left out"),
            );
            break;
        }
        seen.insert(name.clone(), how);
        let Some(loaded) = units.load(&name, findings).filter(|loaded| !loaded.masked) else { continue };
        todo.extend(pulled(&loaded, how, host, findings));
        if loaded.path.is_some() {
            found.insert(name, Enabled { loaded, by, how });
        }
    }
    found.into_values().collect()
}

/// A name to be looked at.
struct Pull {
    name: Vec<u8>,
    by: Option<Vec<u8>>,
    how: How,
}

/// What a unit pulls in.
fn pulled(loaded: &Loaded, how: How, host: &Host, findings: &mut Findings) -> Vec<Pull> {
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
    let pull = |name, how| Pull { name, by: Some(loaded.name.clone()), how };
    let wanted = [requires, wants, binds_to, upholds].into_iter().flatten();
    let wanted = wanted.map(|name| pull(name, how));
    wanted.chain(activates.map(|name| pull(name, How::Activated))).collect()
}
