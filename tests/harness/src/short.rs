//! `short-io`: simulates a kernel that reads and writes one byte at a time, which is allowed. The
//! context must be the same.

use crate::Result;
use crate::args::Args;
use crate::filter::Filter;
use crate::report::{self, Problems};
use crate::seal;
use crate::syscalls;
use crate::tracer::{End, Step};
use crate::trial::{self, Trial};

/// Calls whose third argument says how many bytes are wanted.
const SIZED: &[&str] = &["read", "pread64", "write", "pwrite64"];
/// The program in its own context is of megabytes: its blocks become half of what they were.
const BINARY: &str = "vm2docker-self";

/// `short-io -- COMMAND...`.
pub fn run(words: &[String]) -> Result<bool> {
    let args = Args::parse(words, trial::OPTIONS, &[])?;
    let trial = Trial::new(&args)?;
    let reference = trial.reference()?;
    let program = std::fs::canonicalize(&args.command[0])?;
    let mut problems = Problems::default();
    let mut shortened = 0;
    let end = trial.trace(&Filter::tracing(&syscalls::numbers(SIZED)), |call| {
        let wanted = call.arguments[2];
        if wanted < 2 || !call.is_file(0) {
            return Step::Go;
        }
        shortened += 1;
        let file = call.descriptor(call.arguments[0] as i32);
        let is_large = file == program || file.ends_with(BINARY);
        Step::Shorten(if is_large { wanted.div_ceil(2) } else { 1 })
    })?;
    if end != End::Exit(0) {
        problems.add(&format!("ended with {end:?}"), &trial.output()?);
    } else {
        match seal::check(&trial.out) {
            Ok(seal) if seal == reference => {}
            Ok(seal) => problems.add(&format!("other {}", seal::differences(&reference, &seal)), ""),
            Err(what) => problems.add(&format!("not whole: {what}"), ""),
        }
    }
    trial.clear()?;
    report::end("short-io", shortened, "reads and writes made short", &problems)
}
