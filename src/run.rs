//! From the command line to an exit code.

use crate::apply;
use crate::cli::{ApplyLayer, Cli, Command, Common, Convert, DeliveryArgs};
use crate::companion;
use crate::context::Context;
use crate::convert::{self, Options, Outcome};
use crate::detect;
use crate::error::{Code, Error, Result};
use crate::escape;
use crate::explain;
use crate::findings::Findings;
use crate::guard::Guard;
use crate::net::Settings;
use crate::out::sent::Stream;
use crate::out::{Place, Scratch, partial};
use crate::pace;
use crate::pkg::Catalog;
use crate::policy::{self, Rule};
use crate::removal::{self, Remover};
use crate::report::{self, ProgressMode};
use crate::root::Root;
use crate::services::{self, Selection};
use crate::upload::courier::{self, Courier};
use crate::upload::token::Token;
use crate::upload::{self, Form, Patience, Receipt, Server};
use crate::verify::{self, Subject};
use age::x25519::Recipient;
use serde_json::json;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Carries out the command line. `scratch` names what has to be removed if a signal ends the run.
pub fn run(cli: Cli, scratch: &Scratch) -> Code {
    let result = match cli.command {
        None => convert(&cli.convert, scratch),
        Some(Command::Inspect { root, common }) => inspect(&root, &common),
        Some(Command::Verify { context, subject, common }) => {
            let subject = match (subject.root, subject.tar) {
                (Some(root), _) => Subject::Root(root),
                (None, tar) => Subject::Tar(tar.unwrap_or_else(|| "-".into())),
            };
            verify(&context, &subject, &common)
        }
        Some(Command::Apply { context, root, layer, common }) => apply(&context, &root, layer, &common),
        Some(Command::Upload { context, url, delivery, ca_file, common }) => {
            Token::find(delivery.token_file.as_deref())
                .map(|token| server(url, token, ca_file, &common))
                .and_then(|server| upload(context, delivery, server, &common))
        }
        Some(Command::Deliver { context, delivery, ca_file, common }) => courier::told()
            .map(|(token, url)| server(url, token, ca_file, &common))
            .and_then(|server| deliver(context, delivery, server, &common)),
        Some(Command::Send { ca_file, common }) => {
            courier::told().and_then(|(token, url)| send(&server(url, token, ca_file, &common), &common))
        }
        Some(Command::RemoveSelf) => removal::when_told(),
        Some(Command::Clean { out }) => clean(&out),
        Some(Command::Explain { context, path, common }) => explain(&context, &path, &common),
    };
    result.unwrap_or_else(|error| {
        report::tell(&format!("error: {error}"));
        error.code
    })
}

fn convert(args: &Convert, scratch: &Scratch) -> Result<Code> {
    let begun = Instant::now();
    need_root()?;
    let options = options(args)?;
    let (courier, stream) = courier(args)?;
    let remover = args.remove_self.then(Remover::call).transpose()?;
    if !args.full_speed {
        pace::be_polite();
    }
    let outcome = match convert::convert(&options, scratch, stream) {
        Ok(outcome) => outcome,
        // Where the server is what ended it, that has been said already.
        Err(_) if courier.is_some_and(Courier::has_failed) => return Ok(Code::NotDelivered),
        Err(error) => return Err(error),
    };
    let delivered = courier.map(Courier::deliver).transpose()?;
    if args.common.json {
        let findings = outcome.findings.sorted();
        let network = outcome.traffic;
        let receipt = delivered.as_ref().and_then(|delivered| delivered.receipt.as_ref());
        report::json(&json!({
            "plan": outcome.summary, "archives": outcome.sizes, "network": network, "findings": findings,
            "guard": outcome.guard, "receipt": receipt
        }));
    } else if !args.common.quiet {
        tell(&outcome, options.out.as_deref(), begun);
        if args.common.verbose {
            report::tell(&report::findings(&outcome.findings));
        }
    }
    report::tell_if(&report::losses(&outcome.findings));
    let code = match delivered.filter(|delivered| !delivered.done) {
        Some(failed) => failed.code(),
        None if outcome.findings.losses() > 0 => Code::Incomplete,
        None => Code::Done,
    };
    Ok(match remover {
        Some(remover) if code == Code::Done => remover.go(),
        Some(_) => {
            report::tell("--remove-self: vm2docker-self stays, as not everything was done\n");
            code
        }
        None => code,
    })
}

