//! Turns the services found into container definitions. Reads only configuration files.

use super::command::Run;
use super::connections::{self, Connection, Need, PeerService, Text};
use super::draft::Draft;
use super::listening;
use super::model::{
    CompatibilityIssue, Name, Restart, Service, SharedNetwork, Signal, SkippedService, Workload,
};
use super::needed_secrets::{Links, NeededSecrets, names_file};
use super::script::Step;
use super::service_files::{ServiceFiles, relative};
use super::survey::{Candidate, Survey};
use super::{compatibility, data, privileges, stopping, volumes};
use crate::detect::units::exec::{Piece, Word};
use crate::detect::units::exec_settings::ProtectSystem;
use crate::detect::units::service;
use crate::detect::{Inventory, RuntimeState};
use crate::model::manifest::Verdict;
use crate::model::{escape, tree};
use std::collections::{BTreeMap, BTreeSet};

/// Command that creates the TLS certificate of Debian's ssl-cert package. Every machine has its
/// own.
const CERTIFICATE_COMMAND: &[&str] = &["make-ssl-cert", "generate-default-snakeoil"];

/// Decides for every service how its container runs, and what the containers share.
pub(super) fn decide(
    survey: &Survey<'_>,
    inventory: &Inventory,
    service_files: ServiceFiles<'_>,
    live_data: &BTreeMap<Vec<u8>, String>,
) -> Workload {
    let live = inventory.live.as_ref();
    let mut workload = Workload { skipped: survey.skipped.clone(), ..Workload::default() };
    let mut drafts = drafts(survey, live, &service_files, &mut workload);
    let needs = needs(&drafts, inventory);
    let links = service_files.links_to(&[Verdict::Withhold, Verdict::Regenerate]);
    let live_paths = live_data.keys().cloned().collect();
    let secrets = NeededSecrets::of(&drafts, &service_files, &links, &live_paths, &needs);
    regenerate(&mut drafts, &service_files, &links);
    for (index, draft) in drafts.iter_mut().enumerate() {
        let needed = secrets.of_service(index).into_iter().map(|file| secrets.files[file].path.clone());
        draft.run.script.required_files = needed.collect();
    }
    let live_volumes = volumes::live(&drafts, &service_files, live_data);
    for (path, (_, _, users)) in &live_volumes {
        users.iter().for_each(|&index| drafts[index].run.script.required_data.push(path.clone()));
    }
    let mut services: Vec<Service> = drafts
        .iter()
        .enumerate()
        .map(|(index, draft)| service(draft, live, &service_files, secrets.of_service(index)))
        .collect();
    workload.volumes =
        volumes::volumes(&drafts, &mut services, &service_files, live_data, live_volumes, &needs);
    connect(&mut services, &drafts, &needs, &mut workload.networks);
    workload.compatibility.extend(compatibility::issues(
        &drafts,
        &services,
        survey,
        inventory,
        &service_files,
        &needs,
        &secrets.files,
    ));
    workload.secret_files = secrets.files;
    workload.hosts = inventory.name_resolution.hosts.clone();
    workload.skipped.sort();
    workload.compatibility.sort();
    workload.compatibility.dedup();
    workload.services = services;
    workload
}

fn drafts<'a>(
    survey: &'a Survey<'a>,
    live: Option<&RuntimeState>,
    service_files: &ServiceFiles<'_>,
    workload: &mut Workload,
) -> Vec<Draft<'a>> {
    let mut drafts: Vec<Draft<'a>> = Vec::new();
    for candidate in &survey.candidates {
        let Some(run) = Run::of(candidate, survey, service_files) else {
            workload.compatibility.push(CompatibilityIssue::unknown_start(candidate));
            let unit = escape::escape(&candidate.unit);
            workload.skipped.push(SkippedService { unit, reason: "its start command is unknown".to_owned() });
            continue;
        };
        let name = Name::from_bytes(candidate.stem());
        let name = name.make_unique(|name| drafts.iter().any(|draft| draft.name == *name));
        let listening = listening::of(candidate, live);
        let texts = texts(candidate, &run, service_files);
        let logs = run.daemon.is_some_and(|daemon| daemon.logs_to_output);
        let root = service_files.root;
        let preparation = data::preparation(candidate, &run, survey, root, live.is_some(), logs);
        drafts.push(Draft { name, candidate, run, listening, texts, preparation });
    }
    // Services of a workload are sorted by name, so that the order of units has no effect.
    drafts.sort_by(|a, b| a.name.cmp(&b.name));
    drafts
}

