//! The command line: exactly what was typed, nothing resolved.

use crate::context::compress::Compression;
use crate::pkg::plan::PackageMode;
use crate::report::progress::ProgressMode;
use crate::services::Selection;
use crate::transfer::upload::{Form, child};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Turns the machine it runs on into a container image that is provably that machine.
#[derive(Debug, Parser)]
#[command(version = VERSION, about, after_help = EXAMPLES, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Cli {
    /// What to do instead of converting.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The default action.
    #[command(flatten)]
    pub convert: Convert,
}

/// The version, and of which commit and for which target this program was built.
pub const VERSION: &str =
    concat!(env!("CARGO_PKG_VERSION"), " (", env!("V2D_COMMIT"), ", ", env!("V2D_TARGET"), ")");

// No line wider than a terminal: what is wrapped is no table.
const EXAMPLES: &str = "\
Examples:
  sudo vm2docker-self --out /tmp/ctx --dry-run
          what would be done, and how large it gets
  sudo vm2docker-self --out /tmp/ctx
          this machine as a build context
  sudo vm2docker-self --upload https://HOST/DIR/ --token-file FILE --remove-self
          the same, sent and kept nowhere here; then this program goes
  /tmp/ctx/build.sh
          the context as an image
  docker export CONTAINER | vm2docker-self verify ctx --tar -
          is that image this machine?

Exit codes:
    0  complete
    1  failed
    2  usage
    3  done, but some objects could not be read or kept; they are listed
    5  not equal
   10  no space
   11  another run has the same output
   12  not delivered; what --out names is complete
   13  all done, but this program could not be removed
   20  refused before any work
128+N  ended by signal N";

/// The subcommand of the process that removes this program at the end of a run.
pub const REMOVE_SELF: &str = "remove-self";

/// Converting a machine.
#[derive(Args, Debug)]
pub struct Convert {
    /// Where the context goes; must not exist or be empty. Without it, --upload sends all of it and keeps nothing here
    #[arg(long, short, value_name = "DIR", env = "VM2DOCKER_OUT", required_unless_present = "upload")]
    pub out: Option<PathBuf>,
    /// The file system to convert instead of /
    #[arg(long, value_name = "DIR", env = "VM2DOCKER_ROOT", default_value = "/")]
    pub root: PathBuf,
    /// Which base image.
    #[command(flatten)]
    pub base: BaseArgs,
    /// How the network is used.
    #[command(flatten)]
    pub network: NetworkArgs,
    /// How the package layer is filled: by the distribution's archive, or with package files in the context
    #[arg(long, value_enum, value_name = "WAY", env = "VM2DOCKER_PACKAGES", default_value_t = Packages::Install)]
    pub packages: Packages,
    /// Which services become containers: those that the machine is there for, none, or these units
    #[arg(long, value_name = "all|none|NAME,...", env = "VM2DOCKER_SERVICES", default_value = "all")]
    pub services: Selection,
    /// Rules that come before the built-in ones: lines of keep|drop|withhold|volume PATTERN [REASON]
    #[arg(long, value_name = "FILE", env = "VM2DOCKER_POLICY")]
    pub policy: Option<PathBuf>,
    /// Put the withheld files into the context too, encrypted to this key (age1..., of age or rage)
    #[arg(long, value_name = "RECIPIENT", env = "VM2DOCKER_INCLUDE_SECRETS")]
    pub include_secrets: Option<String>,
    /// Leave out what matches; adds to the built-in rules
    #[arg(long, value_name = "GLOB", env = "VM2DOCKER_EXCLUDE")]
    pub exclude: Vec<String>,
    /// How the archives are packed: zstd, gzip or none, the first two with a level (zstd:9)
    #[arg(long, value_name = "FORMAT[:LEVEL]", env = "VM2DOCKER_COMPRESS", default_value = "zstd")]
    pub compress: Compression,
    /// Send the context there: https://HOST/DIRECTORY/, a signed address, or a tus server's
    #[arg(long, value_name = "URL", env = "VM2DOCKER_UPLOAD", hide_env_values = true)]
    pub upload: Option<String>,
    /// How it is sent.
    #[command(flatten)]
    pub delivery: DeliveryArgs,
    /// At the very end of a run that did everything, remove this program, or the package that it came in
    #[arg(long, env = "VM2DOCKER_REMOVE_SELF", conflicts_with = "dry_run")]
    pub remove_self: bool,
    /// Refuse to run where the machine's file systems cannot be made read-only for this process
    #[arg(long, env = "VM2DOCKER_REQUIRE_READONLY")]
    pub require_readonly: bool,
    /// Write to a file system that keeps no owners and permissions (FAT): whoever has it can read the context
    #[arg(long, env = "VM2DOCKER_ALLOW_INSECURE_TARGET")]
    pub allow_insecure_target: bool,
    /// Take as much of processor and disk as there is, instead of giving way to others
    #[arg(long, env = "VM2DOCKER_FULL_SPEED")]
    pub full_speed: bool,
    /// Work out the plan and the forecast, write nothing
    #[arg(long, short = 'n')]
    pub dry_run: bool,
    /// What most actions take.
    #[command(flatten)]
    pub common: Common,
    /// A bar on a terminal (auto), lines (plain) or nothing
    #[arg(long, value_enum, value_name = "MODE", env = "VM2DOCKER_PROGRESS", default_value_t = ProgressMode::Auto)]
    pub progress: ProgressMode,
}

