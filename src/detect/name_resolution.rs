//! Local settings of name resolution: `hosts(5)` and `resolv.conf(5)`. Container engines mount
//! their own files over both.

use crate::model::escape;
use crate::model::findings::{Findings, Kind};
use crate::system::root::Root;
use serde::Serialize;
use std::io;
use std::net::IpAddr;

/// Local settings of name resolution, without those that every machine has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameResolution {
    /// Names of `/etc/hosts` that containers can have too, in the order of the file.
    pub hosts: Vec<HostEntry>,
    /// Parts of lines of `/etc/hosts` that no engine accepts, escaped.
    pub unsupported_hosts: Vec<String>,
    /// Lines of `/etc/resolv.conf` other than name servers, escaped.
    pub resolver: Vec<String>,
}

/// Names of an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HostEntry {
    /// IP address.
    pub address: IpAddr,
    /// Names in lower case, at least one. Their bytes are `[a-z0-9._-]`.
    pub names: Vec<String>,
}

const HOSTS: &[u8] = b"etc/hosts";
const RESOLV_CONF: &[u8] = b"etc/resolv.conf";
/// Maximum number of entries. Longer files are lists of blocked names, which engines would get
/// as one argument each.
const MAX_ENTRIES: usize = 200;
/// Maximum length of a quoted line in bytes.
const MAX_QUOTE: usize = 200;
/// Names of the loopback addresses on Debian, Red Hat and SUSE.
const LOOPBACK_NAMES: &[&str] = &[
    "localhost",
    "localhost.localdomain",
    "localhost4",
    "localhost4.localdomain4",
    "localhost6",
    "localhost6.localdomain6",
    "ip6-localhost",
    "ip6-loopback",
    "ipv6-localhost",
    "ipv6-loopback",
];
/// Names of IPv6 networks and groups (RFC 4291) on these systems, without `ip6-` or `ipv6-`.
const GROUP_NAMES: &[&str] = &["localnet", "mcastprefix", "allnodes", "allrouters", "allhosts"];
/// Resolver options that the DHCP client or systemd-resolved sets on every machine.
const USUAL_OPTIONS: &[&str] = &["edns0", "trust-ad"];

impl NameResolution {
    /// Reads the settings of a root. `hostname` is the machine's name. Each entry that containers
    /// cannot have is a note.
    pub fn load(root: &Root, hostname: &str, findings: &mut Findings) -> Self {
        let mut settings = NameResolution::default();
        settings.parse_hosts(&read(root, HOSTS, findings), hostname);
        settings.parse_resolver(&read(root, RESOLV_CONF, findings));
        let hosts = settings.unsupported_hosts.iter().map(|line| (HOSTS, line));
        for (path, line) in hosts.chain(settings.resolver.iter().map(|line| (RESOLV_CONF, line))) {
            findings.note(Kind::NameResolution, path, format!("not in the containers: {line}"));
        }
        settings
    }

    fn parse_hosts(&mut self, text: &[u8], hostname: &str) {
        for line in lines(text, b"#") {
            let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
            let address = words.next().and_then(|word| std::str::from_utf8(word).ok()?.parse().ok());
            let words: Vec<&[u8]> = words.collect();
            let Some(address) = address else {
                self.unsupported_hosts.push(quote(line));
                continue;
            };
            let is_own_line = words.iter().any(|word| is_hostname(word, hostname));
            let custom = words.iter().filter(|word| !is_usual(address, word, hostname, is_own_line));
            let (names, others): (Vec<&[u8]>, Vec<&[u8]>) = custom.partition(|word| is_name(word));
            for name in others {
                self.unsupported_hosts.push(quote(&[address.to_string().as_bytes(), b" ", name].concat()));
            }
            let names: Vec<String> =
                names.iter().map(|name| String::from_utf8_lossy(name).to_ascii_lowercase()).collect();
            if !names.is_empty() {
                self.hosts.push(HostEntry { address, names });
            }
        }
        if self.hosts.len() > MAX_ENTRIES {
            let count = std::mem::take(&mut self.hosts).len();
            self.unsupported_hosts.push(format!("{count} entries, more than {MAX_ENTRIES}"));
        }
        let extra = self.unsupported_hosts.len().saturating_sub(MAX_ENTRIES);
        if extra > 0 {
            self.unsupported_hosts.truncate(MAX_ENTRIES);
            self.unsupported_hosts.push(format!("{extra} further entries"));
        }
    }

