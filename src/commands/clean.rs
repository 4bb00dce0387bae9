//! `vm2docker-self clean --out DIR`: removes what interrupted runs left.

use crate::context::output::{OutputPath, partial};
use crate::error::{Code, Result};
use crate::report;
use crate::system::console;
use std::path::Path;

pub(super) fn run(out: &Path) -> Result<Code> {
    let cleaned = partial::clean(&OutputPath::open(out)?)?;
    console::tell(&report::clean::cleaned(&cleaned));
    Ok(Code::Done)
}
