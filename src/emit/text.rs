//! The files of a context that people and engines read. Pure.
//!
//! The Dockerfile is constant but for the image reference and numbers, which
//! are checked where they are made; no name or value from the machine is in it.

use crate::context::MOUNT;
use crate::context::reader::{BINARY, COMPLETE, DELETIONS};
use crate::model::escape;
use crate::model::size::bytes;
use crate::pkg::plan::PackageMode;
use crate::summary::{Count, LocalFiles, Summary};
use std::collections::BTreeMap;
use std::fmt::Write;

/// The Dockerfile: stages base, packages, system.
/// `writes_database` selects a step that writes the package database where no script installs
/// packages.
pub(super) fn dockerfile(summary: &Summary, archives: &[String], writes_database: bool) -> String {
    let from = &summary.base.from;
    // Not an image of its own: scratch has no platform, and the build's applies.
    let platform = match &summary.base.reference {
        Some(_) => format!("--platform={} ", platform(summary)),
        None => String::new(),
    };
    let mut text = format!(
        "# Made by vm2docker-self {}. README.md says how to build, run and verify it.\nFROM {platform}{from} AS base\n\nFROM base AS packages\n",
        summary.program_version
    );
    let bind = |name: &str| format!("--mount=type=bind,source={name},target={MOUNT}/{name}");
    let mut mounts = vec![bind(BINARY)];
    if !summary.base.merged_usr.is_empty() {
        let mounts = [&*mounts, &[bind("packages")]].concat().join(" \\\n    ");
        let command = format!("[\"{MOUNT}/{BINARY}\", \"apply\", \"--stage\", \"merged-usr\", \"{MOUNT}\"]");
        text += &format!("RUN {mounts} \\\n    {command}\n");
    }
    mounts.extend(archives.iter().map(|name| bind(name)));
    match summary.packages.as_ref().map(|packages| packages.mode) {
        Some(PackageMode::Install) => {
            mounts.push(bind("packages"));
            text += &format!("RUN {} \\\n    sh {MOUNT}/packages/install.sh\n", mounts.join(" \\\n    "));
        }
        Some(PackageMode::Carry) => {
            if !archives.is_empty() {
                let command =
                    format!("[\"{MOUNT}/{BINARY}\", \"apply\", \"--stage\", \"packages\", \"{MOUNT}\"]");
                text += &format!("RUN {} \\\n    {command}\n", mounts.join(" \\\n    "));
            }
            if writes_database {
                let mounts = [bind(BINARY), bind("packages")].join(" \\\n    ");
                text += &format!("RUN {mounts} \\\n    sh {MOUNT}/packages/database.sh\n");
            }
        }
        None => {}
    }
    let context = format!("{MOUNT}-context");
    text += &format!(
        "\nFROM packages AS system\nRUN --mount=type=bind,source=.,target={context} \\\n    \
         [\"{context}/{BINARY}\", \"apply\", \"{context}\"]\n"
    );
    if summary.base.reference.is_none() {
        // Engines create no container of an image without a command.
        text += "CMD [\"/bin/sh\"]\n";
    }
    text += &labels(summary);
    text
}

/// Returns the platform of the images in the notation of engines.
pub(super) fn platform(summary: &Summary) -> String {
    format!("linux/{}", summary.machine.architecture)
}

fn labels(summary: &Summary) -> String {
    let Some(reference) = &summary.base.reference else { return String::new() };
    let mut text = format!("LABEL org.opencontainers.image.base.name=\"{reference}\"");
    let is_digest = |digest: &&String| {
        digest
            .strip_prefix("sha256:")
            .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    let pinned = summary.base.from.split_once('@').map(|(_, digest)| digest.to_owned());
    if let Some(digest) = pinned.as_ref().or(summary.base.manifest_digest.as_ref()).filter(is_digest) {
        text += &format!(" \\\n      org.opencontainers.image.base.digest=\"{digest}\"");
    }
    text + "\n"
}

/// Nothing but what the build needs.
pub(super) fn dockerignore<'a>(archives: impl Iterator<Item = &'a String>) -> String {
    let mut text = "*\n".to_owned();
    for name in ["packages", BINARY, DELETIONS, COMPLETE].into_iter().chain(archives.map(String::as_str)) {
        let _ = writeln!(text, "!{name}");
    }
    text
}

/// `deletions.list`.
pub(super) fn deletions(paths: &[Vec<u8>]) -> String {
    paths.iter().map(|path| escape::display(path) + "\n").collect()
}

/// `packages/merged-usr.list`.
pub(super) fn merged_usr(links: &BTreeMap<String, String>) -> String {
    links.iter().map(|(name, target)| format!("{name}\t{target}\n")).collect()
}