    fn parse_resolver(&mut self, text: &[u8]) {
        for line in lines(text, b"#;") {
            let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
            let keyword = words.next().unwrap_or_default();
            let is_usual_option = |word: &[u8]| USUAL_OPTIONS.iter().any(|usual| word == usual.as_bytes());
            let is_usual = match keyword {
                b"nameserver" => true,
                // systemd-resolved writes the root domain if no search list is set.
                b"search" | b"domain" => words.all(|word| word == b"."),
                b"options" => words.all(is_usual_option),
                _ => false,
            };
            if !is_usual && self.resolver.len() < MAX_ENTRIES {
                self.resolver.push(quote(line));
            }
        }
    }
}

/// Reads a file. A missing file is empty; an unreadable one is a note, because engines mount
/// their own.
fn read(root: &Root, path: &[u8], findings: &mut Findings) -> Vec<u8> {
    root.read(path).unwrap_or_else(|cause| {
        if cause.kind() != io::ErrorKind::NotFound {
            findings.note(Kind::NameResolution, path, format!("cannot be read: {cause}"));
        }
        Vec::new()
    })
}

/// Returns the lines without comments and without surrounding space, except empty ones.
fn lines<'a>(text: &'a [u8], comment: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let lines = text.split(|&byte| byte == b'\n').map(move |line| {
        let end = line.iter().position(|byte| comment.contains(byte)).unwrap_or(line.len());
        line[..end].trim_ascii()
    });
    lines.filter(|line| !line.is_empty())
}

fn quote(line: &[u8]) -> String {
    match line.len() > MAX_QUOTE {
        true => escape::escape(&line[..MAX_QUOTE]) + "...",
        false => escape::escape(line),
    }
}

/// Whether every machine of this name has the entry.
fn is_usual(address: IpAddr, name: &[u8], hostname: &str, is_own_line: bool) -> bool {
    let is_in = |names: &[&str]| names.iter().any(|usual| name.eq_ignore_ascii_case(usual.as_bytes()));
    let group = name.strip_prefix(b"ip6-").or_else(|| name.strip_prefix(b"ipv6-"));
    let is_group = group.is_some_and(|group| GROUP_NAMES.iter().any(|usual| group == usual.as_bytes()));
    address.is_loopback() && is_in(LOOPBACK_NAMES)
        || address.is_ipv6() && is_group
        || is_hostname(name, hostname)
        // 127.0.1.1 shop.example.org shop
        || is_own_line && name.starts_with(&[short(hostname).as_bytes(), b"."].concat())
}

/// Whether a name is the machine's own, with or without its domain as in `/etc/hostname`.
fn is_hostname(name: &[u8], hostname: &str) -> bool {
    !hostname.is_empty()
        && [hostname, short(hostname)].iter().any(|own| name.eq_ignore_ascii_case(own.as_bytes()))
}

fn short(hostname: &str) -> &str {
    hostname.split('.').next().unwrap_or(hostname)
}

/// Whether engines accept a name. DNS labels have no underscore, but engines accept it.
fn is_name(name: &[u8]) -> bool {
    let is_inner = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    let is_end = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    name.len() <= 253 && name.iter().all(is_inner) && is_end(name.first()) && is_end(name.last())
}