/// Returns the texts that can name other services: configuration, variables, and the executable
/// if it is a local file.
fn texts(candidate: &Candidate<'_>, run: &Run, service_files: &ServiceFiles<'_>) -> Vec<Text> {
    let mut names: BTreeSet<Vec<u8>> = data::names(candidate).into_iter().map(<[u8]>::to_vec).collect();
    let directories = candidate.service.iter().flat_map(|service| &service.settings.directories);
    names.extend(directories.map(|directory| tree::file_name(&directory.path).to_vec()));
    let packages = data::packages(candidate, service_files);
    let mut paths: BTreeSet<Vec<u8>> = candidate.sources.iter().cloned().collect();
    let commands = candidate.service.iter().flat_map(|service| &service.exec_start);
    let unit_words =
        commands.flat_map(|exec| exec.words.iter().filter_map(Word::literal).chain([exec.program.clone()]));
    let arguments = candidate.main().into_iter().flat_map(|process| process.argv.iter().map(<[u8]>::to_vec));
    for word in unit_words.chain(arguments).filter(|word| word.starts_with(b"/")) {
        // An executable as its package ships it can name many servers that this machine does not
        // use.
        if service_files.packages(&word).is_empty()
            || service_files.is_local(&word)
            || word.starts_with(b"/etc/")
        {
            paths.insert(relative(&word).to_vec());
        }
    }
    paths.extend(run.environment_paths.iter().map(|path| relative(path).to_vec()));
    let directory = run.directory.as_ref().or(run.script.directory.as_ref());
    // These directories contain files of many services.
    let directory = directory.filter(|path| !matches!(&path[..], b"/" | b"/root" | b"/var/lib"));
    paths.extend(directory.map(|path| relative(path).to_vec()));
    let mut texts = Vec::new();
    for path in service_files.configuration(&names, &packages, &paths) {
        if let Ok(text) = service_files.root.read(&path) {
            let content = connections::without_comments(&text);
            texts.push(Text { content, is_local: service_files.is_local(&path), path });
        }
    }
    let variables = candidate.main().into_iter().flat_map(|process| process.environ.variables());
    let content = variables.flat_map(|(name, value)| [name, b"=", value, b"\n"].concat()).collect();
    // Variables often contain the URL of another service.
    texts.push(Text { path: b"proc/environ".to_vec(), content, is_local: true });
    texts
}

