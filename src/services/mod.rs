//! Which of the machine's daemons become containers, and how.
//!
//! ```text
//! survey   ──► Survey     units, processes and sockets, joined
//! withheld ──► Secrets    what processes were given and no file of the context may hold
//! decide   ──► Workload   every container, what they share, what will not work     pure but for configuration files
//! ```

mod compatibility;
mod connections;
mod service_files;
mod system_units;

mod command;
mod daemons;
mod data;
mod decide;
mod draft;
mod listening;
pub mod model;
mod privileges;
mod script;
#[cfg(test)]
mod script_tests;
mod secrets;
pub mod survey;
mod volumes;
pub mod withheld;

pub use model::Workload;
pub use survey::{Selection, Survey, survey};
pub use withheld::Secrets;

use crate::detect::Inventory;
use crate::model::escape;
use crate::plan::{self, Plan, PlanInput};
use crate::system::root::Root;
use std::collections::BTreeMap;

/// Decides about every service.
pub fn decide(
    root: &Root,
    survey: &Survey<'_>,
    inventory: &Inventory,
    facts: PlanInput<'_>,
    plan: &Plan,
) -> Workload {
    let volumes = plan::volumes(facts, plan).into_iter();
    let live_data: BTreeMap<Vec<u8>, String> =
        volumes.filter_map(|(path, reason)| Some((escape::unescape(&path)?, reason))).collect();
    decide::decide(survey, inventory, service_files::ServiceFiles { root, facts, plan }, &live_data)
}
