//! From what was found to the containers: one decision after the other. Pure but for configuration files that it reads.

use super::command::Run;
use super::connections::{self, Connection, Need, PeerService, Text};
use super::draft::Draft;
use super::listening;
use super::model::{CompatibilityIssue, Name, Restart, SecretFile, Service, SharedNetwork, Signal, Workload};
use super::script::Step;
use super::service_files::{ServiceFiles, relative};
use super::survey::{Candidate, Survey};
use super::{compatibility, data, privileges, volumes};
use crate::detect::units::exec::{Piece, Word};
use crate::detect::units::exec_settings::ProtectSystem;
use crate::detect::units::service;
use crate::detect::{Inventory, RuntimeState};
use crate::model::manifest::Verdict;
use crate::model::{escape, tree};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What systemd waits before it kills (`DefaultTimeoutStopSec=`, systemd-system.conf(5)).
const STOP_TIMEOUT: Duration = Duration::from_secs(90);
/// A service that may take for ever to end gets this long.
const LONGEST_STOP: Duration = Duration::from_secs(3600);
/// Makes the certificate that Debian's services start with; every machine has its own.
const SNAKEOIL: &[&str] = &["make-ssl-cert", "generate-default-snakeoil"];

/// Decides about every service.
pub(super) fn decide(
    survey: &Survey<'_>,
    inventory: &Inventory,
    ground: ServiceFiles<'_>,
    live_data: &BTreeMap<Vec<u8>, String>,
) -> Workload {
    let live = inventory.live.as_ref();
    let mut workload = Workload { skipped: survey.skipped.clone(), ..Workload::default() };
    let mut drafts = drafts(survey, live, &ground, &mut workload);
    let needs = needs(&drafts, inventory);
    workload.secret_files = secret_files(&drafts, &ground);
    regenerate(&mut drafts, &ground);
    for draft in &mut drafts {
        let needed: Vec<Vec<u8>> =
            needed_files(draft, &workload.secret_files).map(|file| file.path.clone()).collect();
        draft.run.script.required_files = needed;
    }
    let mut services: Vec<Service> =
        drafts.iter().map(|draft| service(draft, survey, live, &ground, &workload.secret_files)).collect();
    workload.volumes = volumes::volumes(&drafts, &mut services, &ground, live_data, &needs);
    connect(&mut services, &drafts, &needs, &mut workload.networks);
    workload.compatibility.extend(compatibility::fit(
        &drafts,
        &services,
        survey,
        inventory,
        &ground,
        &needs,
        &workload.secret_files,
    ));
    workload.compatibility.sort();
    workload.compatibility.dedup();
    workload.services = services;
    workload
}

fn drafts<'a>(
    survey: &'a Survey<'a>,
    live: Option<&RuntimeState>,
    ground: &ServiceFiles<'_>,
    workload: &mut Workload,
) -> Vec<Draft<'a>> {
    let mut drafts: Vec<Draft<'a>> = Vec::new();
    for candidate in &survey.candidates {
        let Some(run) = Run::of(candidate, survey) else {
            workload.compatibility.push(CompatibilityIssue::unknown_start(&candidate.unit));
            continue;
        };
        let name = Name::from_bytes(candidate.stem());
        let name = name.unless(|name| drafts.iter().any(|draft| draft.name == *name));
        let listening = listening::of(candidate, live);
        let texts = texts(candidate, &run, ground);
        drafts.push(Draft { name, candidate, run, listening, texts });
    }
    drafts.sort_by(|a, b| a.name.cmp(&b.name));
    drafts
}

/// The texts that tell what a service talks to: its configuration, its variables, its own program if that is a text.
fn texts(candidate: &Candidate<'_>, run: &Run, ground: &ServiceFiles<'_>) -> Vec<Text> {
    let mut names: BTreeSet<Vec<u8>> = data::names(candidate).into_iter().map(<[u8]>::to_vec).collect();
    let directories = candidate.service.iter().flat_map(|service| &service.context.directories);
    names.extend(directories.map(|directory| tree::file_name(&directory.path).to_vec()));
    let packages = data::packages(candidate, ground);
    let mut told: BTreeSet<Vec<u8>> = candidate.sources.iter().cloned().collect();
    let started = candidate.service.iter().flat_map(|service| &service.exec_start);
    let words =
        started.flat_map(|exec| exec.words.iter().filter_map(Word::literal).chain([exec.program.clone()]));
    let seen = candidate.main().into_iter().flat_map(|process| process.argv.iter().map(<[u8]>::to_vec));
    for word in words.chain(seen).filter(|word| word.starts_with(b"/")) {
        // A program of a package is code of somebody else.
        if ground.packages(&word).is_empty() || word.starts_with(b"/etc/") {
            told.insert(relative(&word).to_vec());
        }
    }
    told.extend(run.script.environment_files.iter().map(|file| relative(&file.path).to_vec()));
    let directory = run.directory.as_ref().or(run.script.directory.as_ref());
    told.extend(
        directory
            .filter(|path| !matches!(&path[..], b"/" | b"/root" | b"/var/lib"))
            .map(|path| relative(path).to_vec()),
    );
    let files = ground.configuration(&names, &packages, &told);
    let read = |path: Vec<u8>| {
        let text = ground.root.read(&path).ok()?;
        Some(Text { content: connections::without_comments(&text), is_own: ground.is_own(&path), path })
    };
    let mut texts: Vec<Text> = files.into_iter().filter_map(read).collect();
    let variables = candidate.main().into_iter().flat_map(|process| process.environ.variables());
    let values: Vec<u8> = variables.flat_map(|(name, value)| [name, b"=", value, b"\n"].concat()).collect();
    texts.push(Text { path: b"proc/environ".to_vec(), content: values, is_own: true });
    texts
}

