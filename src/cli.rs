//! The command line: exactly what was typed, nothing resolved.

use crate::context::compress::Compression;
use crate::pkg::plan::PackageMode;
use crate::report::progress::ProgressMode;
use crate::services::Selection;
use crate::transfer::upload::{Form, child};
use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// The command line.
#[derive(Debug, Parser)]
#[command(version = VERSION, about = ABOUT, after_help = EXAMPLES, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Cli {
    /// Subcommand; a conversion if there is none.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Options of a conversion.
    #[command(flatten)]
    pub convert: Convert,
}

impl Cli {
    /// Parses the command line; `None` if it is empty and no variable names an output either.
    pub fn from_command_line() -> Option<Self> {
        match Cli::try_parse() {
            Ok(cli) => Some(cli),
            Err(error)
                if error.kind() == ErrorKind::MissingRequiredArgument && std::env::args_os().len() <= 1 =>
            {
                None
            }
            Err(error) => error.exit(),
        }
    }
}

/// The version, with the commit and the target that the binary was built from and for.
pub const VERSION: &str =
    concat!(env!("CARGO_PKG_VERSION"), " (", env!("V2D_COMMIT"), ", ", env!("V2D_TARGET"), ")");

const ABOUT: &str = "Turn a Linux machine into container images whose files match it";

/// Output of a command line without arguments.
pub const SHORT_HELP: &str = "\
vm2docker-self turns this Linux machine into container images.

  1. Look         vm2docker-self inspect
  2. Plan         sudo vm2docker-self --out /tmp/ctx --dry-run
  3. Convert      sudo vm2docker-self --out /tmp/ctx
  4. Build        /tmp/ctx/build.sh    (with Docker, Podman or Buildah)
  5. Start        cd /tmp/ctx && docker compose up

All options: vm2docker-self --help";

// At most 80 columns per line, because a wrapped table is not readable.
const EXAMPLES: &str = "\
Examples:
  sudo vm2docker-self --out /tmp/ctx --dry-run
          Show the plan and the size forecast
  sudo vm2docker-self --out /tmp/ctx
          Write a build context for this machine
  sudo vm2docker-self --upload https://HOST/DIR/ --token-file FILE --remove-self
          Stream the context to a server, keep nothing here, remove the binary
  /tmp/ctx/build.sh
          Build the images
  docker export CONTAINER | vm2docker-self verify ctx --tar -
          Compare a container with the machine

Exit codes:
    0  complete
    1  failed
    2  usage error
    3  done, but some objects could not be read or included; they are listed
    5  verification failed: the file system differs
   10  no space left
   11  another run uses the same output directory
   12  upload failed; the context in --out is complete
   13  done, but vm2docker-self could not be removed
   20  not started: precondition failed
128+N  ended by signal N";

/// The subcommand of the process that removes the executable at the end of a run.
pub const REMOVE_SELF: &str = "remove-self";

