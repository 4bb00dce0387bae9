//! Converts the machine's services to containers.
//!
//! ```text
//! survey   ──► Survey     services found from units, processes and sockets
//! withheld ──► Secrets    secret values of processes, and the files that contain them
//! decide   ──► Workload   containers and shared resources; reads only configuration files
//! ```

mod compatibility;
mod connections;
mod service_directories;
mod service_files;
mod system_units;

mod command;
mod daemons;
mod data;
mod decide;
mod draft;
mod listening;
pub mod model;
mod needed_secrets;
mod privileges;
mod script;
#[cfg(test)]
mod script_tests;
mod secrets;
mod stopping;
pub mod survey;
mod users;
mod variables;
mod volumes;
pub mod withheld;
mod without_container;

pub use model::Workload;
pub use survey::{Selection, Survey, survey};
pub use withheld::Secrets;

use crate::detect::Inventory;
use crate::model::escape;
use crate::plan::{self, Plan, PlanInput};
use crate::system::root::Root;
use std::collections::BTreeMap;

/// Decides for every service how its container runs.
pub fn decide(
    root: &Root,
    survey: &Survey<'_>,
    inventory: &Inventory,
    input: PlanInput<'_>,
    plan: &Plan,
) -> Workload {
    let volumes = plan::volumes(input, plan).into_iter();
    let live_data: BTreeMap<Vec<u8>, String> =
        volumes.filter_map(|(path, reason)| Some((escape::unescape(&path)?, reason))).collect();
    decide::decide(survey, inventory, service_files::ServiceFiles { root, input, plan }, &live_data)
}