/// Who needs whom: by what was seen, then by what configurations say.
fn needs(drafts: &[Draft<'_>], inventory: &Inventory) -> BTreeSet<Need> {
    let parties: Vec<PeerService<'_>> = drafts
        .iter()
        .map(|draft| PeerService {
            program: draft.candidate.program().unwrap_or_default(),
            listening: &draft.listening,
            texts: &draft.texts,
        })
        .collect();
    let own: Vec<Vec<u8>> = [inventory.hostname.as_bytes()]
        .into_iter()
        .filter(|name| name.len() > 2)
        .map(<[u8]>::to_vec)
        .collect();
    let mut needs = connections::from_configuration(&parties, &own);
    let whose: BTreeMap<u32, usize> = drafts
        .iter()
        .enumerate()
        .flat_map(|(index, draft)| draft.candidate.processes.iter().map(move |process| (process.pid, index)))
        .collect();
    for peer in inventory.live.iter().flat_map(|live| &live.peers) {
        let (Some(&client), Some(&server)) = (whose.get(&peer.client), whose.get(&peer.server)) else {
            continue;
        };
        if let Some(at) = connections::meeting(&peer.endpoint).filter(|_| client != server) {
            needs.insert(Need { client, server, at, evidence: "a connection was open".to_owned() });
        }
    }
    needs
}

/// Withheld files that some service names or reads its variables from.
fn secret_files(drafts: &[Draft<'_>], ground: &ServiceFiles<'_>) -> Vec<SecretFile> {
    let mut files = Vec::new();
    for (path, node) in ground.with_verdict(Verdict::Withhold) {
        let is_unit = drafts
            .iter()
            .any(|draft| draft.candidate.sources.iter().any(|source| *source == relative(&path)));
        if !is_unit && drafts.iter().any(|draft| names_file(draft, &path)) {
            let name = Name::from_bytes(relative(&path));
            files.push(SecretFile { name, path, owner: (node.stat.uid, node.stat.gid, node.stat.mode) });
        }
    }
    files
}

fn names_file(draft: &Draft<'_>, path: &[u8]) -> bool {
    let reads = draft.run.script.environment_files.iter().any(|file| file.path == path);
    reads || draft.texts.iter().any(|text| connections::holds_path(&text.content, path))
}

fn needed_files<'f>(draft: &'f Draft<'_>, files: &'f [SecretFile]) -> impl Iterator<Item = &'f SecretFile> {
    files.iter().filter(|file| names_file(draft, &file.path))
}

