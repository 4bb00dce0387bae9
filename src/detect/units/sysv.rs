//! Init scripts of System V: their headers, and which of them run levels start.

use super::load::{self, Units, list, read};
use super::other::{Manager, OtherService};
use crate::model::findings::Findings;
use crate::model::tree;
use crate::system::root::Root;
use std::collections::BTreeMap;

/// What the comments of an init script say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The block between `### BEGIN INIT INFO` and `### END INIT INFO` (Linux Standard Base 5.0, 22.3), in order.
    pub lsb: Vec<(Vec<u8>, Vec<u8>)>,
    /// The tags of Red Hat's header: `chkconfig`, `description`, `processname`, `pidfile`, `config` (`chkconfig(8)`).
    pub red_hat: Vec<(Vec<u8>, Vec<u8>)>,
}

const TAGS: &[&str] = &["chkconfig", "description", "processname", "pidfile", "config"];

impl Header {
    /// Reads the comments of a script: the block wherever it stands, the tags before the first line that is no comment.
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

    /// A keyword of the block.
    pub fn get(&self, keyword: &str) -> Option<&[u8]> {
        find(&self.lsb, keyword)
    }

    /// A tag of Red Hat's header.
    pub fn tag(&self, tag: &str) -> Option<&[u8]> {
        find(&self.red_hat, tag)
    }

    /// `Keyword: value`; a line indented by a tab or two spaces continues the description.
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

    /// `tag: value`; a backslash at the end continues it. Whether the next line continues this one is returned.
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

/// Run levels with network and users; on Red Hat's systems their directories are links or lie in `etc/rc.d`.
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

/// The scripts that a run level from 2 to 5 starts and that no unit takes the place of, by name.
pub fn enabled(root: &Root, units: &Units<'_>, findings: &mut Findings) -> Vec<OtherService> {
    let mut scripts: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for level in LEVELS {
        for link in list(root, level.as_bytes(), findings) {
            let Some(name) = started(&link) else { continue };
            let path = tree::join(level.as_bytes(), &link);
            let target = root.read_link(&path).map(|target| load::absolute(level.as_bytes(), &target));
            scripts.entry(name.to_vec()).or_insert_with(|| target.unwrap_or(path));
        }
    }
    let mut services = Vec::new();
    for (name, script) in scripts {
        // As systemd's generator, which makes units of what no unit has the name of.
        let stem = name.strip_suffix(b".sh").unwrap_or(&name);
        if units.has(&[stem, b".service"].concat()) {
            continue;
        }
        let Some(text) = read(root, &script, findings) else { continue };
        services.push(describe(&name, script, &Header::parse(&text)));
    }
    services
}

/// The name of the script that a link of a run level starts: `S20name`.
fn started(link: &[u8]) -> Option<&[u8]> {
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
