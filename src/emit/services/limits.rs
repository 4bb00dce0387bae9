//! Writes `compose.limits.yaml`: settings that only engines with `CAP_SYS_RESOURCE` accept.
//!
//! A rootless engine, or one inside a container, cannot raise its own hard limits (setrlimit(2))
//! or protect a process from the OOM killer (proc_pid_oom_score_adj(5)). It refuses to start a
//! container that needs either.

use super::yaml;
use crate::services::model::{Name, Service, Workload};
use serde::Serialize;
use std::collections::BTreeMap;

/// Hard limits that the kernel gives the first process (`INIT_RLIMITS` in Linux's
/// `include/asm-generic/resource.h`). Those of `nproc` and `sigpending` depend on the memory, so
/// no value of them is certain to be accepted. All other resources are unlimited.
const KERNEL_HARD_LIMITS: [(&str, u64); 7] = [
    ("memlock", 8 << 20),
    ("msgqueue", 819_200),
    ("nice", 0),
    ("nofile", 4096),
    ("nproc", 0),
    ("rtprio", 0),
    ("sigpending", 0),
];

/// A limit of `setrlimit(2)` as Compose has it; -1 means unlimited.
#[derive(Serialize)]
pub(super) struct Limit {
    soft: i64,
    hard: i64,
}

#[derive(Serialize)]
struct Compose<'a> {
    services: BTreeMap<&'a str, Privileged>,
}

#[derive(Serialize)]
struct Privileged {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    ulimits: BTreeMap<&'static str, Limit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oom_score_adj: Option<i16>,
}

/// Returns the limits of a service that every engine accepts (`false`), or those that an engine
/// accepts only with `CAP_SYS_RESOURCE` (`true`).
pub(super) fn ulimits(service: &Service, is_privileged: bool) -> BTreeMap<&'static str, Limit> {
    let limits =
        service.ulimits.iter().filter(|(name, (_, hard))| needs_capability(name, *hard) == is_privileged);
    limits
        .map(|(name, (soft, hard))| (*name, Limit { soft: super::limit(*soft), hard: super::limit(*hard) }))
        .collect()
}

/// Returns the OOM score adjustment of a service, under the same condition.
pub(super) fn oom_score_adj(service: &Service, is_privileged: bool) -> Option<i16> {
    service.oom_score_adj.filter(|score| (*score < 0) == is_privileged)
}

fn needs_capability(resource: &str, hard: Option<u64>) -> bool {
    let kernel = KERNEL_HARD_LIMITS.iter().find(|(name, _)| *name == resource);
    kernel.is_some_and(|(_, most)| hard.is_none_or(|hard| hard > *most))
}

/// Whether a service has a setting that needs `CAP_SYS_RESOURCE`.
pub(super) fn is_needed(workload: &Workload) -> bool {
    workload.services.iter().any(|service| privileged(service).is_some())
}

/// Returns the file's text. `None` if no service needs it.
pub(super) fn compose_limits(workload: &Workload) -> Option<String> {
    let services = workload.services.iter();
    let services: BTreeMap<&str, Privileged> =
        services.filter_map(|service| Some((Name::as_str(&service.name), privileged(service)?))).collect();
    (!services.is_empty()).then(|| yaml::document(&Compose { services }))
}

fn privileged(service: &Service) -> Option<Privileged> {
    let settings =
        Privileged { ulimits: ulimits(service, true), oom_score_adj: oom_score_adj(service, true) };
    (!settings.ulimits.is_empty() || settings.oom_score_adj.is_some()).then_some(settings)
}

#[cfg(test)]
mod tests {
    use super::needs_capability;

    #[test]
    fn needs_capability_limit_above_the_kernels_needs_it() {
        for (resource, hard, expected) in [
            ("nofile", Some(4096), false),
            ("nofile", Some(4097), true),
            ("nofile", None, true),
            ("memlock", Some(64 << 10), false),
            ("memlock", None, true),
            ("nproc", Some(1), true),
            ("rtprio", Some(0), false),
            ("core", None, false),
            ("stack", Some(u64::MAX), false),
        ] {
            assert_eq!(needs_capability(resource, hard), expected, "{resource} {hard:?}");
        }
    }
}