/// Options of a conversion.
#[derive(Args, Debug)]
pub struct Convert {
    /// Write the context to DIR (empty or new); optional with --upload
    #[arg(long, short, value_name = "DIR", env = "VM2DOCKER_OUT", required_unless_present = "upload")]
    pub out: Option<PathBuf>,
    /// Convert the file system that is mounted at DIR
    #[arg(long, value_name = "DIR", env = "VM2DOCKER_ROOT", default_value = "/")]
    pub root: PathBuf,
    /// Options about the base image.
    #[command(flatten)]
    pub base: BaseArgs,
    /// Options about the network.
    #[command(flatten)]
    pub network: NetworkArgs,
    /// Install packages in the build, or include package files in the context
    #[arg(long, value_enum, value_name = "MODE", env = "VM2DOCKER_PACKAGES", default_value_t = Packages::Install)]
    pub packages: Packages,
    /// Select services to run as containers: all, none or a list of units
    #[arg(long, value_name = "all|none|NAME,...", env = "VM2DOCKER_SERVICES", default_value = "all")]
    pub services: Selection,
    /// Apply the rules in FILE before the built-in ones
    ///
    /// One rule per line: keep|drop|withhold|volume PATTERN [REASON].
    #[arg(long, value_name = "FILE", env = "VM2DOCKER_POLICY")]
    pub policy: Option<PathBuf>,
    /// Withhold files that are likely secret, in addition to those that certainly are
    #[arg(long, env = "VM2DOCKER_STRICT_SECRETS")]
    pub strict_secrets: bool,
    /// Include withheld files, encrypted to the OpenPGP public key in KEYFILE
    #[arg(long, value_name = "KEYFILE", env = "VM2DOCKER_INCLUDE_SECRETS")]
    pub include_secrets: Option<PathBuf>,
    /// Exclude paths that match GLOB, in addition to the built-in rules (repeatable)
    #[arg(long, value_name = "GLOB", env = "VM2DOCKER_EXCLUDE")]
    pub exclude: Vec<String>,
    /// Compress archives with zstd, gzip or none; with a level: zstd:9
    #[arg(long, value_name = "FORMAT[:LEVEL]", env = "VM2DOCKER_COMPRESS", default_value = "zstd")]
    pub compress: Compression,
    /// Upload the context to URL: https://HOST/DIR/, a presigned URL or a tus server
    #[arg(long, value_name = "URL", env = "VM2DOCKER_UPLOAD", hide_env_values = true)]
    pub upload: Option<String>,
    /// Options about the upload.
    #[command(flatten)]
    pub delivery: DeliveryArgs,
    /// Remove vm2docker-self or its package after a complete and successful run
    #[arg(long, env = "VM2DOCKER_REMOVE_SELF", conflicts_with = "dry_run")]
    pub remove_self: bool,
    /// Require a read-only view of all file systems; otherwise exit with 20
    #[arg(long, env = "VM2DOCKER_REQUIRE_READONLY")]
    pub require_readonly: bool,
    /// Allow --out on a file system without owners and permissions (FAT)
    #[arg(long, env = "VM2DOCKER_ALLOW_INSECURE_TARGET")]
    pub allow_insecure_target: bool,
    /// Run at normal CPU and I/O priority [default: lowest priority, throttled]
    #[arg(long, env = "VM2DOCKER_FULL_SPEED")]
    pub full_speed: bool,
    /// Show the plan and the size forecast; write nothing
    #[arg(long, short = 'n')]
    pub dry_run: bool,
    /// Options that most commands have.
    #[command(flatten)]
    pub common: Common,
    /// Show phases, and a bar on terminals (auto) or lines (plain), or nothing (none)
    #[arg(long, value_enum, value_name = "MODE", env = "VM2DOCKER_PROGRESS", default_value_t = ProgressMode::Auto)]
    pub progress: ProgressMode,
}

/// Options about the base image.
#[derive(Args, Debug)]
pub struct BaseArgs {
    /// Build FROM the image REF instead of the one that os-release maps to
    #[arg(long, value_name = "REF", env = "VM2DOCKER_BASE")]
    pub base: Option<String>,
    /// Determine the base image's contents from the registry, package lists or FILE
    ///
    /// auto uses the first that is available: registry, packages, none. FILE is a tar archive of a
    /// root file system, the output of `docker save`, or an OCI layout.
    #[arg(
        long,
        value_name = "auto|registry|packages|none|FILE",
        env = "VM2DOCKER_BASE_FROM",
        default_value = "auto"
    )]
    pub base_from: PathBuf,
}

/// Options about the network.
#[derive(Args, Debug)]
pub struct NetworkArgs {
    /// Use no network
    #[arg(long, env = "VM2DOCKER_OFFLINE")]
    pub offline: bool,
    /// Trust the CA certificates (PEM) in FILE, in addition to the system's
    #[arg(long, value_name = "FILE", env = "VM2DOCKER_CA_FILE")]
    pub ca_file: Option<PathBuf>,
    /// Use HTTP without TLS for the registry [default: only on loopback]
    #[arg(long, env = "VM2DOCKER_PLAIN_HTTP")]
    pub plain_http: bool,
}

