//! Parses headers of System V init scripts, and finds the scripts that run levels start.

use super::load::{Units, list, read};
use super::other::{Manager, OtherService};
use crate::model::findings::Findings;
use crate::model::tree;
use crate::system::root::Root;
use std::collections::BTreeMap;

/// The header of an init script.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Fields between `### BEGIN INIT INFO` and `### END INIT INFO`, in order (Linux Standard
    /// Base 5.0, section 22.3).
    pub lsb: Vec<(Vec<u8>, Vec<u8>)>,
    /// Tags of Red Hat's header: `chkconfig`, `description`, `processname`, `pidfile`, `config`
    /// (`chkconfig(8)`).
    pub red_hat: Vec<(Vec<u8>, Vec<u8>)>,
}

const TAGS: &[&str] = &["chkconfig", "description", "processname", "pidfile", "config"];

impl Header {
    /// Parses the comments of a script: the LSB block anywhere, Red Hat's tags only before the
    /// first command.
    pub fn parse(script: &[u8]) -> Self {
        let mut header = Header::default();
        let (mut in_block, mut at_head, mut continues) = (false, true, false);
        for line in script.split(|&byte| byte == b'\n') {
            let line = line.trim_ascii_end();
            let Some(comment) = line.strip_prefix(b"#") else {
                at_head &= line.is_empty();
                in_block = false;
                continue;
            };
            match line {
                b"### BEGIN INIT INFO" => in_block = true,
                b"### END INIT INFO" => in_block = false,
                _ if in_block => header.take_lsb(comment),
                _ if at_head => continues = header.take_tag(comment, continues),
                _ => {}
            }
        }
        header
    }

    /// Returns a field of the LSB block.
    pub fn get(&self, keyword: &str) -> Option<&[u8]> {
        find(&self.lsb, keyword)
    }

    /// Returns a tag of Red Hat's header.
    pub fn tag(&self, tag: &str) -> Option<&[u8]> {
        find(&self.red_hat, tag)
    }

    /// Parses `Keyword: value`. A line indented by a tab or two spaces continues the description.
    fn take_lsb(&mut self, comment: &[u8]) {
        let is_indented = comment.starts_with(b"\t") || comment.starts_with(b"  ");
        let is_keyword = |name: &[u8]| {
            !name.is_empty() && name.iter().all(|&byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        let text = comment.trim_ascii();
        match self.lsb.last_mut() {
            Some((name, value)) if is_indented && name.eq_ignore_ascii_case(b"Description") => {
                if !value.is_empty() && !text.is_empty() {
                    value.push(b' ');
                }
                value.extend_from_slice(text);
            }
            _ => {
                if let Some(colon) = memchr::memchr(b':', text).filter(|&colon| is_keyword(&text[..colon])) {
                    self.lsb.push((text[..colon].to_vec(), text[colon + 1..].trim_ascii().to_vec()));
                }
            }
        }
    }

    /// Parses `tag: value`. Returns whether a trailing backslash continues the tag on the next
    /// line.
    fn take_tag(&mut self, comment: &[u8], continues: bool) -> bool {
        let text = comment.trim_ascii();
        let (text, more) = match text.strip_suffix(b"\\") {
            Some(text) => (text.trim_ascii_end(), true),
            None => (text, false),
        };
        if continues && let Some((_, value)) = self.red_hat.last_mut() {
            value.push(b' ');
            value.extend_from_slice(text);
            return more;
        }
        let Some(colon) = memchr::memchr(b':', text) else { return false };
        let tag = text[..colon].trim_ascii().to_ascii_lowercase();
        if !TAGS.iter().any(|known| known.as_bytes() == tag) {
            return false;
        }
        self.red_hat.push((tag, text[colon + 1..].trim_ascii().to_vec()));
        more
    }
}

fn find<'a>(fields: &'a [(Vec<u8>, Vec<u8>)], name: &str) -> Option<&'a [u8]> {
    let field = fields.iter().find(|(known, _)| known.eq_ignore_ascii_case(name.as_bytes()));
    field.map(|(_, value)| value.as_slice())
}

/// Run levels with network and users. On Red Hat systems the directories are links or in
/// `etc/rc.d`.
const LEVELS: &[&str] = &[
    "etc/rc2.d",
    "etc/rc3.d",
    "etc/rc4.d",
    "etc/rc5.d",
    "etc/rc.d/rc2.d",
    "etc/rc.d/rc3.d",
    "etc/rc.d/rc4.d",
    "etc/rc.d/rc5.d",
];

/// Returns the scripts that run levels 2 to 5 start, by name. Leaves out scripts that a unit
/// replaces.
pub fn enabled(root: &Root, units: &Units<'_>, findings: &mut Findings) -> Vec<OtherService> {
    let mut scripts: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for level in LEVELS {
        for link in list(root, level.as_bytes(), findings) {
            let Some(name) = script_of_link(&link) else { continue };
            let path = tree::join(level.as_bytes(), &link);
            let target = root.read_link(&path).map(|target| tree::link_target(&path, &target));
            scripts.entry(name.to_vec()).or_insert_with(|| target.unwrap_or(path));
        }
    }
    let mut services = Vec::new();
    for (name, script) in scripts {
        // systemd-sysv-generator(8) creates units only for scripts without a unit of the same
        // name.
        let stem = name.strip_suffix(b".sh").unwrap_or(&name);
        if units.has(&[stem, b".service"].concat()) {
            continue;
        }
        let Some(text) = read(root, &script, findings) else { continue };
        services.push(describe(&name, script, &Header::parse(&text)));
    }
    services
}

/// Returns the script name of a start link (`S20name`).
fn script_of_link(link: &[u8]) -> Option<&[u8]> {
    match link {
        [b'S', a, b, name @ ..] if a.is_ascii_digit() && b.is_ascii_digit() && !name.is_empty() => Some(name),
        _ => None,
    }
}

fn describe(name: &[u8], script: Vec<u8>, header: &Header) -> OtherService {
    let mut service = OtherService::new(Manager::SysV, name, script);
    service.pid_file = header.tag("pidfile").filter(|path| path.starts_with(b"/")).map(<[u8]>::to_vec);
    let description = header.get("Short-Description").or_else(|| header.tag("description"));
    service.description = description.map(<[u8]>::to_vec);
    service
}
