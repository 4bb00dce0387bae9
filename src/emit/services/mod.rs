//! The containers of a machine in the forms that engines and orchestrators read.
//!
//! - [`image`]: `services/NAME/`, one image a service, built from the system image.
//! - [`compose`]: `compose.yaml`, for one host.
//! - [`kubernetes`]: `kubernetes/`, one file an object; [`pods`]: what a pod has in it.
//! - [`quadlet`]: `quadlet/`, units for Podman.
//! - [`yaml`]: values that every reader of YAML takes for the same.

mod compose;
mod groups;
mod image;
mod kubernetes;
mod pods;
mod quadlet;
mod readme;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod services_tests;
mod unit;
mod yaml;

use crate::context::output::ContextWriter;
use crate::error::Result;
use crate::services::model::{Name, Service, Workload};
use std::collections::BTreeMap;

/// Less memory no engine accepts (Docker: 6 MiB).
const LEAST_MEMORY: u64 = 6 << 20;
/// Less of a processor no engine accepts.
const LEAST_CPU_MILLIS: u64 = 10;

/// Writes the containers; nothing if there are none.
///
/// # Errors
/// The context cannot be written.
pub fn write(sink: &mut ContextWriter, workload: &Workload, system_image: &str, project: &str) -> Result<()> {
    let files = files(workload, system_image, project);
    files.iter().try_for_each(|(name, content)| sink.write(name, content))
}

/// All files by their names in the context.
fn files(workload: &Workload, system_image: &str, project: &str) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    if workload.services.is_empty() {
        return files;
    }
    let project = Name::from_bytes(project.as_bytes());
    for service in &workload.services {
        let mut put = |name: &str, content: Vec<u8>| {
            files.insert(format!("services/{}/{name}", service.name), content);
        };
        put("Dockerfile", image::dockerfile(workload, service, system_image).into_bytes());
        if let Some(script) = image::entry(service) {
            put("entry", script.into_owned());
        }
        if let Some(script) = &service.prepare {
            put("prepare", script.clone());
        }
    }
    files.insert("compose.yaml".to_owned(), compose::compose(workload, system_image, &project).into_bytes());
    let directories = [
        ("kubernetes", kubernetes::files(workload, &project)),
        ("quadlet", quadlet::files(workload, &project)),
    ];
    for (directory, its) in directories {
        files.extend(its.into_iter().map(|(name, content)| (format!("{directory}/{name}"), content)));
    }
    files
}

/// What the context's `README.md` says about them; nothing if there is nothing to say.
pub fn readme(workload: &Workload, project: &str) -> String {
    readme::readme(workload, &Name::from_bytes(project.as_bytes()))
}

/// The name of a service's image; `build.sh` makes the same.
fn tag(service: &Service) -> String {
    match service.name.as_str() {
        // The machine's own image has this name.
        "machine" => "vm2docker/machine-service:latest".to_owned(),
        name => format!("vm2docker/{name}:latest"),
    }
}

/// Processors as engines count them.
fn cpus(millis: u64) -> String {
    let millis = millis.max(LEAST_CPU_MILLIS);
    format!("{}.{:03}", millis / 1000, millis % 1000)
}

/// A limit of `setrlimit(2)` as engines write it: −1 is none.
fn limit(limit: Option<u64>) -> i64 {
    limit.and_then(|limit| i64::try_from(limit).ok()).unwrap_or(-1)
}