/// Options about the upload.
#[derive(Args, Debug)]
pub struct DeliveryArgs {
    /// Upload one tar archive or single files [default: tar; files without --out]
    #[arg(long, value_enum, value_name = "FORM", env = "VM2DOCKER_UPLOAD_AS")]
    pub upload_as: Option<Form>,
    /// Read the token or Authorization value from FILE, not from VM2DOCKER_TOKEN
    #[arg(long, value_name = "FILE", env = "VM2DOCKER_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
}

/// Options that most commands have.
#[derive(Args, Debug)]
pub struct Common {
    /// Use N worker threads; the result is the same [default: number of CPUs]
    #[arg(long, value_name = "N", env = "VM2DOCKER_THREADS", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    /// Print one JSON document to standard output and nothing else
    #[arg(long)]
    pub json: bool,
    /// Print errors only
    #[arg(long, short)]
    pub quiet: bool,
    /// Print all findings; likely secrets are grouped
    #[arg(long, short)]
    pub verbose: bool,
}

/// `--packages`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Packages {
    /// Install from the distribution's repositories, pinned to the machine's versions
    Install,
    /// Include the package files in the context; the build needs no repository
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

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show what is detected on the machine; write nothing
    Inspect {
        /// Inspect the file system that is mounted at DIR
        #[arg(long, value_name = "DIR", env = "VM2DOCKER_ROOT", default_value = "/")]
        root: PathBuf,
        /// Options that most commands have.
        #[command(flatten)]
        common: Common,
    },
    /// Compare a file system with CONTEXT
    Verify {
        /// Read the context in the directory CONTEXT
        context: PathBuf,
        /// The file system to compare.
        #[command(flatten)]
        subject: SubjectArgs,
        /// Options that most commands have.
        #[command(flatten)]
        common: Common,
    },
    /// Change a root file system to match CONTEXT; the Dockerfile runs this
    Apply {
        /// Read the context in the directory CONTEXT
        context: PathBuf,
        /// Change the root file system at DIR
        #[arg(long, value_name = "DIR", default_value = "/")]
        root: PathBuf,
        /// Run one stage of the build
        #[arg(long, value_enum, default_value_t = BuildStage::System)]
        stage: BuildStage,
        /// Options that most commands have.
        #[command(flatten)]
        common: Common,
    },
    /// Upload a finished context
    Upload {
        /// Read the context in the directory CONTEXT
        context: PathBuf,
        /// Upload to https://HOST/DIR/, a presigned URL or a tus server
        url: String,
        /// Options about the upload.
        #[command(flatten)]
        delivery: DeliveryArgs,
        /// Trust the CA certificates (PEM) in FILE, in addition to the system's
        #[arg(long, value_name = "FILE", env = "VM2DOCKER_CA_FILE")]
        ca_file: Option<PathBuf>,
        /// Options that most commands have.
        #[command(flatten)]
        common: Common,
    },
    /// Upload CONTEXT when standard input requests it; a conversion starts this
    #[command(name = child::DELIVER, hide = true)]
    Deliver {
        /// Read the context in the directory CONTEXT
        context: PathBuf,
        /// Options about the upload.
        #[command(flatten)]
        delivery: DeliveryArgs,
        /// Trust the CA certificates (PEM) in FILE, in addition to the system's
        #[arg(long, value_name = "FILE", env = "VM2DOCKER_CA_FILE")]
        ca_file: Option<PathBuf>,
        /// Options that most commands have.
        #[command(flatten)]
        common: Common,
    },
    /// Upload standard input; a conversion without --out starts this
    #[command(name = child::SEND, hide = true)]
    Send {
        /// Trust the CA certificates (PEM) in FILE, in addition to the system's
        #[arg(long, value_name = "FILE", env = "VM2DOCKER_CA_FILE")]
        ca_file: Option<PathBuf>,
        /// Options that most commands have.
        #[command(flatten)]
        common: Common,
    },
    /// Remove the executable when standard input requests it; a run starts this
    #[command(name = REMOVE_SELF, hide = true)]
    RemoveSelf,
    /// Generate man pages, shell completions or JSON Schema
    Generate {
        /// Output to generate.
        #[command(subcommand)]
        what: Generated,
    },
    /// Remove partial directories left by interrupted runs
    Clean {
        /// Clean up for runs with this --out
        #[arg(long, short, value_name = "DIR", env = "VM2DOCKER_OUT")]
        out: PathBuf,
    },
    /// Show what happened to PATH and why
    Explain {
        /// Read the context in the directory CONTEXT
        context: PathBuf,
        /// Explain this path of the machine
        path: PathBuf,
        /// Options that most commands have.
        #[command(flatten)]
        common: Common,
    },
}

