//! Everything that people see: the summary, the progress, lists that are cut with a count.

use crate::apply::{Applied, Prepared};
use crate::base;
use crate::detect::Inventory;
use crate::detect::mounts::{Class, Mount};
use crate::emit::Sizes;
use crate::escape;
use crate::findings::{Findings, Severity};
use crate::guard::Guard;
use crate::net::Figures;
use crate::out::partial::Cleaned;
use crate::services::Workload;
use crate::services::model::Gravity;
use crate::summary::{Count, PackageSummary, Summary};
use crate::verify::Verified;
use crate::walk::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// `--progress`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ProgressMode {
    /// A bar on a terminal, nothing elsewhere.
    #[default]
    Auto,
    /// A line every ten seconds.
    Plain,
    /// Nothing.
    None,
}

/// How many entries of a list are shown before it is cut.
const SHOWN: usize = 10;

/// One JSON document on standard output.
pub fn json(document: &impl Serialize) {
    match serde_json::to_string_pretty(document) {
        Ok(text) => answer(&text),
        Err(cause) => tell(&format!("error: the result cannot be written as JSON: {cause}")),
    }
}

/// Text for people on standard output: what they asked to see.
pub fn answer(text: &str) {
    // Whoever closed the pipe does not want to read on; the exit code still tells.
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
}

/// Text for people on standard error: what happened.
pub fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", text.trim_end());
}

/// The same, if there is anything to say.
pub fn tell_if(text: &str) {
    if !text.is_empty() {
        tell(text);
    }
}

/// A length with the unit in which it is read most easily (powers of 1024).
pub fn bytes(length: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if length < 1024 {
        return format!("{length} B");
    }
    let power = (length.ilog2() / 10).min(units.len() as u32);
    format!("{:.1} {}", length as f64 / 1024_f64.powi(power as i32), units[power as usize - 1])
}

