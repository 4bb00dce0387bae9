//! Is this file system the machine that a context describes?

use super::{coverages, survey};
use crate::compare::equal::{self, View};
use crate::context::reader::Context;
use crate::context::{decompress, tar};
use crate::error::{Code, Error, Result};
use crate::model::document::Schema;
use crate::model::escape;
use crate::model::manifest::Record;
use crate::model::tree::Node;
use crate::system::root::Root;
use serde::Serialize;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The file system that is compared with the manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A mounted file system.
    Root(PathBuf),
    /// A root file system's archive, such as `docker export` writes; `-` is standard input.
    Tar(PathBuf),
}

/// The outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Verified {
    /// Whether there is no difference.
    pub equal: bool,
    /// Paths that were compared.
    pub paths: usize,
    /// One line a path that differs.
    pub differences: Vec<String>,
    /// Paths with attributes that the archive's format could not show.
    pub unseen: usize,
}

impl Schema for Verified {
    const NAME: &'static str = "vm2docker-self/verify";
    const VERSION: u32 = 1;
}

/// Compares `subject` with what the context describes.
pub fn verify(context: &Context, subject: &Subject, threads: usize) -> Result<Verified> {
    let records = context.manifest()?;
    let (nodes, view) = match subject {
        Subject::Root(path) => {
            let root = Root::open(path).map_err(|cause| Error::io(name_of(path), cause))?;
            (survey(context, &root, &records, threads)?, View::FULL)
        }
        Subject::Tar(path) => read_tar(path, &records)?,
    };
    let differences: Vec<String> =
        equal::differences(&records, &nodes, view).iter().map(equal::describe).collect();
    let counted = records.iter().filter(|record| equal::counts(record));
    Ok(Verified {
        equal: differences.is_empty(),
        paths: counted.clone().count(),
        differences,
        unseen: if view == View::FULL {
            0
        } else {
            counted.filter(|record| has_unseen(record, view)).count()
        },
    })
}

/// An archive that has no attribute of a class at all is taken for one that cannot show that
/// class.
fn read_tar(path: &Path, records: &[Record]) -> Result<(Vec<Node>, View)> {
    let failed = |cause: io::Error| {
        Error::io(name_of(path), cause)
            .hint("--tar takes a root file system's archive, such as `docker export` writes")
    };
    let input: Box<dyn Read + Send> = match path.as_os_str().as_bytes() {
        b"-" => Box::new(io::stdin()),
        _ => Box::new(File::open(path).map_err(failed)?),
    };
    let (_, stream) = decompress::decompress(input).map_err(failed)?;
    let coverages = coverages(records);
    let coverage = |path: &[u8]| coverages(path).unwrap_or_default();
    let contents = tar::read_tree_with(stream, &|_| false, &coverage).map_err(failed)?;
    if contents.nodes.len() < 2 {
        let what = format!("{} holds no file system", name_of(path));
        return Err(Error::new(Code::Failed, what).hint("did `docker export` fail?"));
    }
    let view = View { acls_and_user: contents.xattrs.acl || contents.xattrs.user, capabilities: true };
    Ok((contents.nodes, view))
}

fn has_unseen(record: &Record, view: View) -> bool {
    record.node.xattrs.iter().flat_map(|xattrs| xattrs.keys()).any(|name| !view.shows(name))
}

fn name_of(path: &Path) -> String {
    escape::escape(path.as_os_str().as_bytes())
}
