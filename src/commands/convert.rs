//! `vm2docker-self --out DIR`: converts this machine; from the arguments to the exit code.

use super::upload::server;
use super::{remove_self, threads};
use crate::cli::Convert;
use crate::context::output::CleanupHandle;
use crate::context::output::sent::Stream;
use crate::context::recipient::Recipient;
use crate::emit::Sizes;
use crate::error::{Code, Error, Result};
use crate::model::document::{Document, Schema};
use crate::model::findings::Finding;
use crate::pipeline::{self, Options, Outcome};
use crate::policy::{self, Rule};
use crate::report;
use crate::report::progress::ProgressMode;
use crate::summary::Summary;
use crate::system::sandbox::Sandbox;
use crate::system::{console, file, throttle};
use crate::transfer::net::{Settings, Stats};
use crate::transfer::upload::child::UploadChild;
use crate::transfer::upload::token::Token;
use crate::transfer::upload::{self, Form};
use remove_self::SelfRemoval;
use serde::Serialize;
use serde_json::Value;
use std::ffi::OsString;
use std::path::Path;
use std::time::{Instant, SystemTime};

/// Maximum size in bytes of a `--policy` file and of a key file.
const MAX_FILE: u64 = 16 << 20;

/// Output of a conversion with `--json`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct Conversion<'a> {
    /// The plan, as `plan.json` has it.
    plan: Document<'a, Summary>,
    /// Sizes of the context's archives; `null` with `--dry-run`.
    sizes: Option<Sizes>,
    /// Use of the network; `null` with `--offline`.
    network: Option<&'a Stats>,
    /// Everything skipped, unstable, unreadable or withheld.
    findings: Vec<Finding>,
    /// Restrictions that the kernel enforces on this process.
    sandbox: &'a Sandbox,
    /// The receipt of the upload, as `upload --json` prints it; `null` without one.
    #[cfg_attr(test, schemars(with = "Option<Document<crate::transfer::upload::Receipt>>"))]
    receipt: Option<&'a Value>,
}

impl Schema for Conversion<'_> {
    const NAME: &'static str = "vm2docker-self/conversion";
    const VERSION: u32 = 2;
}

pub(super) fn run(args: &Convert, scratch: &CleanupHandle) -> Result<Code> {
    let start = Instant::now();
    need_root()?;
    let options = options(args)?;
    let (upload_child, stream) = upload_child(args)?;
    let remover = args.remove_self.then(SelfRemoval::spawn).transpose()?;
    if !args.full_speed {
        throttle::lower_priority();
    }
    let outcome = match pipeline::convert(&options, scratch, stream) {
        Ok(outcome) => outcome,
        // If the upload ended the conversion, the child has printed the reason.
        Err(_) if upload_child.is_some_and(UploadChild::has_failed) => return Ok(Code::UploadFailed),
        Err(error) => return Err(error),
    };
    if !args.common.json && !args.common.quiet {
        tell(&outcome, options.out.as_deref(), start);
        if args.common.verbose {
            console::tell(&report::findings::findings(&outcome.findings));
        }
        console::tell_if(&report::findings::warnings(&outcome.findings));
    }
    console::tell_if(&report::findings::losses(&outcome.findings));
    // The child prints the receipt or the reason of a failure, which are last on the screen.
    let delivered = upload_child.map(UploadChild::finish).transpose()?;
    if args.common.json {
        console::json(&Conversion {
            plan: Document::new(&outcome.summary),
            sizes: outcome.sizes,
            network: outcome.traffic.as_ref(),
            findings: outcome.findings.sorted(),
            sandbox: &outcome.sandbox,
            receipt: delivered.as_ref().and_then(|delivered| delivered.receipt.as_ref()),
        });
    }
    let code = match delivered.filter(|delivered| !delivered.done) {
        Some(failed) => failed.code(),
        None if outcome.findings.losses() > 0 => Code::Incomplete,
        None => Code::Done,
    };
    Ok(match remover {
        Some(remover) if code == Code::Done => remover.run(),
        Some(_) => {
            console::tell("--remove-self: vm2docker-self was not removed, because the run is incomplete\n");
            code
        }
        None => code,
    })
}

