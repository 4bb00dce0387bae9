//! Writes the container definitions for engines and orchestrators.
//!
//! - [`image`]: `services/NAME/`, one image per service, based on the system image.
//! - [`compose`]: `compose.yaml`, for one host; [`limits`]: `compose.limits.yaml`, its limits that
//!   some engines refuse.
//! - [`kubernetes`]: `kubernetes/`, one file per object; [`pods`]: pod templates.
//! - [`quadlet`]: `quadlet/`, units for Podman.
//! - [`yaml`]: YAML that every parser reads the same way.

mod compose;
mod groups;
mod image;
mod kubernetes;
mod limits;
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
use crate::services::model::{Name, Service, Variable, Workload};
use std::collections::{BTreeMap, BTreeSet};

/// Minimum memory limit in bytes that engines accept (Docker: 6 MiB).
const MIN_MEMORY: u64 = 6 << 20;
/// Minimum CPU limit in thousandths of a CPU that engines accept.
const MIN_CPU_MILLIS: u64 = 10;

/// Writes the container definitions, or nothing if there are no services.
///
/// # Errors
/// Returns an error if the context cannot be written.
pub fn write(sink: &mut ContextWriter, workload: &Workload, platform: &str, project: &str) -> Result<()> {
    let files = files(workload, platform, project);
    files.iter().try_for_each(|(name, content)| sink.write(name, content))
}

/// Returns all files by their path in the context. `platform` is that of the images, such as
/// `linux/amd64`.
fn files(workload: &Workload, platform: &str, project: &str) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    if workload.services.is_empty() {
        return files;
    }
    let project = Name::from_bytes(project.as_bytes());
    for service in &workload.services {
        let mut add = |name: &str, content: Vec<u8>| {
            files.insert(format!("services/{}/{name}", service.name), content);
        };
        add("Dockerfile", image::dockerfile(workload, service, &system_image(&project)).into_bytes());
        if let Some(script) = image::entry(service) {
            add("entry", script.into_owned());
        }
        if let Some(script) = &service.prepare {
            add("prepare", script.clone());
        }
    }
    files.insert("compose.yaml".to_owned(), compose::compose(workload, platform, &project).into_bytes());
    if let Some(limits) = limits::compose_limits(workload) {
        files.insert("compose.limits.yaml".to_owned(), limits.into_bytes());
    }
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

/// Returns the name of the machine's image in a project, with the prefix of `.env`.
pub fn machine_image(project: &str) -> String {
    system_image(Name::from_bytes(project.as_bytes()))
}

/// Returns the name of the machine's image.
fn system_image(prefix: impl std::fmt::Display) -> String {
    format!("{prefix}/machine:latest")
}

/// Returns the name of a service's image. `build.sh` uses the same rule.
fn tag(prefix: impl std::fmt::Display, service: &Service) -> String {
    match service.name.as_str() {
        // The machine's image has this name.
        "machine" => format!("{prefix}/machine-service:latest"),
        name => format!("{prefix}/{name}:latest"),
    }
}

/// Returns `.env`: the prefix of the images' names, and variables that services need.
pub fn settings(workload: &Workload, platform: &str, project: &str) -> String {
    let project = Name::from_bytes(project.as_bytes());
    let mut text = format!(
        "# build.sh and compose.yaml read this file. You can change it: build.sh does not check it.\n\
         # The names of the images start with this, for example registry.example.org/team.\n\
         IMAGE_PREFIX={project}\n\
         # The platform of the machine, which hosts with another CPU architecture emulate.\n\
         IMAGE_PLATFORM={platform}\n"
    );
    if limits::is_needed(workload) {
        text += "\n# Limits that an engine without CAP_SYS_RESOURCE refuses. Remove the # if your engine is not rootless.\n\
                 #COMPOSE_FILE=compose.yaml:compose.limits.yaml\n";
    }
    let secrets: BTreeSet<&str> =
        workload.services.iter().flat_map(|service| &service.secrets).map(Variable::as_str).collect();
    if !secrets.is_empty() {
        text += "\n# Withheld variables (SECRETS.todo). Remove the # and add the values.\n";
        text.extend(secrets.iter().map(|name| format!("#{name}=\n")));
    }
    text
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
