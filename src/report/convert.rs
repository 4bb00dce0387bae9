//! What a conversion prints: the summary of its plan, and where the context is.

use super::{cut, escape_text, machine_line, table};
use crate::emit::Sizes;
use crate::model::escape;
use crate::model::size::bytes;
use crate::services::Workload;
use crate::services::model::IssueSeverity;
use crate::summary::{Count, PackageSummary, Summary};
use crate::system::sandbox::Sandbox;
use crate::transfer::net::Stats;
use std::path::Path;
use std::time::Instant;

/// The machine, what becomes of its packages and files, and sizes.
pub fn summary(summary: &Summary) -> String {
    let machine = &summary.machine;
    let mut lines = vec![("machine", machine_line(machine))];
    let reference = summary.base.reference.as_deref().unwrap_or("scratch: nothing");
    lines.push(("base image", format!("{reference}: {}", summary.base.reason)));
    lines.push(("", format!("its content: {}", summary.base.contents_source)));
    lines.push((
        "packages",
        summary
            .packages
            .as_ref()
            .map_or("no database that is known: every file is in the delta".to_owned(), packages),
    ));
    let named = summary.packages.as_ref().map(|packages| cut(&packages.named)).unwrap_or_default();
    lines.extend((!named.is_empty()).then_some(("", named)));
    let files = &summary.files;
    let count = |count: Count| format!("{} paths, {}", count.paths, bytes(count.bytes));
    lines.push(("from base", count(files.base)));
    lines.push(("from packages", count(files.packages)));
    lines.push(("in the delta", count(files.delta)));
    if files.generated.paths > 0 {
        lines.push(("", format!("and {} that package scripts make", count(files.generated))));
    }
    if !summary.local_files.places.is_empty() {
        let places: Vec<String> = summary.local_files.places.iter().map(|place| place.path.clone()).collect();
        lines.push(("administrator's", format!("{}: {}", count(summary.local_files.all), cut(&places))));
    }
    lines.push(("dropped by rule", count(files.dropped_in_all())));
    lines.push(("withheld", format!("{} secrets: see SECRETS.todo", files.withheld.paths)));
    for (path, reason) in &summary.volumes {
        lines.push(("volume", format!("{path}: {reason}")));
    }
    if files.lost.paths > 0 {
        lines.push(("not in the image", format!("{}: see findings.jsonl", count(files.lost))));
    }
    lines.extend(workload(&summary.workload));
    let forecast = &summary.forecast;
    let base = if summary.base.known { bytes(forecast.base) } else { "not known".to_owned() };
    lines.push((
        "layers (forecast)",
        format!(
            "base {base}, packages {}, top {}, at most {}",
            bytes(forecast.packages),
            bytes(forecast.top),
            bytes(forecast.top_at_most)
        ),
    ));
    table(&lines)
}

/// The containers, and what stands in their way.
fn workload(workload: &Workload) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    for service in &workload.services {
        let ports: Vec<String> =
            service.ports.iter().map(|port| format!("{}/{}", port.number, port.protocol)).collect();
        let ports = if ports.is_empty() { String::new() } else { format!(" ({})", ports.join(", ")) };
        let network = service.network.as_ref().map_or_else(String::new, |name| format!(" in {name}"));
        lines.push(("service", format!("{}{ports}{network}", service.name)));
    }
    for issue in workload.compatibility.iter().filter(|issue| issue.severity != IssueSeverity::Info) {
        let who = issue.service.as_ref().map_or_else(String::new, |name| format!("{name}: "));
        lines.push((issue.severity.as_str(), format!("{who}{}: {}", issue.evidence, issue.advice)));
    }
    lines
}

fn packages(packages: &PackageSummary) -> String {
    let mut text = format!("{} installed; {} in the base image", packages.installed, packages.in_base);
    if packages.to_install > 0 {
        text += &format!(", {} to install by naming {}", packages.to_install, packages.named.len());
    }
    if packages.downgraded > 0 {
        text += &format!(" ({} of them older than the base image's)", packages.downgraded);
    }
    if packages.carried > 0 {
        text += &format!(", {} carried", packages.carried);
    }
    text + &format!("; {} left out", packages.dropped)
}

/// What came over the network.
pub fn traffic(figures: Option<&Stats>) -> String {
    let Some(figures) = figures.filter(|figures| figures.requests > 0) else { return String::new() };
    let hosts = figures.hosts.iter().map(|host| escape_text(host)).collect::<Vec<_>>();
    let text = format!(
        "{} in {} requests and {:.1} s from {}",
        bytes(figures.received),
        figures.requests,
        figures.time.as_secs_f64(),
        cut(&hosts)
    );
    table(&[("network", text)])
}

/// What a finished conversion wrote, and what to type next.
pub fn written(out: &Path, sizes: Sizes, since: Instant) -> String {
    let name = escape::escape(std::os::unix::ffi::OsStrExt::as_bytes(out.as_os_str()));
    let packages =
        if sizes.packages > 0 { format!(", package files {}", bytes(sizes.packages)) } else { String::new() };
    format!(
        "written            {name} in {:.1} s: delta {}{packages}\n\
         next               copy {name} to where Docker, Podman or Buildah is, then: {name}/build.sh\n",
        since.elapsed().as_secs_f64(),
        bytes(sizes.delta),
    )
}

/// That the context is where it was sent to, and nowhere else.
pub fn sent(sizes: Sizes, since: Instant) -> String {
    let made = bytes(sizes.delta + sizes.packages);
    format!(
        "sent               {made} of archives in {:.1} s; nothing is kept here\n\
         next               fetch it to where Docker, Podman or Buildah is, then: sh build.sh\n",
        since.elapsed().as_secs_f64(),
    )
}

/// How the machine was kept from being changed.
pub fn sandbox(sandbox: &Sandbox) -> String {
    let mounts = match (sandbox.read_only, &sandbox.why_not) {
        (Some(count), _) => format!("{count} file systems read-only for this run"),
        (None, why) => format!("file systems as they are ({})", why.as_deref().unwrap_or("not tried")),
    };
    let refused =
        |refused: bool, what: &str| format!("{what} {}", if refused { "refused" } else { "not used" });
    let lines = [
        mounts,
        refused(sandbox.writes, "writes outside --out"),
        refused(sandbox.calls, "programs, mode and owner changes, sockets"),
    ];
    format!("sandbox            {}\n", lines.join(", "))
}