/// Services whose configuration names what every machine makes for itself make it when they start.
fn regenerate(drafts: &mut [Draft<'_>], ground: &ServiceFiles<'_>) {
    let own: Vec<Vec<u8>> = ground
        .with_verdict(Verdict::Regenerate)
        .map(|(path, _)| path)
        .filter(|path| memchr::memmem::find(path, b"ssl-cert-snakeoil").is_some())
        .collect();
    for draft in drafts {
        let named =
            |path: &Vec<u8>| draft.texts.iter().any(|text| connections::holds_path(&text.content, path));
        if own.iter().any(named) && ground.has_program(b"usr/sbin/make-ssl-cert") {
            draft.run.start_as_root();
            let words = SNAKEOIL
                .iter()
                .map(|word| Word::Joined(vec![Piece::Literal(word.as_bytes().to_vec())]))
                .collect();
            draft.run.script.before.insert(0, Step { words, may_fail: false, as_root: true });
        }
    }
}

fn service(
    draft: &Draft<'_>,
    survey: &Survey<'_>,
    live: Option<&RuntimeState>,
    ground: &ServiceFiles<'_>,
    files: &[SecretFile],
) -> Service {
    let (candidate, run) = (draft.candidate, &draft.run);
    let unit = candidate.service.as_ref();
    let context = unit.map(|unit| &unit.context);
    let logs = run.daemon.is_some_and(|daemon| daemon.logs_to_output);
    // A machine that is a container itself has less than the kernel tells.
    let memory =
        live.map(|live| live.hardware.limits.memory.unwrap_or(u64::MAX).min(live.hardware.memory.total));
    let processors = live.map(|live| live.hardware.processors.online as u64).filter(|count| *count > 0);
    let strict = context.is_some_and(|context| context.protect_system == ProtectSystem::Strict);
    Service {
        name: draft.name.clone(),
        unit: escape::escape(&candidate.unit),
        description: unit
            .and_then(|unit| unit.description.as_deref())
            .map(escape::escape)
            .unwrap_or_default(),
        command: run.command(),
        prepare: data::preparation(candidate, survey, ground.root, live.is_some(), logs).render(),
        user: run.user.clone(),
        working_directory: run.directory.clone(),
        environment: run.environment.clone(),
        secrets: run.script.required.iter().cloned().collect(),
        secret_files: (0..files.len()).filter(|&index| names_file(draft, &files[index].path)).collect(),
        ports: draft.listening.ports.clone(),
        mounts: Vec::new(),
        memory_directories: if strict { vec![b"/tmp".to_vec(), b"/var/tmp".to_vec()] } else { Vec::new() },
        read_only: strict,
        stop_signal: Signal(run.signal),
        stop_grace: stop_grace(candidate),
        restart: restart(candidate),
        health: if candidate.timer.is_some() { None } else { draft.listening.health() },
        depends_on: BTreeSet::new(),
        network: None,
        ulimits: privileges::ulimits(candidate),
        oom_score_adj: context
            .and_then(|context| context.oom_score_adjust)
            .map(|score| score.clamp(-1000, 1000) as i16),
        privileges: privileges::of(candidate, run.user.is_some()),
        memory: context
            .and_then(|context| privileges::absolute(context.memory_max.as_ref(), memory))
            .or(memory),
        cpu_millis: context
            .and_then(|context| context.cpu_quota)
            .map(|quota| u64::from(quota) / 10)
            .or(processors.map(|count| count * 1000)),
        tasks: context.and_then(|context| privileges::absolute(context.tasks_max.as_ref(), None)),
        sysctls: live.map(|live| sysctls(live, ground)).unwrap_or_default(),
    }
}

/// Kernel parameters that the administrator set and that a container can have of its own.
fn sysctls(live: &RuntimeState, ground: &ServiceFiles<'_>) -> BTreeMap<String, String> {
    let own = live.sysctls.iter().filter(|sysctl| sysctl.is_namespaced && ground.is_own(&sysctl.file));
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
    own.filter_map(|sysctl| Some((text(&sysctl.name())?, text(sysctl.current.as_deref()?)?))).collect()
}

fn stop_grace(candidate: &Candidate<'_>) -> Duration {
    match candidate.service.as_ref().and_then(|unit| unit.timeout_stop) {
        Some(span) => span.finite().map_or(LONGEST_STOP, |span| span.max(Duration::from_secs(1))),
        None => STOP_TIMEOUT,
    }
}

fn restart(candidate: &Candidate<'_>) -> Restart {
    if candidate.timer.is_some() || !candidate.sockets.is_empty() {
        // systemd itself waits for the next time and the next connection.
        return Restart::Always;
    }
    match candidate.service.as_ref().map(|unit| unit.restart) {
        None | Some(service::Restart::No) => Restart::No,
        Some(service::Restart::Always | service::Restart::OnSuccess) => Restart::Always,
        Some(_) => Restart::OnFailure,
    }
}

/// Shared network namespaces, and who has to be there before whom.
fn connect(
    services: &mut [Service],
    drafts: &[Draft<'_>],
    needs: &BTreeSet<Need>,
    networks: &mut Vec<SharedNetwork>,
) {
    for (number, members) in connections::groups(services.len(), needs).into_iter().enumerate() {
        let name = Name::from_bytes(b"machine-network");
        let name = if number == 0 { name } else { name.numbered(number + 1) };
        let inside =
            needs.iter().filter(|need| need.at == Connection::Loopback && members.contains(&need.client));
        let reasons = inside.map(|need| {
            format!(
                "{} reaches {} at this machine's own address: {}",
                drafts[need.client].name, drafts[need.server].name, need.evidence
            )
        });
        networks.push(SharedNetwork { name: name.clone(), reasons: reasons.collect() });
        for index in members {
            services[index].network = Some(name.clone());
        }
    }
    let of_unit = |unit: &Vec<u8>| drafts.iter().position(|draft| draft.candidate.unit == *unit);
    let by_unit = drafts.iter().enumerate().flat_map(|(index, draft)| {
        let relations = draft.candidate.service.iter().map(|service| &service.relations);
        let wanted = relations.flat_map(|relations| {
            relations.requires.iter().chain(&relations.wants).chain(&relations.binds_to)
        });
        wanted.filter_map(of_unit).map(move |other| (index, other)).collect::<Vec<_>>()
    });
    let seen = needs.iter().map(|need| (need.client, need.server));
    let order = connections::order(services.len(), seen.chain(by_unit));
    for (index, before) in order.into_iter().enumerate() {
        services[index].depends_on = before.into_iter().map(|other| drafts[other].name.clone()).collect();
    }
}
