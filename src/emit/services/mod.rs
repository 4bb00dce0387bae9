//! Writes the container definitions for engines and orchestrators.
//!
//! - [`image`]: `services/NAME/`, one image per service, based on the system image.
//! - [`compose`]: `compose.yaml`, for one host.
//! - [`kubernetes`]: `kubernetes/`, one file per object; [`pods`]: pod templates.
//! - [`quadlet`]: `quadlet/`, units for Podman.
//! - [`yaml`]: YAML that every parser reads the same way.

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

/// Minimum memory limit in bytes that engines accept (Docker: 6 MiB).
const MIN_MEMORY: u64 = 6 << 20;
/// Minimum CPU limit in thousandths of a CPU that engines accept.
const MIN_CPU_MILLIS: u64 = 10;

/// Writes the container definitions, or nothing if there are no services.
///
/// # Errors
/// Returns an error if the context cannot be written.
pub fn write(sink: &mut ContextWriter, workload: &Workload, system_image: &str, project: &str) -> Result<()> {
    let files = files(workload, system_image, project);
    files.iter().try_for_each(|(name, content)| sink.write(name, content))
}

/// Returns all files by their path in the context.
fn files(workload: &Workload, system_image: &str, project: &str) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    if workload.services.is_empty() {
        return files;
    }
    let project = Name::from_bytes(project.as_bytes());
    for service in &workload.services {
        let mut add = |name: &str, content: Vec<u8>| {
            files.insert(format!("services/{}/{name}", service.name), content);
        };
        add("Dockerfile", image::dockerfile(workload, service, system_image).into_bytes());
        if let Some(script) = image::entry(service) {
            add("entry", script.into_owned());
        }
        if let Some(script) = &service.prepare {
            add("prepare", script.clone());
        }
    }
    files.insert("compose.yaml".to_owned(), compose::compose(workload, system_image, &project).into_bytes());
    let directories = [
        ("kubernetes", kubernetes::files(workload, &project)),
        ("quadlet", quadlet::files(workload, &project)),
    ];
    for (directory, contents) in directories {
        files.extend(contents.into_iter().map(|(name, content)| (format!("{directory}/{name}"), content)));
    }
    files
}

/// Returns the sections of the context's `README.md`, or an empty string.
pub fn readme(workload: &Workload, project: &str) -> String {
    readme::readme(workload, &Name::from_bytes(project.as_bytes()))
}

/// Returns the tag of a service's image. `build.sh` uses the same rule.
fn tag(service: &Service) -> String {
    match service.name.as_str() {
        // The system image has the tag `vm2docker/machine`.
        "machine" => "vm2docker/machine-service:latest".to_owned(),
        name => format!("vm2docker/{name}:latest"),
    }
}

/// Formats a CPU limit as a decimal number of CPUs.
fn cpus(millis: u64) -> String {
    let millis = millis.max(MIN_CPU_MILLIS);
    format!("{}.{:03}", millis / 1000, millis % 1000)
}

/// Converts a limit of `setrlimit(2)` for engines: -1 means unlimited.
fn limit(limit: Option<u64>) -> i64 {
    limit.and_then(|limit| i64::try_from(limit).ok()).unwrap_or(-1)
}