/// `README.md`. `image` is the name of the machine's image.
pub(super) fn readme(summary: &Summary, delta: &str, image: &str) -> String {
    let machine = &summary.machine;
    let name = code(if machine.hostname.is_empty() { "this machine" } else { &machine.hostname });
    let files = &summary.files;
    let mut text = format!(
        "# {name} as a container image\n\n\
         {} ({}), made by vm2docker-self {}.\n\n\
         ## Build\n\n    ./build.sh\n\n\
         or `docker build -t {image} .`: BuildKit is needed (the default since Docker 23; before, \
         `DOCKER_BUILDKIT=1`). Podman and Buildah build it too.\n\n\
         ## Run\n\n    docker run -it {image} bash\n\n\
         ## Verify\n\n    id=$(docker create {image}) && docker export \"$id\" | ./vm2docker-self verify . --tar -; docker rm \"$id\"\n\n\
         `docker export` shows no ACLs and no `user.*` attributes; the build has proven them. To prove them again:\n\n    \
         docker run --rm -v \"$PWD:/run/ctx:ro\" {image} /run/ctx/vm2docker-self verify /run/ctx --root /\n\n\
         `vm2docker-self explain . PATH` tells what happened to a path and why.\n\n\
         ## What is in it\n\n\
         | from | paths | bytes |\n|---|---|---|\n",
        code(&machine.os.pretty_name),
        machine.architecture,
        summary.program_version,
    );
    let base = summary.base.reference.as_deref().unwrap_or("scratch");
    let rows = [
        (format!("the base image, `{base}`"), files.base),
        ("packages".to_owned(), files.packages),
        (format!("`{delta}`"), files.delta),
        (format!("package scripts, and `{delta}` in case they do otherwise"), files.generated),
    ];
    for (from, count) in rows {
        let _ = writeln!(text, "| {from} | {} | {} |", count.paths, bytes(count.bytes));
    }
    text += &local_files(&summary.local_files, delta);
    text += "\n## What is not in it, and why\n\n| reason | paths | bytes |\n|---|---|---|\n";
    for (reason, count) in &files.dropped {
        let _ = writeln!(text, "| {} | {} | {} |", cell(reason), count.paths, bytes(count.bytes));
    }
    let rows = [
        ("secret: listed in `SECRETS.todo`, to be mounted at run time", files.withheld),
        ("live data: volumes, below", files.volumes),
        ("could not be read or kept: listed in `findings.jsonl`", files.lost),
    ];
    for (reason, count) in rows {
        let _ = writeln!(text, "| {reason} | {} | {} |", count.paths, bytes(count.bytes));
    }
    if !summary.volumes.is_empty() {
        text += "\n## Volumes\n\nThe directories are in the image, empty. Fill a volume for each:\n\n";
        for (path, reason) in &summary.volumes {
            let _ = writeln!(text, "- `{}`: {}", path.replace('`', "'"), cell(reason));
        }
    }
    text += LIMITS;
    text
}

/// The administrator's files: what a person looks for first.
fn local_files(own: &LocalFiles, delta: &str) -> String {
    /// Maximum number of places in the text. `plan.json` has more.
    const SHOWN: usize = 20;
    if own.places.is_empty() {
        return String::new();
    }
    let mut text = format!(
        "\n## The administrator's files\n\n{} paths, {}. `{delta}` has them before everything else. The largest:\n\n\
         | place | paths | bytes | why |\n|---|---|---|---|\n",
        own.all.paths,
        bytes(own.all.bytes)
    );
    for place in own.places.iter().take(SHOWN) {
        let path = place.path.replace('`', "'").replace('|', "\\|");
        let Count { paths, bytes: length } = place.count;
        let _ = writeln!(text, "| `{path}` | {paths} | {} | {} |", bytes(length), cell(&place.reason));
    }
    let rest = own.places.len().saturating_sub(SHOWN) + own.more;
    if rest > 0 {
        let _ = writeln!(text, "\nand {rest} more: see `own` in `plan.json`.");
    }
    text
}

/// Changes that engines make to an image after the build has verified it.
const LIMITS: &str = "
## Limits

- Buildah needs `--isolation oci`: with `chroot` it mounts the host's `/dev` over the context.
- Buildah and Podman lose POSIX ACLs and attributes without a value when they commit a layer; times before 1970 or after 2242 become 1970.
- The classic image store of Docker loses ACLs and `user.*` attributes when an image is pushed or saved.
- `/`'s own mode, `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf` are the engine's.
";

/// Text from the machine as a code span that cannot end early.
fn code(text: &str) -> String {
    format!("`{}`", escape::escape(text.as_bytes()).replace('`', "'"))
}

pub(super) fn cell(text: &str) -> String {
    escape::escape(text.as_bytes()).replace('|', "\\|")
}
