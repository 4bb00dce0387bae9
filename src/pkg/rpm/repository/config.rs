//! The repository files of yum, dnf and zypper: `.repo` files (dnf.conf(5), yum.conf(5)) and the
//! section `main` of the tool's own configuration.

use super::variables::Variables;
use crate::model::escape;
use crate::model::findings::{self, Findings};
use crate::system::root::Root;
use std::collections::BTreeMap;
use std::io::ErrorKind::NotFound;

/// Maximum number of repositories of a machine.
const MAX_REPOSITORIES: usize = 1000;

/// A tool, by its configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tool {
    /// Files with a section `main`, of which the first one is used.
    main: &'static [&'static [u8]],
    /// Directories of `.repo` files.
    directories: &'static [&'static [u8]],
    /// Value of `gpgcheck` if no file has one.
    verifies: bool,
}

const TOOLS: [Tool; 2] = [
    Tool {
        main: &[b"etc/dnf/dnf.conf", b"etc/yum.conf"],
        directories: &[b"etc/yum.repos.d", b"etc/distro.repos.d", b"etc/yum/repos.d"],
        verifies: false,
    },
    Tool { main: &[b"etc/zypp/zypp.conf"], directories: &[b"etc/zypp/repos.d"], verifies: true },
];

/// Options that give access to a repository. Their values never get into a context.
const CREDENTIALS: [&str; 6] =
    ["username", "password", "sslclientcert", "sslclientkey", "credentials", "proxy_password"];

/// Where the metadata of a repository is. All variables are replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::pkg::rpm) enum Location {
    /// URLs of the repository, in the order of preference.
    Base(Vec<String>),
    /// URL of a list of such URLs.
    MirrorList(String),
    /// URL of a metalink.
    Metalink(String),
}

/// An enabled repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::pkg::rpm) struct Repository {
    /// File that contains it, relative to the root.
    pub file: Vec<u8>,
    /// Name of its section: letters, digits and `-_.:`.
    pub id: String,
    /// Where it is; all URLs are graphic ASCII.
    pub location: Location,
    /// Whether packages must be signed.
    pub gpgcheck: bool,
    /// Whether the metadata must be signed.
    pub repo_gpgcheck: bool,
    /// Whether the server's certificate is verified.
    pub sslverify: bool,
    /// URLs of its keys.
    pub keys: Vec<String>,
    /// Reason why a build cannot use it.
    pub unusable: Option<&'static str>,
}

impl Repository {
    /// Returns the URLs of its location.
    pub fn urls(&self) -> &[String] {
        match &self.location {
            Location::Base(urls) => urls,
            Location::MirrorList(url) | Location::Metalink(url) => std::slice::from_ref(url),
        }
    }
}

/// A section with its options. A repeated option replaces the earlier one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Section {
    name: Vec<u8>,
    options: BTreeMap<String, Vec<u8>>,
}

impl Section {
    fn text(&self, option: &str) -> Option<String> {
        let value = self.options.get(option)?;
        Some(String::from_utf8_lossy(value).trim().to_owned()).filter(|text| !text.is_empty())
    }

    fn boolean(&self, option: &str) -> Option<bool> {
        match self.text(option)?.to_ascii_lowercase().as_str() {
            "1" | "yes" | "true" | "on" => Some(true),
            "0" | "no" | "false" | "off" => Some(false),
            _ => None,
        }
    }
}

/// Returns the enabled repositories of a machine, in the order in which the tools read them.
/// Sections that are not understood are notes.
pub(in crate::pkg::rpm) fn load(
    root: &Root,
    variables: &Variables,
    findings: &mut Findings,
) -> Vec<Repository> {
    let mut repositories = Vec::new();
    for tool in &TOOLS {
        let main = tool.main.iter().find_map(|path| Some((*path, root.read(path).ok()?)));
        let (path, main) = main.unwrap_or_default();
        let mut sections = parse(&main);
        let at = sections.iter().position(|section| section.name == b"main");
        let defaults = at.map(|at| sections.remove(at)).unwrap_or_default();
        let reader = Reader { tool, defaults, variables };
        // yum and dnf accept repositories in their own configuration file.
        reader.add(path, &sections, &mut repositories, findings);
        for directory in tool.directories {
            for path in repo_files(root, directory, findings) {
                match root.read(&path) {
                    Ok(content) => reader.add(&path, &parse(&content), &mut repositories, findings),
                    Err(cause) => findings.note(findings::Kind::Unreadable, &path, cause.to_string()),
                }
            }
        }
    }
    repositories
}

fn repo_files(root: &Root, directory: &[u8], findings: &mut Findings) -> Vec<Vec<u8>> {
    let names = root.list(directory).unwrap_or_else(|cause| {
        if cause.kind() != NotFound {
            findings.note(findings::Kind::Unreadable, directory, cause.to_string());
        }
        Vec::new()
    });
    let names = names.into_iter().filter(|name| name.ends_with(b".repo") && !name.starts_with(b"."));
    names.map(|name| [directory, b"/", &name[..]].concat()).collect()
}