/// Which base image, and what is known of it.
#[derive(Args, Debug)]
pub struct BaseArgs {
    /// Base image to build FROM, instead of the one that os-release maps to
    #[arg(long, value_name = "REF", env = "VM2DOCKER_BASE")]
    pub base: Option<String>,
    /// How to learn what the base image holds: from the registry, from published package lists, not at all, or from a
    /// file (rootfs tar, `docker save` tar, OCI layout); `auto` takes the first of these that answers
    #[arg(
        long,
        value_name = "auto|registry|packages|none|FILE",
        env = "VM2DOCKER_BASE_FROM",
        default_value = "auto"
    )]
    pub base_from: PathBuf,
}

/// How the network is used.
#[derive(Args, Debug)]
pub struct NetworkArgs {
    /// Fetch nothing from the network
    #[arg(long, env = "VM2DOCKER_OFFLINE")]
    pub offline: bool,
    /// Certificates (PEM) to trust beside the machine's own and Mozilla's
    #[arg(long, value_name = "FILE", env = "VM2DOCKER_CA_FILE")]
    pub ca_file: Option<PathBuf>,
    /// Talk HTTP without TLS to the registry; loopback registries need no flag
    #[arg(long, env = "VM2DOCKER_PLAIN_HTTP")]
    pub plain_http: bool,
}

/// How a context is sent.
#[derive(Args, Debug)]
pub struct DeliveryArgs {
    /// Send it as one archive, or file by file [default: tar; files where --out keeps none]
    #[arg(long, value_enum, value_name = "FORM", env = "VM2DOCKER_UPLOAD_AS")]
    pub upload_as: Option<Form>,
    /// What the server is shown: a bearer's token, or a scheme and its value (Basic ...); else VM2DOCKER_TOKEN has it
    #[arg(long, value_name = "FILE", env = "VM2DOCKER_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
}

/// What most actions take.
#[derive(Args, Debug)]
pub struct Common {
    /// Worker threads; the result does not depend on it [default: one a processor]
    #[arg(long, value_name = "N", env = "VM2DOCKER_THREADS", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    /// One JSON document on standard output and nothing else
    #[arg(long)]
    pub json: bool,
    /// Say nothing but errors
    #[arg(long, short)]
    pub quiet: bool,
    /// Show every finding
    #[arg(long, short)]
    pub verbose: bool,
}

/// `--packages`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Packages {
    /// The distribution's archive, pinned to the machine's versions: a small context.
    Install,
    /// The package files travel in the context: no archive is needed where it is built.
    Carry,
}

impl From<Packages> for PackageMode {
    fn from(packages: Packages) -> Self {
        match packages {
            Packages::Install => PackageMode::Install,
            Packages::Carry => PackageMode::Carry,
        }
    }
}