impl HostEntry {
    /// Returns the names that Kubernetes accepts: DNS subdomains (RFC 1123).
    pub fn dns_names(&self) -> impl Iterator<Item = &str> {
        let is_edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let is_label = move |label: &str| {
            let bytes = label.as_bytes();
            is_edge(bytes.first()) && is_edge(bytes.last()) && !label.contains('_')
        };
        self.names.iter().map(String::as_str).filter(move |name| name.split('.').all(is_label))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(text: &str, hostname: &str) -> (Vec<String>, Vec<String>) {
        let mut settings = NameResolution::default();
        settings.parse_hosts(text.as_bytes(), hostname);
        let shown = settings.hosts.iter().map(|entry| format!("{} {}", entry.address, entry.names.join(" ")));
        (shown.collect(), settings.unsupported_hosts)
    }

    #[test]
    fn parse_hosts_custom_names_are_kept() {
        for (line, expected) in [
            ("10.0.0.1 db.internal Db\tcache # three", "10.0.0.1 db.internal db cache"),
            ("127.0.1.1 shop.example.org shop www.example.org", "127.0.1.1 www.example.org"),
            // Without the machine's own name, this is another machine's.
            ("10.0.0.1 shop.backup.internal", "10.0.0.1 shop.backup.internal"),
            ("10.0.0.1 localhost", "10.0.0.1 localhost"),
            ("127.0.0.1 localhost db", "127.0.0.1 db"),
            ("fd00::2 db_master", "fd00::2 db_master"),
            ("0.0.0.0 ads.example", "0.0.0.0 ads.example"),
        ] {
            assert_eq!(hosts(line, "shop").0, [expected], "{line}");
        }
    }

    #[test]
    fn parse_hosts_usual_lines_are_left_out() {
        let text = "127.0.0.1 localhost localhost4 localhost4.localdomain4\n127.0.1.1 shop.example.org shop\n\
                    ::1 localhost ip6-localhost ip6-loopback\nfe00::0 ip6-localnet\nff02::1 ip6-allnodes\n\
                    #10.0.0.1 x\n\n10.0.0.7 shop.example.org SHOP\n";
        for hostname in ["shop", "shop.example.org"] {
            assert_eq!(hosts(text, hostname), (vec![], vec![]), "{hostname}");
        }
    }

    #[test]
    fn parse_hosts_unsupported_entries_are_quoted() {
        let (found, unsupported) = hosts("fe80::1%eth0 gate\n10.0.0.1 ok a\x1bb -x\nnonsense\n", "");
        assert_eq!(found, ["10.0.0.1 ok"]);
        assert_eq!(unsupported, ["fe80::1%eth0 gate", "10.0.0.1 a\\x1bb", "10.0.0.1 -x", "nonsense"]);
    }

    #[test]
    fn parse_hosts_long_list_is_one_entry() {
        let text: String = (0..=MAX_ENTRIES).map(|number| format!("0.0.0.0 ads{number}.example\n")).collect();
        assert_eq!(hosts(&text, ""), (vec![], vec!["201 entries, more than 200".to_owned()]));
        let text = "x\n".repeat(1000);
        assert_eq!(hosts(&text, "").1.len(), MAX_ENTRIES + 1);
    }

    #[test]
    fn parse_resolver_only_custom_lines_are_kept() {
        let mut settings = NameResolution::default();
        settings.parse_resolver(
            b"nameserver 10.0.0.1\nsearch .\noptions edns0 trust-ad\n; x\nsearch a.example\noptions ndots:2\nsortlist 10.0.0.0\n",
        );
        assert_eq!(settings.resolver, ["search a.example", "options ndots:2", "sortlist 10.0.0.0"]);
    }

    #[test]
    fn dns_names_underscore_is_left_out() {
        let names = ["db", "db_a", "a.b", "a..b", "a-.b"].map(str::to_owned).to_vec();
        let entry = HostEntry { address: IpAddr::from([10, 0, 0, 1]), names };
        assert_eq!(entry.dns_names().collect::<Vec<_>>(), ["db", "a.b"]);
    }
}