/// Splits a file into sections. Lines that begin with white space continue the value before.
fn parse(content: &[u8]) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let mut option: Option<String> = None;
    for line in content.split(|&byte| byte == b'\n') {
        let text = line.trim_ascii();
        if text.is_empty() || text.starts_with(b"#") || text.starts_with(b";") {
            continue;
        }
        if let Some(name) = text.strip_prefix(b"[") {
            let end = memchr::memchr(b']', name).unwrap_or(name.len());
            sections.push(Section { name: name[..end].to_vec(), options: BTreeMap::new() });
            option = None;
            continue;
        }
        let Some(section) = sections.last_mut() else { continue };
        let continued = option.as_ref().filter(|_| line.first().is_some_and(u8::is_ascii_whitespace));
        if let Some(value) = continued.and_then(|option| section.options.get_mut(option)) {
            value.push(b'\n');
            value.extend_from_slice(text);
        } else if let Some(at) = text.iter().position(|byte| matches!(byte, b'=' | b':')) {
            let name = String::from_utf8_lossy(text[..at].trim_ascii()).to_ascii_lowercase();
            section.options.insert(name.clone(), text[at + 1..].trim_ascii().to_vec());
            option = Some(name);
        }
    }
    sections
}

struct Reader<'a> {
    tool: &'static Tool,
    defaults: Section,
    variables: &'a Variables,
}

impl Reader<'_> {
    fn add(
        &self,
        path: &[u8],
        sections: &[Section],
        repositories: &mut Vec<Repository>,
        findings: &mut Findings,
    ) {
        for section in sections.iter().filter(|section| section.name != b"main") {
            if section.boolean("enabled") == Some(false) || repositories.len() == MAX_REPOSITORIES {
                continue;
            }
            match self.repository(path, section) {
                Ok(new) => match repositories.iter_mut().find(|known| known.id == new.id) {
                    // dnf uses the last section of this name.
                    Some(known) => *known = new,
                    None => repositories.push(new),
                },
                Err(why) => {
                    let text = format!("repository {} is not used: {why}", escape::escape(&section.name));
                    findings.note(findings::Kind::PackageIndex, path, text);
                }
            }
        }
    }

    fn repository(&self, path: &[u8], section: &Section) -> Result<Repository, String> {
        let id = String::from_utf8_lossy(&section.name).trim().to_owned();
        let id = self.variables.replace(&id)?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
        if !id.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric()) || !id.bytes().all(is_plain) {
            return Err("its name has unusual characters".to_owned());
        }
        let flag = |option: &str| section.boolean(option).or_else(|| self.defaults.boolean(option));
        let location = self.location(section)?;
        let keys = match section.text("gpgkey").or_else(|| self.defaults.text("gpgkey")) {
            Some(keys) => self.urls(&keys)?,
            None => Vec::new(),
        };
        let mut repository = Repository {
            file: path.to_vec(),
            id,
            location,
            gpgcheck: flag("gpgcheck").or(flag("pkg_gpgcheck")).unwrap_or(self.tool.verifies),
            repo_gpgcheck: flag("repo_gpgcheck").unwrap_or(false),
            sslverify: flag("sslverify").unwrap_or(true),
            keys,
            unusable: None,
        };
        let has_credentials = CREDENTIALS.iter().any(|option| section.text(option).is_some());
        repository.unusable = match has_credentials {
            true => Some("needs credentials"),
            false => repository.urls().iter().find_map(|url| unusable(url)),
        };
        Ok(repository)
    }

    /// Returns where the metadata is: yum and dnf prefer a metalink to a list of mirrors, and a
    /// list of mirrors to URLs.
    fn location(&self, section: &Section) -> Result<Location, String> {
        let one = |option: &str| section.text(option).map(|text| self.urls(&text)).transpose();
        let first = |urls: Vec<String>| urls.into_iter().next().ok_or("it has no address");
        // yum reads a metalink under this name, too.
        let list = one("mirrorlist")?.map(first).transpose()?;
        let metalink = one("metalink")?.map(first).transpose()?;
        Ok(match (metalink, list, one("baseurl")?) {
            (Some(url), ..) => Location::Metalink(url),
            (None, Some(url), _) if url.contains("metalink") => Location::Metalink(url),
            (None, Some(url), _) => Location::MirrorList(url),
            (None, None, Some(urls)) if !urls.is_empty() => {
                let slash = |url: String| if url.ends_with('/') { url } else { url + "/" };
                Location::Base(urls.into_iter().map(slash).collect())
            }
            _ => return Err("it has no address".to_owned()),
        })
    }

    /// Splits a list of URLs at white space and commas.
    fn urls(&self, text: &str) -> Result<Vec<String>, String> {
        let words = text.split(|c: char| c.is_ascii_whitespace() || c == ',');
        let url = |word: &str| {
            let url = self.variables.replace(word)?;
            match url.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"\\`$".contains(&byte)) {
                true => Ok(url),
                false => Err("an address has unusual characters".to_owned()),
            }
        };
        words.filter(|word| !word.is_empty()).map(url).collect()
    }
}