fn tell(outcome: &Outcome, out: Option<&Path>, begun: Instant) {
    report::tell(&report::summary(&outcome.summary));
    report::tell(&report::guard(&outcome.guard));
    report::tell_if(&report::traffic(outcome.traffic.as_ref()));
    match (outcome.sizes, out) {
        (Some(sizes), Some(out)) => report::tell(&report::written(out, sizes, begun)),
        (Some(sizes), None) => report::tell(&report::sent(sizes, begun)),
        (None, _) => {
            report::tell(&format!(
                "nothing was written (--dry-run), {:.1} s\n",
                begun.elapsed().as_secs_f64()
            ));
        }
    }
}

fn options(args: &Convert) -> Result<Options> {
    let mut rules = Vec::new();
    if let Some(file) = &args.policy {
        let name = file.display().to_string();
        let text = std::fs::read(file).map_err(|cause| Error::io(format!("--policy {name}"), cause))?;
        rules.extend(policy::parse(&text, &name)?);
    }
    rules.extend(args.exclude.iter().map(|glob| Rule::exclude(glob)));
    let progress = if args.common.quiet || args.common.json { ProgressMode::None } else { args.progress };
    Ok(Options {
        root: args.root.clone(),
        out: args.out.clone(),
        base: args.base.base.clone(),
        base_from: args.base.base_from.as_os_str().into(),
        network: (!args.network.offline).then(|| Settings {
            ca_file: args.network.ca_file.clone(),
            plain_http: args.network.plain_http,
            ..Settings::default()
        }),
        way: args.packages.into(),
        services: args.services.clone(),
        rules,
        policy_file: args.policy.clone(),
        token_file: args.delivery.token_file.clone(),
        dry_run: args.dry_run,
        threads: threads(&args.common),
        compression: args.compress,
        progress,
        require_readonly: args.require_readonly,
        recipient: args.include_secrets.as_deref().map(recipient).transpose()?,
        insecure_target: args.allow_insecure_target,
    })
}

/// The process that will deliver the context, and what a context that is not kept is written to; nothing if nobody wants it.
fn courier(args: &Convert) -> Result<(Option<Courier>, Option<Stream>)> {
    let Some(url) = args.upload.as_deref().filter(|_| !args.dry_run) else { return Ok((None, None)) };
    let (delivery, ca_file) = (&args.delivery, &args.network.ca_file);
    let form = match (&args.out, delivery.upload_as) {
        (Some(_), form) => form.unwrap_or(Form::Tar),
        (None, Some(Form::Tar)) => {
            let what = "--upload-as tar: of what is sent while it is made no archive can be made, whose parts' lengths come first";
            return Err(Error::new(Code::Usage, what).hint("send files, or keep the context with --out"));
        }
        (None, _) => Form::Files,
    };
    // What can be refused is refused before the work.
    let token = Token::find(delivery.token_file.as_deref())?;
    let server = server(url.to_owned(), token, ca_file.clone(), &args.common);
    server.check(form)?;
    let mut flags: Vec<OsString> = Vec::new();
    flags.extend(ca_file.iter().map(|file| flag("--ca-file=", file)));
    flags.extend(args.common.json.then(|| "--json".into()));
    flags.extend(args.common.quiet.then(|| "--quiet".into()));
    match &args.out {
        None => {
            Courier::call_for_stream(&server, &flags).map(|(courier, stream)| (Some(courier), Some(stream)))
        }
        Some(out) => {
            flags.extend(["--upload-as".into(), form.name().into()]);
            flags.extend(delivery.token_file.iter().map(|file| flag("--token-file=", file)));
            Courier::call(out, &server, &flags).map(|courier| (Some(courier), None))
        }
    }
}

/// In one word, for a file's name can begin as an option does.
fn flag(name: &str, file: &Path) -> OsString {
    let mut flag = OsString::from(name);
    flag.push(file);
    flag
}

fn server(url: String, token: Option<Token>, ca_file: Option<PathBuf>, common: &Common) -> Server {
    Server { url, token, ca_file, patience: Patience::default(), quiet: common.quiet }
}

/// In the courier's process: sends what the conversion makes.
fn send(server: &Server, common: &Common) -> Result<Code> {
    companion::belong();
    Guard::enter(false)?;
    let Some(receipt) = upload::stream::stream(server, std::io::stdin().lock())? else {
        return Ok(Code::Failed);
    };
    tell_receipt(&receipt, common);
    Ok(Code::Done)
}

fn tell_receipt(receipt: &Receipt, common: &Common) {
    if common.json {
        report::json(&json!(receipt));
    } else if !common.quiet {
        report::tell(&receipt.text());
    }
}

/// In the courier's process: sends what the conversion has made, if it says so.
fn deliver(context: PathBuf, delivery: DeliveryArgs, server: Server, common: &Common) -> Result<Code> {
    Guard::enter(false)?;
    if companion::is_told() { send_context(context, delivery, server, common) } else { Ok(Code::Failed) }
}

