//! `vm2docker-self inspect`: what the program sees of a machine.

use super::open;
use crate::cli::Common;
use crate::detect::Inventory;
use crate::detect::units::BootUnits;
use crate::error::{Code, Result};
use crate::model::document::Schema;
use crate::model::escape;
use crate::model::findings::{Finding, Findings};
use crate::pkg::Family;
use crate::report::inspect::MountLine;
use crate::services::model::SkippedService;
use crate::services::{self, Selection};
use crate::system::console;
use crate::system::sandbox::Sandbox;
use crate::{detect, report};
use serde::Serialize;
use std::path::Path;

/// Output of `inspect --json`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct Inspection<'a> {
    /// The machine.
    machine: &'a Inventory,
    /// Its mounts.
    mounts: Vec<MountLine>,
    /// Its packages as `NAME:ARCHITECTURE=VERSION`; `null` without a package database.
    packages: Option<&'a [String]>,
    /// The units and programs that become containers.
    services: Vec<String>,
    /// Those that do not.
    skipped: &'a [SkippedService],
    /// Objects that could not be read or parsed.
    findings: Vec<Finding>,
}

impl Schema for Inspection<'_> {
    const NAME: &'static str = "vm2docker-self/inspect";
    const VERSION: u32 = 2;
}

pub(super) fn run(root: &Path, common: &Common) -> Result<Code> {
    Sandbox::enter(false)?;
    let root = open(root)?;
    let mut findings = Findings::default();
    let boot = BootUnits::load(&root, &mut findings);
    let inventory = detect::detect(&root, &boot.enabled, &mut findings);
    let family = Family::of(&root);
    detect::foreign_root::report(&root, family.is_some(), &mut findings);
    let catalog = family.and_then(|family| family.manager().load(&root, &mut findings));
    let live = inventory.live.as_ref();
    let survey = services::survey(&root, &boot, live, &Selection::All, catalog.as_ref(), &mut findings)?;
    findings.extend(root.take_faults());
    let services: Vec<String> =
        survey.candidates.iter().map(|candidate| escape::escape(&candidate.unit)).collect();
    let packages = catalog.map(|catalog| {
        let installed: Vec<String> =
            catalog.installed().map(|id| format!("{}={}", catalog.label(id), catalog[id].version)).collect();
        (installed, catalog.owned.len())
    });
    let installed = packages.as_ref().map(|(installed, _)| installed.as_slice());
    let mounts: Vec<_> = inventory.mounts.iter().map(report::inspect::mount).collect();
    if common.json {
        console::json(&Inspection {
            machine: &inventory,
            mounts,
            packages: installed,
            services,
            skipped: &survey.skipped,
            findings: findings.sorted(),
        });
    } else {
        console::answer(&report::inspect::inspected(
            &inventory,
            packages.as_ref().map(|(list, paths)| (list.len(), *paths)),
            &services,
        ));
        console::tell_if(&report::findings::findings(&findings));
    }
    Ok(if findings.losses() > 0 { Code::Incomplete } else { Code::Done })
}