/// Returns the reason why a build on another host cannot use an address.
fn unusable(url: &str) -> Option<&'static str> {
    let (scheme, rest) = url.split_once(':').unwrap_or(("", url));
    let authority = rest.trim_start_matches('/').split('/').next().unwrap_or_default();
    match scheme.to_ascii_lowercase().as_str() {
        "http" | "https" if authority.contains('@') || rest.contains("credentials=") => {
            Some("needs credentials")
        }
        "http" | "https" => None,
        "file" | "dir" | "cd" | "dvd" | "hd" | "iso" | "media" | "" => Some("is on this machine"),
        _ => Some("needs a protocol other than HTTP"),
    }
}

/// Parses a `.repo` file in any order of bytes, for the fuzzer: returns the URLs.
pub fn parsed_urls(content: &[u8]) -> Vec<String> {
    let reader = Reader { tool: &TOOLS[0], defaults: Section::default(), variables: &Variables::default() };
    let (mut repositories, mut findings) = (Vec::new(), Findings::default());
    reader.add(b"x.repo", &parse(content), &mut repositories, &mut findings);
    repositories.iter().flat_map(|repository| repository.urls().to_vec()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repositories(text: &str, main: &str) -> Vec<Repository> {
        let defaults = parse(main.as_bytes()).into_iter().next().unwrap_or_default();
        let variables = Variables::of([("releasever", "9"), ("basearch", "x86_64")]);
        let reader = Reader { tool: &TOOLS[0], defaults, variables: &variables };
        let (mut found, mut findings) = (Vec::new(), Findings::default());
        reader.add(b"etc/yum.repos.d/a.repo", &parse(text.as_bytes()), &mut found, &mut findings);
        found
    }

    #[test]
    fn load_vendor_file_returns_enabled_repositories() {
        let text = "# c\n[base]\nname=Rocky $releasever\nmirrorlist=https://m.example/?arch=$basearch&repo=B-$releasever\n\
            #baseurl=http://x.example/\ngpgcheck=1\nenabled = 1\ngpgkey=file:///etc/pki/rpm-gpg/K\n\
            [debug]\nname=x\nbaseurl=http://d.example/\nenabled=0\n\
            [two]\nbaseurl=http://a.example/$basearch/os,\n  http://b.example/os/\nsslverify=False\n";
        let found = repositories(text, "[main]\ngpgcheck=True\n");
        assert_eq!(found.len(), 2);
        let list = "https://m.example/?arch=x86_64&repo=B-9".to_owned();
        assert_eq!(found[0].location, Location::MirrorList(list));
        assert_eq!(found[0].keys, ["file:///etc/pki/rpm-gpg/K"]);
        assert!(found[0].gpgcheck && found[0].sslverify && found[0].unusable.is_none());
        let urls = ["http://a.example/x86_64/os/", "http://b.example/os/"].map(str::to_owned).to_vec();
        assert_eq!(found[1].location, Location::Base(urls));
        assert!(found[1].gpgcheck && !found[1].sslverify);
    }

    #[test]
    fn load_repository_that_builds_cannot_use_has_reason() {
        for (text, reason) in [
            ("baseurl=file:///srv/repo", Some("is on this machine")),
            ("baseurl=http://user:pw@h.example/", Some("needs credentials")),
            (
                "baseurl=https://h.example/\nsslclientkey=/etc/pki/entitlement/1.pem",
                Some("needs credentials"),
            ),
            ("baseurl=https://h.example/?credentials=SCC", Some("needs credentials")),
            ("baseurl=plugin:/susecloud?x=y", Some("needs a protocol other than HTTP")),
            ("metalink=https://h.example/x", None),
        ] {
            let found = repositories(&format!("[a]\n{text}\n"), "");
            assert_eq!(found[0].unusable, reason, "{text}");
        }
    }

    #[test]
    fn load_unusual_text_is_refused() {
        for text in [
            "[a b]\nbaseurl=http://h.example/\n",
            "[../a]\nbaseurl=http://h.example/\n",
            "[a]\nbaseurl=http://h.example/\u{e9}\n",
            "[a]\nbaseurl=http://h.example/$unknown/\n",
            "[a]\nbaseurl=http://h.example/`x`\n",
            "[a]\nname=no address\n",
            "baseurl=http://h.example/\n",
            "[main]\nbaseurl=http://h.example/\n",
        ] {
            assert_eq!(repositories(text, ""), [], "{text}");
        }
    }
}