fn upload(context: PathBuf, delivery: DeliveryArgs, server: Server, common: &Common) -> Result<Code> {
    // Certificates and the context are read as the machine's files are: without a trace.
    Guard::enter(false)?;
    send_context(context, delivery, server, common)
}

fn send_context(context: PathBuf, delivery: DeliveryArgs, server: Server, common: &Common) -> Result<Code> {
    let form = delivery.upload_as.unwrap_or(Form::Tar);
    let options = upload::Options { context, form, server, token_file: delivery.token_file };
    tell_receipt(&upload::upload(&options)?, common);
    Ok(Code::Done)
}

fn recipient(key: &str) -> Result<Recipient> {
    key.parse().map_err(|cause| {
        Error::new(Code::Usage, format!("--include-secrets: no key that can be encrypted to: {cause}"))
            .hint("give the public key that age-keygen prints; it begins with age1")
    })
}

fn inspect(root: &Path, common: &Common) -> Result<Code> {
    Guard::enter(false)?;
    let root = open(root)?;
    let mut findings = Findings::default();
    let inventory = detect::detect(&root, &mut findings);
    let catalog = Catalog::load(&root, &mut findings);
    let live = inventory.live.as_ref();
    let survey = services::survey(&root, live, &Selection::All, catalog.as_ref(), &mut findings);
    findings.extend(root.take_faults());
    let services: Vec<String> =
        survey.candidates.iter().map(|candidate| escape::escape(&candidate.unit)).collect();
    let packages = catalog.map(|catalog| {
        let installed: Vec<String> = catalog
            .installed()
            .map(|index| format!("{}={}", catalog.id(index), catalog.packages[index].version))
            .collect();
        (installed, catalog.owned.len())
    });
    let installed = packages.as_ref().map(|(installed, _)| installed);
    let mounts: Vec<_> = inventory.mounts.iter().map(report::mount).collect();
    if common.json {
        let findings = findings.sorted();
        report::json(
            &json!({ "machine": inventory, "mounts": mounts, "packages": installed, "services": services,
                     "left_out": survey.left_out, "findings": findings }),
        );
    } else {
        report::answer(&report::inspected(
            &inventory,
            packages.as_ref().map(|(list, paths)| (list.len(), *paths)),
            &services,
        ));
        report::tell_if(&report::findings(&findings));
    }
    Ok(if findings.losses() > 0 { Code::Incomplete } else { Code::Done })
}

fn verify(context: &Path, subject: &Subject, common: &Common) -> Result<Code> {
    let verified = verify::verify(&Context::open(context)?, subject, threads(common))?;
    if common.json {
        report::json(&verified);
    } else if !common.quiet {
        report::answer(&report::verified(&verified));
    }
    Ok(if verified.equal { Code::Done } else { Code::Differs })
}

fn apply(context: &Path, root: &Path, layer: ApplyLayer, common: &Common) -> Result<Code> {
    let root = open(root)?;
    match layer {
        ApplyLayer::MergedUsr => {
            let moved = apply::merge(context, &root, threads(common))?;
            report::tell(&format!("merged /usr: {moved} objects moved\n"));
        }
        ApplyLayer::Packages => {
            let prepared = apply::prepare(context, &root, threads(common))?;
            report::tell(&report::prepared(&prepared));
        }
        ApplyLayer::System => {
            let applied = apply::apply(&Context::open(context)?, &root, threads(common))?;
            report::tell(&report::applied(&applied));
        }
    }
    Ok(Code::Done)
}

fn clean(out: &Path) -> Result<Code> {
    let cleaned = partial::clean(&Place::open(out)?)?;
    report::tell(&report::cleaned(&cleaned));
    Ok(Code::Done)
}

fn explain(context: &Path, path: &Path, common: &Common) -> Result<Code> {
    let asked = path.as_os_str().as_bytes();
    let record = explain::explain(&Context::open(context)?, asked)?;
    if common.json {
        report::json(&explain::as_json(&record));
    } else {
        report::answer(&explain::describe(&record, asked));
    }
    Ok(Code::Done)
}

fn open(root: &Path) -> Result<Root> {
    Root::open(root).map_err(|cause| Error::io(format!("--root {}", root.display()), cause))
}

/// Without it most of the machine cannot be read, and what can be read would look complete.
fn need_root() -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(Error::new(Code::Refused, "not root: most of the machine cannot be read")
        .hint("run it with sudo; to look without rights: vm2docker-self inspect"))
}

fn threads(common: &Common) -> usize {
    common.threads.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from)
}