fn tell(outcome: &Outcome, out: Option<&Path>, start: Instant) {
    console::tell(&report::convert::summary(&outcome.summary));
    console::tell(&report::convert::sandbox(&outcome.sandbox));
    console::tell_if(&report::convert::traffic(outcome.traffic.as_ref()));
    match (outcome.sizes, out) {
        (Some(sizes), Some(out)) => console::tell(&report::convert::written(out, sizes, start)),
        (Some(sizes), None) => console::tell(&report::convert::sent(sizes, start)),
        (None, _) => {
            console::tell(&format!("nothing written (--dry-run), {:.1} s\n", start.elapsed().as_secs_f64()));
        }
    }
}

fn options(args: &Convert) -> Result<Options> {
    let mut rules = Vec::new();
    if let Some(policy_file) = &args.policy {
        let name = policy_file.display().to_string();
        let text = file::read_named(policy_file, MAX_FILE)
            .map_err(|cause| Error::io(format!("--policy {name}"), cause))?;
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
        mode: args.packages.into(),
        services: args.services.clone(),
        rules,
        policy_file: args.policy.clone(),
        token_file: args.delivery.token_file.clone(),
        dry_run: args.dry_run,
        threads: threads(&args.common),
        compression: args.compress,
        progress,
        require_readonly: args.require_readonly,
        strict_secrets: args.strict_secrets,
        recipient: args.include_secrets.as_deref().map(recipient).transpose()?,
        insecure_target: args.allow_insecure_target,
    })
}

/// Starts the child that uploads the context. Without `--out` it also returns the stream to which
/// the context is written. Both are `None` without `--upload`.
fn upload_child(args: &Convert) -> Result<(Option<UploadChild>, Option<Stream>)> {
    let Some(url) = args.upload.as_deref().filter(|_| !args.dry_run) else { return Ok((None, None)) };
    let (delivery, ca_file) = (&args.delivery, &args.network.ca_file);
    let form = match (&args.out, delivery.upload_as) {
        (Some(_), form) => form.unwrap_or(Form::Tar),
        (None, Some(Form::Tar)) => {
            let what = "--upload-as tar: not possible without --out, because a tar header needs the size of a file in advance";
            return Err(
                Error::new(Code::Usage, what).hint("use --upload-as files, or keep the context with --out")
            );
        }
        (None, _) => Form::Files,
    };
    // Usage errors must end the run before the conversion starts.
    let token = Token::find(delivery.token_file.as_deref())?;
    let server = server(url.to_owned(), token, ca_file.clone(), &args.common);
    let address = server.check(form)?;
    upload::reach(&server, &address)?;
    let mut flags: Vec<OsString> = Vec::new();
    flags.extend(ca_file.iter().map(|file| flag("--ca-file=", file)));
    flags.extend(args.common.json.then(|| "--json".into()));
    flags.extend(args.common.quiet.then(|| "--quiet".into()));
    match &args.out {
        None => UploadChild::spawn_stream(&server, &flags).map(|(child, stream)| (Some(child), Some(stream))),
        Some(out) => {
            flags.extend(["--upload-as".into(), form.name().into()]);
            flags.extend(delivery.token_file.iter().map(|file| flag("--token-file=", file)));
            UploadChild::spawn(out, &server, &flags).map(|child| (Some(child), None))
        }
    }
}

/// In one word, for a file's name can begin as an option does.
fn flag(name: &str, file: &Path) -> OsString {
    let mut flag = OsString::from(name);
    flag.push(file);
    flag
}

/// Reads the key file of `--include-secrets`, so that an unusable key is refused before any work.
fn recipient(key_file: &Path) -> Result<Recipient> {
    let name = format!("--include-secrets {}", key_file.display());
    let bytes = file::read_named(key_file, MAX_FILE).map_err(|cause| refused(format!("{name}: {cause}")))?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.map_or(0, |time| i64::try_from(time.as_secs()).unwrap_or(i64::MAX));
    Recipient::parse(&bytes, now).map_err(|why| refused(format!("{name}: {why}")))
}

fn refused(what: String) -> Error {
    Error::new(Code::Usage, what).hint("pass the file of one public key: gpg --export --armor NAME > key.asc")
}

/// Without it most of the machine cannot be read, and what can be read would look complete.
fn need_root() -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(Error::new(Code::NotStarted, "root privileges are required to read the machine")
        .hint("use sudo; `vm2docker-self inspect` works without root"))
}