/// Determines which service needs which, from open connections and from configuration files.
fn needs(drafts: &[Draft<'_>], inventory: &Inventory) -> BTreeSet<Need> {
    let services: Vec<PeerService<'_>> = drafts
        .iter()
        .map(|draft| PeerService {
            program: draft.candidate.program().unwrap_or_default(),
            listening: &draft.listening,
            texts: &draft.texts,
        })
        .collect();
    // A host name of one or two letters occurs in other words and abbreviations.
    let hosts = inventory.name_resolution.hosts.iter().filter(|entry| entry.address.is_loopback());
    let own: Vec<Vec<u8>> = std::iter::once(inventory.hostname.as_bytes())
        .chain(hosts.flat_map(|entry| entry.names.iter().map(String::as_bytes)))
        .filter(|name| name.len() > 2)
        .map(<[u8]>::to_vec)
        .collect();
    let mut needs = connections::from_configuration(&services, &own);
    let service_of: BTreeMap<u32, usize> = drafts
        .iter()
        .enumerate()
        .flat_map(|(index, draft)| draft.candidate.processes.iter().map(move |process| (process.pid, index)))
        .collect();
    for peer in inventory.live.iter().flat_map(|live| &live.peers) {
        let (Some(&client), Some(&server)) = (service_of.get(&peer.client), service_of.get(&peer.server))
        else {
            continue;
        };
        if let Some(at) = connections::address_of(&peer.endpoint).filter(|_| client != server) {
            needs.insert(Need { client, server, at, evidence: "open connection".to_owned() });
        }
    }
    needs
}

/// Adds a start step that generates the certificate of ssl-cert if the service's configuration
/// names it.
fn regenerate(drafts: &mut [Draft<'_>], service_files: &ServiceFiles<'_>, links: &Links) {
    let certificate_files: Vec<Vec<u8>> = service_files
        .with_verdict(Verdict::Regenerate)
        .map(|(path, _)| path)
        .filter(|path| memchr::memmem::find(path, b"ssl-cert-snakeoil").is_some())
        .collect();
    for draft in drafts {
        let is_named = certificate_files.iter().any(|path| names_file(draft, path, links));
        if is_named && service_files.has_program(b"usr/sbin/make-ssl-cert") {
            draft.run.start_as_root();
            let words = CERTIFICATE_COMMAND
                .iter()
                .map(|word| Word::Joined(vec![Piece::Literal(word.as_bytes().to_vec())]))
                .collect();
            draft.run.script.before.insert(0, Step { words, may_fail: false, as_root: true });
        }
    }
}

fn service(
    draft: &Draft<'_>,
    live: Option<&RuntimeState>,
    service_files: &ServiceFiles<'_>,
    secret_files: BTreeSet<usize>,
) -> Service {
    let (candidate, run) = (draft.candidate, &draft.run);
    let unit = candidate.service.as_ref();
    let settings = unit.map(|unit| &unit.settings);
    // In a container, /proc/meminfo shows the host's memory. The cgroup limit can be smaller.
    let memory =
        live.map(|live| live.hardware.limits.memory.unwrap_or(u64::MAX).min(live.hardware.memory.total));
    let cpus = live.map(|live| live.hardware.processors.online as u64).filter(|count| *count > 0);
    // systemd.exec(5): with ProtectSystem=strict, the entire file system is read-only.
    let is_strict = settings.is_some_and(|settings| settings.protect_system == ProtectSystem::Strict);
    Service {
        name: draft.name.clone(),
        unit: escape::escape(&candidate.unit),
        description: unit
            .and_then(|unit| unit.description.as_deref())
            .map(escape::escape)
            .unwrap_or_default(),
        command: run.command(),
        prepare: draft.preparation.render(),
        user: run.user.clone(),
        working_directory: run.directory.clone(),
        environment: run.environment.clone(),
        secrets: run.script.required.iter().cloned().collect(),
        secret_files,
        ports: draft.listening.ports.clone(),
        mounts: Vec::new(),
        // Services with a read-only root still expect writable temporary directories.
        memory_directories: if is_strict { vec![b"/tmp".to_vec(), b"/var/tmp".to_vec()] } else { Vec::new() },
        read_only: is_strict,
        stop_signal: Signal(run.signal),
        stop_grace: stopping::stop_grace(candidate, run),
        restart: restart(candidate),
        // Between two runs, a timer's container only waits and does not listen.
        health: if candidate.timer.is_some() { None } else { draft.listening.health() },
        depends_on: BTreeSet::new(),
        network: None,
        ulimits: privileges::ulimits(candidate),
        oom_score_adj: settings
            .and_then(|settings| settings.oom_score_adjust)
            .map(|score| score.clamp(-1000, 1000) as i16),
        privileges: privileges::of(candidate, run.user.as_ref().is_some_and(|user| user.uid != 0)),
        memory: settings
            .and_then(|settings| privileges::absolute(settings.memory_max.as_ref(), memory))
            .or(memory),
        cpu_millis: settings
            .and_then(|settings| settings.cpu_quota)
            .map(|quota| u64::from(quota) / 10)
            .or(cpus.map(|count| count * 1000)),
        tasks: settings.and_then(|settings| privileges::absolute(settings.tasks_max.as_ref(), None)),
        sysctls: live.map(|live| sysctls(live, service_files)).unwrap_or_default(),
    }
}

/// Returns local kernel parameters that are namespaced, so that a container can set them.
fn sysctls(live: &RuntimeState, service_files: &ServiceFiles<'_>) -> BTreeMap<String, String> {
    let local =
        live.sysctls.iter().filter(|sysctl| sysctl.is_namespaced && service_files.is_local(&sysctl.file));
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
    local.filter_map(|sysctl| Some((text(&sysctl.name())?, text(sysctl.current.as_deref()?)?))).collect()
}

/// Returns the restart policy. Engines have no `on-success`, so it becomes `always`.
fn restart(candidate: &Candidate<'_>) -> Restart {
    if candidate.timer.is_some() || !candidate.sockets.is_empty() {
        // Systemd waits for the next timer event or connection. In the container, the command
        // waits.
        return Restart::Always;
    }
    match candidate.service.as_ref().map(|unit| unit.restart) {
        None | Some(service::Restart::No) => Restart::No,
        Some(service::Restart::Always | service::Restart::OnSuccess) => Restart::Always,
        Some(_) => Restart::OnFailure,
    }
}

/// Assigns shared network namespaces and the start order.
fn connect(
    services: &mut [Service],
    drafts: &[Draft<'_>],
    needs: &BTreeSet<Need>,
    networks: &mut Vec<SharedNetwork>,
) {
    for (number, members) in connections::groups(services.len(), needs).into_iter().enumerate() {
        let name = Name::from_bytes(b"machine-network");
        let name = if number == 0 { name } else { name.numbered(number + 1) };
        let connections =
            needs.iter().filter(|need| need.at == Connection::Loopback && members.contains(&need.client));
        let reasons = connections.map(|need| {
            format!(
                "{} connects to {} on this machine: {}",
                drafts[need.client].name, drafts[need.server].name, need.evidence
            )
        });
        networks.push(SharedNetwork { name: name.clone(), reasons: reasons.collect() });
        for index in members {
            services[index].network = Some(name.clone());
        }
    }
    let index_of_unit = |unit: &Vec<u8>| drafts.iter().position(|draft| draft.candidate.unit == *unit);
    let by_unit = drafts.iter().enumerate().flat_map(|(index, draft)| {
        let relations = draft.candidate.service.iter().map(|service| &service.relations);
        let units = relations.flat_map(|relations| {
            relations.requires.iter().chain(&relations.wants).chain(&relations.binds_to)
        });
        units.filter_map(index_of_unit).map(move |other| (index, other)).collect::<Vec<_>>()
    });
    let by_connection = needs.iter().map(|need| (need.client, need.server));
    let order = connections::order(services.len(), by_connection.chain(by_unit));
    for (index, before) in order.into_iter().enumerate() {
        services[index].depends_on = before.into_iter().map(|other| drafts[other].name.clone()).collect();
    }
}