/// The other actions.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show what it sees of the machine; writes nothing
    Inspect {
        /// The file system to look at instead of /
        #[arg(long, value_name = "DIR", env = "VM2DOCKER_ROOT", default_value = "/")]
        root: PathBuf,
        /// What most actions take.
        #[command(flatten)]
        common: Common,
    },
    /// Is this file system the machine that CONTEXT describes?
    Verify {
        /// The context
        context: PathBuf,
        /// What is verified.
        #[command(flatten)]
        subject: SubjectArgs,
        /// What most actions take.
        #[command(flatten)]
        common: Common,
    },
    /// Make a root the machine that CONTEXT describes; the generated Dockerfile runs this inside the build
    Apply {
        /// The context
        context: PathBuf,
        /// The root to change
        #[arg(long, value_name = "DIR", default_value = "/")]
        root: PathBuf,
        /// Which layer of the image this is
        #[arg(long, value_enum, default_value_t = BuildStage::System)]
        stage: BuildStage,
        /// What most actions take.
        #[command(flatten)]
        common: Common,
    },
    /// Send a finished context to a server, again or for the first time
    Upload {
        /// The context
        context: PathBuf,
        /// Where to: https://HOST/DIRECTORY/, a signed address, or a tus server's
        url: String,
        /// How it is sent.
        #[command(flatten)]
        delivery: DeliveryArgs,
        /// Certificates (PEM) to trust beside the machine's own and Mozilla's
        #[arg(long, value_name = "FILE", env = "VM2DOCKER_CA_FILE")]
        ca_file: Option<PathBuf>,
        /// What most actions take.
        #[command(flatten)]
        common: Common,
    },
    /// The same, when a line on standard input says so: what a conversion begins before its doors close
    #[command(name = child::DELIVER, hide = true)]
    Deliver {
        /// The context
        context: PathBuf,
        /// How it is sent.
        #[command(flatten)]
        delivery: DeliveryArgs,
        /// Certificates (PEM) to trust beside the machine's own and Mozilla's
        #[arg(long, value_name = "FILE", env = "VM2DOCKER_CA_FILE")]
        ca_file: Option<PathBuf>,
        /// What most actions take.
        #[command(flatten)]
        common: Common,
    },
    /// Send what comes over standard input: what a conversion without --out begins before its doors close
    #[command(name = child::SEND, hide = true)]
    Send {
        /// Certificates (PEM) to trust beside the machine's own and Mozilla's
        #[arg(long, value_name = "FILE", env = "VM2DOCKER_CA_FILE")]
        ca_file: Option<PathBuf>,
        /// What most actions take.
        #[command(flatten)]
        common: Common,
    },
    /// Remove this program, when a line on standard input says so: what a conversion begins before its doors close
    #[command(name = REMOVE_SELF, hide = true)]
    RemoveSelf,
    /// Remove what killed runs have left beside their --out, and only what is provably theirs
    Clean {
        /// The output directory of those runs
        #[arg(long, short, value_name = "DIR", env = "VM2DOCKER_OUT")]
        out: PathBuf,
    },
    /// What happened to this path, and why
    Explain {
        /// The context
        context: PathBuf,
        /// The path, as it is on the machine
        path: PathBuf,
        /// What most actions take.
        #[command(flatten)]
        common: Common,
    },
}

/// What is verified.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub struct SubjectArgs {
    /// A mounted file system
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// A root file system's archive; - is standard input
    #[arg(long, value_name = "FILE")]
    pub tar: Option<PathBuf>,
}

/// The layer that `apply` makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BuildStage {
    /// The base image with the machine's merged `/usr`, for packages to unpack to.
    MergedUsr,
    /// What the base image and the packages give, without what no image should hold.
    Packages,
    /// The machine.
    System,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn converting_needs_an_output_and_verifying_one_subject() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' '));
        assert!(parse("x --out d").is_ok());
        assert!(parse("x --dry-run").is_err());
        assert!(parse("x verify c --tar -").is_ok());
        assert!(parse("x verify c").is_err());
        assert!(parse("x verify c --tar - --root /").is_err());
    }
}
