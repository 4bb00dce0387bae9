//! Parses `.path` units (`systemd.path(5)`).

use super::load::Loaded;
use super::names;
use super::section::Section;
use super::service::Relations;
use super::specifiers::Host;
use crate::model::findings::Findings;

/// A path unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathUnit {
    /// Name after following aliases.
    pub name: Vec<u8>,
    /// Unit that it activates.
    pub unit: Vec<u8>,
    /// Watched paths, each with its key (`PathExists`).
    pub watches: Vec<(&'static str, Vec<u8>)>,
    /// Relations to other units.
    pub relations: Relations,
}

const KEYS: &[&str] = &["PathExists", "PathExistsGlob", "PathChanged", "PathModified", "DirectoryNotEmpty"];

impl PathUnit {
    /// Interprets a loaded `.path` unit.
    pub fn new(loaded: &Loaded, host: &Host, findings: &mut Findings) -> Self {
        let mut section = Section::new(loaded, "Unit", host, findings);
        let relations = Relations::read(&mut section, loaded);
        section.switch("Path");
        let mut watches = Vec::new();
        for key in KEYS {
            watches.extend(section.lines(key).into_iter().map(|path| (*key, path)));
        }
        let unit = section.text("Unit");
        let unit = unit.unwrap_or_else(|| names::with_type(&loaded.name, "service"));
        section.finish();
        PathUnit { name: loaded.name.clone(), unit, watches, relations }
    }
}