/// The machine, what becomes of its packages and files, and sizes.
pub fn summary(summary: &Summary) -> String {
    let machine = &summary.machine;
    let mut lines = vec![("machine", machine_line(machine))];
    let reference = summary.base.reference.as_deref().unwrap_or("scratch: nothing");
    lines.push(("base image", format!("{reference}: {}", summary.base.reason)));
    lines.push(("", format!("its content: {}", summary.base.learned)));
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
    if !summary.own.places.is_empty() {
        let places: Vec<String> = summary.own.places.iter().map(|place| place.path.clone()).collect();
        lines.push(("administrator's", format!("{}: {}", count(summary.own.all), cut(&places))));
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
    for fit in workload.fit.iter().filter(|fit| fit.gravity != Gravity::Info) {
        let who = fit.service.as_ref().map_or_else(String::new, |name| format!("{name}: "));
        lines.push((fit.gravity.as_str(), format!("{who}{}: {}", fit.evidence, fit.advice)));
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
pub fn traffic(figures: Option<&Figures>) -> String {
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

/// What `inspect` shows: the machine, its mounts, its services, and the number of its packages with that of their paths.
pub fn inspected(inventory: &Inventory, packages: Option<(usize, usize)>, services: &[String]) -> String {
    let mut lines = vec![("machine", machine_line(inventory))];
    lines.push((
        "base image",
        base::image_of(&inventory.os).map_or_else(
            || "none is known: name one with --base".to_owned(),
            |image| format!("{} ({})", image.reference, image.reason),
        ),
    ));
    lines.push(match packages {
        Some((installed, paths)) => ("packages", format!("{installed} installed, {paths} paths")),
        None => ("packages", "no database that is known".to_owned()),
    });
    for found in inventory.mounts.iter().map(mount) {
        let what = if found.walked { "read" } else { "left alone" };
        lines.push(("mount", format!("{} ({}): {what}", found.path, found.fstype)));
    }
    lines.extend(services.iter().map(|service| ("service", service.clone())));
    table(&lines)
}

/// A mount as `inspect` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MountLine {
    /// Mount point.
    pub path: String,
    /// File system type.
    pub fstype: String,
    /// Device or server.
    pub source: String,
    /// Whether its files are part of the machine.
    pub walked: bool,
}

/// A mount for people.
pub fn mount(mount: &Mount) -> MountLine {
    MountLine {
        path: escape::display(&mount.point),
        fstype: escape_text(&mount.fstype),
        source: escape::escape(&mount.source),
        walked: mount.class == Class::Local,
    }
}

fn table(lines: &[(&str, String)]) -> String {
    lines.iter().map(|(name, text)| format!("{name:<18} {text}\n")).collect()
}

fn machine_line(machine: &Inventory) -> String {
    let os = if machine.os.pretty_name.is_empty() { "unknown distribution" } else { &machine.os.pretty_name };
    let mut text =
        format!("{} ({}, {})", escape_text(&machine.hostname), escape_text(os), machine.architecture);
    if let Some(live) = &machine.live {
        text += &format!(
            ", kernel {}, {} CPUs, {}",
            escape_text(&live.hardware.kernel),
            live.hardware.processors.online,
            bytes(live.hardware.memory.total)
        );
    }
    text
}

fn escape_text(text: &str) -> String {
    escape::escape(text.as_bytes())
}

fn cut(names: &[String]) -> String {
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(" ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} ... and {more} more"),
    }
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

/// The losses, the first of them by name.
pub fn losses(findings: &Findings) -> String {
    let all = findings.sorted();
    let losses: Vec<_> = all.iter().filter(|finding| finding.severity == Severity::Loss).collect();
    if losses.is_empty() {
        return String::new();
    }
    let mut text = format!("incomplete: {} objects could not be read or kept\n", losses.len());
    for loss in losses.iter().take(SHOWN) {
        text += &format!("  {}: {}\n", escape::display(&loss.path), loss.text);
    }
    if losses.len() > SHOWN {
        text += &format!("  ... and {} more; all are in findings.jsonl\n", losses.len() - SHOWN);
    }
    text
}

/// Every finding, a line each.
pub fn findings(findings: &Findings) -> String {
    let line = |finding: &crate::findings::Finding| {
        format!("{}: {}: {}\n", finding.kind, escape::display(&finding.path), finding.text)
    };
    findings.sorted().iter().map(line).collect()
}

/// What `apply` did to the system layer.
pub fn applied(applied: &Applied) -> String {
    format!(
        "the image is the machine: {} paths proven; {} were there, {} files ({}) written, {} removed as planned, {} more\n",
        applied.kept,
        applied.untouched,
        applied.written.0,
        bytes(applied.written.1),
        applied.removed.0,
        applied.removed.1,
    )
}

/// What `apply` did to the package layer.
pub fn prepared(prepared: &Prepared) -> String {
    format!(
        "package layer: {} packages checked, {} members unpacked, {} leftovers removed\n",
        prepared.checked, prepared.unpacked, prepared.removed
    )
}

/// How the machine was kept from being changed.
pub fn guard(guard: &Guard) -> String {
    let mounts = match (guard.read_only, &guard.why_not) {
        (Some(count), _) => format!("{count} file systems read-only for this run"),
        (None, why) => format!("file systems as they are ({})", why.as_deref().unwrap_or("not tried")),
    };
    let refused =
        |refused: bool, what: &str| format!("{what} {}", if refused { "refused" } else { "not used" });
    let lines = [
        mounts,
        refused(guard.writes, "writes outside --out"),
        refused(guard.calls, "programs, mode and owner changes, sockets"),
    ];
    format!("guard              {}\n", lines.join(", "))
}

/// What `clean` did.
pub fn cleaned(cleaned: &Cleaned) -> String {
    let removed = cleaned.removed.iter().map(|path| format!("removed {path}\n"));
    let left = cleaned.left.iter().map(|(path, why)| format!("left {path}: {why}\n"));
    let text: String = removed.chain(left).collect();
    if text.is_empty() { "nothing was left by a killed run\n".to_owned() } else { text }
}

/// What `verify` found.
pub fn verified(verified: &Verified) -> String {
    let mut text: String = verified.differences.iter().map(|line| format!("{line}\n")).collect();
    text += &match verified.differences.len() {
        0 => format!("equal: {} paths\n", verified.paths),
        count => format!("different: {count} of {} paths\n", verified.paths),
    };
    if verified.unseen > 0 {
        text += &format!(
            "not shown by this stream: ACLs and user.* attributes of {} paths; the build has proven them\n",
            verified.unseen
        );
    }
    text
}

/// A display of a running walk; it ends when it is dropped.
pub struct Display {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Display {
    /// Shows how far `progress` is of `total` objects (an estimate; 0: not known).
    pub fn start(mode: ProgressMode, progress: &Arc<Progress>, total: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, progress) = (Arc::clone(&stop), Arc::clone(progress));
        let show: Option<fn(&AtomicBool, &Progress, u64)> = match mode {
            ProgressMode::None => None,
            ProgressMode::Plain => Some(show_lines),
            ProgressMode::Auto => std::io::stderr().is_terminal().then_some(show_bar),
        };
        let thread = show.map(|show| std::thread::spawn(move || show(&stopped, &progress, total)));
        Display { stop, thread }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A display that panicked has nothing to say about the run.
            let _ = thread.join();
        }
    }
}

fn show_bar(stop: &AtomicBool, progress: &Progress, total: u64) {
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
    let template = match total {
        0 => "reading {spinner} {pos} paths, {msg}",
        _ => "reading {bar:30} {pos}/{len} paths, {msg}, {eta} left",
    };
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    let begun = Instant::now();
    while !stop.load(Relaxed) {
        let (objects, read) = (progress.objects.load(Relaxed), progress.bytes.load(Relaxed));
        bar.set_length(total.max(objects));
        bar.set_position(objects);
        let rate = read as f64 / begun.elapsed().as_secs_f64().max(0.1);
        bar.set_message(format!("{}, {}/s", bytes(read), bytes(rate as u64)));
        std::thread::park_timeout(Duration::from_millis(100));
    }
    bar.finish_and_clear();
}

fn show_lines(stop: &AtomicBool, progress: &Progress, total: u64) {
    let mut shown = Instant::now();
    while !stop.load(Relaxed) {
        if shown.elapsed() >= Duration::from_secs(10) {
            shown = Instant::now();
            let (objects, read) = (progress.objects.load(Relaxed), progress.bytes.load(Relaxed));
            let of_about = if total == 0 { String::new() } else { format!(" of about {total}") };
            tell(&format!("reading: {objects}{of_about} paths, {}", bytes(read)));
        }
        std::thread::park_timeout(Duration::from_millis(200));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_read_easily() {
        for (length, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (5 << 30, "5.0 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(bytes(length), text);
        }
    }

    #[test]
    fn long_lists_are_cut_with_a_count() {
        let names: Vec<String> = (0..12).map(|number| number.to_string()).collect();
        assert_eq!(cut(&names), "0 1 2 3 4 5 6 7 8 9 ... and 2 more");
        assert_eq!(cut(&names[..2]), "0 1");
    }

    #[test]
    fn losses_are_named_and_escaped() {
        let mut findings = Findings::default();
        assert_eq!(losses(&findings), "");
        findings.loss("unreadable", b"a\x1b[2J", "Input/output error");
        findings.note("withheld", b"b", "secret");
        assert_eq!(
            losses(&findings),
            "incomplete: 1 objects could not be read or kept\n  /a\\x1b[2J: Input/output error\n"
        );
    }
}