/// Output of `generate`.
#[derive(Debug, Subcommand)]
pub enum Generated {
    /// Write the man pages to a directory
    Man {
        /// Write to this directory
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// Print the completions for a shell
    Completions {
        /// Select the shell
        shell: clap_complete::Shell,
    },
    /// Print the JSON Schema of all JSON documents
    Schema,
}

/// The file system to compare.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub struct SubjectArgs {
    /// Compare the file system that is mounted at DIR
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Compare the root file system in a tar archive; - reads standard input
    #[arg(long, value_name = "FILE")]
    pub tar: Option<PathBuf>,
}

/// A step of the build that `apply` carries out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BuildStage {
    /// Move /bin, /lib and /sbin into /usr before packages are installed
    MergedUsr,
    /// Unpack package files, remove caches and logs, check all versions
    Packages,
    /// Write, fix and delete files until the root matches the manifest
    System,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    /// The verbs that help texts start with.
    const VERBS: &[&str] = &[
        "Allow",
        "Apply",
        "Build",
        "Change",
        "Clean",
        "Compare",
        "Compress",
        "Convert",
        "Determine",
        "Exclude",
        "Explain",
        "Generate",
        "Include",
        "Inspect",
        "Install",
        "Print",
        "Read",
        "Remove",
        "Require",
        "Run",
        "Select",
        "Show",
        "Trust",
        "Turn",
        "Upload",
        "Use",
        "Withhold",
        "Write",
    ];

    /// Returns the help texts and lines of a command and its subcommands that violate a rule.
    fn faults(command: &mut clap::Command) -> Vec<String> {
        let mut texts = vec![command.get_about().map(ToString::to_string)];
        texts.extend(command.get_arguments().map(|argument| argument.get_help().map(ToString::to_string)));
        let is_good = |text: &String| {
            let verb = text.split_whitespace().next().unwrap_or_default();
            VERBS.contains(&verb) && !text.ends_with('.') && text.chars().count() <= 80
        };
        let mut found: Vec<String> =
            texts.into_iter().map(Option::unwrap_or_default).filter(|text| !is_good(text)).collect();
        let help = command.render_long_help().to_string();
        // clap does not break words, so a list of values or `[env: NAME=]` can be longer.
        let is_wide = |line: &&str| line.chars().count() > 80 && line.split_whitespace().count() > 1;
        found.extend(help.lines().filter(is_wide).map(str::to_owned));
        found.extend(command.get_subcommands_mut().flat_map(self::faults));
        found
    }

    #[test]
    fn help_every_text_is_an_imperative_sentence_within_80_columns() {
        let mut command = Cli::command().term_width(80);
        command.build();
        assert_eq!(faults(&mut command), [""; 0]);
        assert!(SHORT_HELP.lines().all(|line| line.chars().count() <= 80));
    }

    #[test]
    fn cli_definition_is_valid() {
        Cli::command().debug_assert();
    }

    #[test]
    fn cli_conversion_requires_output_and_verify_one_subject() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' '));
        assert!(parse("x --out d").is_ok());
        assert!(parse("x --dry-run").is_err());
        assert!(parse("x verify c --tar -").is_ok());
        assert!(parse("x verify c").is_err());
        assert!(parse("x verify c --tar - --root /").is_err());
    }
}
