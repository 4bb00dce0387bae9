//! `vm2docker-self inspect`: what the program sees of a machine.

use super::open;
use crate::cli::Common;
use crate::error::{Code, Result};
use crate::model::escape;
use crate::model::findings::Findings;
use crate::pkg::Family;
use crate::services::{self, Selection};
use crate::system::console;
use crate::system::sandbox::Sandbox;
use crate::{detect, report};
use serde_json::json;
use std::path::Path;

pub(super) fn run(root: &Path, common: &Common) -> Result<Code> {
    Sandbox::enter(false)?;
    let root = open(root)?;
    let mut findings = Findings::default();
    let inventory = detect::detect(&root, &mut findings);
    let catalog = Family::of(&root).and_then(|family| family.manager().load(&root, &mut findings));
    let live = inventory.live.as_ref();
    let survey = services::survey(&root, live, &Selection::All, catalog.as_ref(), &mut findings);
    findings.extend(root.take_faults());
    let services: Vec<String> =
        survey.candidates.iter().map(|candidate| escape::escape(&candidate.unit)).collect();
    let packages = catalog.map(|catalog| {
        let installed: Vec<String> =
            catalog.installed().map(|id| format!("{}={}", catalog.label(id), catalog[id].version)).collect();
        (installed, catalog.owned.len())
    });
    let installed = packages.as_ref().map(|(installed, _)| installed);
    let mounts: Vec<_> = inventory.mounts.iter().map(report::inspect::mount).collect();
    if common.json {
        let findings = findings.sorted();
        console::json(
            &json!({ "machine": inventory, "mounts": mounts, "packages": installed, "services": services,
                     "left_out": survey.left_out, "findings": findings }),
        );
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
