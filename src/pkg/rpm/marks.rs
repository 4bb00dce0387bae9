//! Which packages were installed only as dependencies, by the records of the tools above rpm.

use super::sqlite::{Database, Value};
use super::{Damage, Source};
use crate::model::findings::{self, Findings};
use crate::pkg::Pin;
use crate::system::root::Root;
use std::collections::{BTreeSet, HashMap};
use std::io::ErrorKind::NotFound;

/// dnf 5's record of all packages.
const DNF5: &[u8] = b"usr/lib/sysimage/libdnf5/packages.toml";
/// dnf 4's history, an SQLite database.
const DNF4: &[u8] = b"var/lib/dnf/history.sqlite";
/// yum 3's records: a directory per package with a file `reason`.
const YUM: &[u8] = b"var/lib/yum/yumdb";
/// zypper's list of names that the user did not ask for.
const ZYPPER: &[u8] = b"var/lib/zypp/AutoInstalled";
/// urpmi's list of names that the user did not ask for.
const URPMI: &[u8] = b"var/lib/rpm/installed-through-deps.list";

/// Names and architectures of packages.
type Qualified = BTreeSet<(Vec<u8>, Vec<u8>)>;

/// Packages that were installed only as dependencies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Marks {
    /// There are no records: every package counts as requested.
    #[default]
    None,
    /// By name.
    Names(BTreeSet<Vec<u8>>),
    /// By name and architecture.
    Qualified(Qualified),
    /// By `name-version-release-architecture`.
    Full(BTreeSet<Vec<u8>>),
}

impl Marks {
    /// Reads the records of the newest tool that has some. Those that cannot be read are notes,
    /// because the marks decide only what the build names.
    pub(super) fn load(root: &Root, findings: &mut Findings) -> Self {
        let mut read = |path: &[u8]| match root.read(path) {
            Ok(content) => Some(content),
            Err(cause) if cause.kind() == NotFound => None,
            Err(cause) => {
                findings.note(findings::Kind::Unreadable, path, cause.to_string());
                None
            }
        };
        if let Some(content) = read(DNF5) {
            return Marks::Qualified(dnf5(&content));
        }
        if let Some(file) = read(DNF4) {
            let log = read(&[DNF4, b"-wal"].concat());
            match dnf4(&file, log.as_deref()) {
                Ok(automatic) => return Marks::Qualified(automatic),
                Err(why) => findings.note(findings::Kind::PackageDatabase, DNF4, why),
            }
        } else if let Some(content) = read(ZYPPER) {
            return Marks::Names(names(&content));
        } else if let Some(content) = read(URPMI) {
            return Marks::Names(names(&content));
        }
        let yum = yum(root);
        if yum.is_empty() { Marks::None } else { Marks::Full(yum) }
    }

    /// Whether the package was installed only as a dependency.
    pub(super) fn is_automatic(&self, pin: &Pin) -> bool {
        let (name, architecture) = (pin.name.as_bytes(), pin.architecture.as_bytes());
        match self {
            Marks::None => false,
            Marks::Names(names) => names.contains(name),
            Marks::Qualified(names) => names.contains(&(name.to_vec(), architecture.to_vec())),
            Marks::Full(names) => {
                let version = pin.version.rsplit(':').next().unwrap_or_default();
                names.contains(&[name, version.as_bytes(), architecture].join(&b'-'))
            }
        }
    }
}

/// Returns the first words of the lines that are not comments.
fn names(content: &[u8]) -> BTreeSet<Vec<u8>> {
    let lines = content.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    let names = lines.filter(|line| !line.is_empty() && !line.starts_with(b"#"));
    names.filter_map(|line| line.split(u8::is_ascii_whitespace).next()).map(<[u8]>::to_vec).collect()
}

/// Parses lines such as `"name.arch" = {reason = "Dependency"}`.
fn dnf5(content: &[u8]) -> Qualified {
    let line = |line: &[u8]| {
        let mut quoted = line.split(|&byte| byte == b'"').skip(1).step_by(2);
        let (label, reason) = (quoted.next()?, quoted.next()?);
        let dot = memchr::memrchr(b'.', label)?;
        matches!(reason, b"Dependency" | b"Weak Dependency")
            .then(|| (label[..dot].to_vec(), label[dot + 1..].to_vec()))
    };
    content.split(|&byte| byte == b'\n').filter_map(line).collect()
}

/// Numbers of the reasons "dependency" and "weak dependency" (libdnf, `TransactionItemReason`).
const DEPENDENCY: [i64; 2] = [1, 4];

/// Returns the packages whose newest transaction has the reason "dependency".
fn dnf4(file: &[u8], log: Option<&[u8]>) -> Result<Qualified, String> {
    let log = log.as_ref().map(|log| log as &dyn Source);
    let text = |damage: Damage| damage.to_string();
    let (database, _) = Database::open(&file, log).map_err(text)?;
    let (tables, _) = database.tables().map_err(text)?;
    let root = |name: &str| {
        let table = tables.iter().find(|table| table.name == name.as_bytes());
        table.map(|table| table.root).ok_or_else(|| format!("there is no table {name}"))
    };
    let mut packages: HashMap<i64, (Vec<u8>, Vec<u8>)> = HashMap::new();
    let rows = database.rows(root("rpm")?, &mut |_, row| {
        if let [Value::Integer(item), Value::Text(name), _, _, _, Value::Text(architecture), ..] = row {
            packages.insert(*item, (name.to_vec(), architecture.to_vec()));
        }
    });
    rows.map_err(text)?;
    // The rows are ordered by time.
    let mut reasons: HashMap<&(Vec<u8>, Vec<u8>), i64> = HashMap::new();
    let rows = database.rows(root("trans_item")?, &mut |_, row| {
        if let [_, _, Value::Integer(item), _, _, Value::Integer(reason), ..] = row
            && let Some(package) = packages.get(item)
        {
            reasons.insert(package, *reason);
        }
    });
    rows.map_err(text)?;
    let automatic = reasons.into_iter().filter(|(_, reason)| DEPENDENCY.contains(reason));
    Ok(automatic.map(|(package, _)| package.clone()).collect())
}

/// Returns the packages with the reason `dep`. The directories are
/// `LETTER/CHECKSUM-NAME-VERSION-RELEASE-ARCHITECTURE`.
fn yum(root: &Root) -> BTreeSet<Vec<u8>> {
    let mut automatic = BTreeSet::new();
    for letter in root.list(YUM).unwrap_or_default() {
        let directory = [YUM, b"/", &letter].concat();
        for name in root.list(&directory).unwrap_or_default() {
            let reason = root.read(&[&directory, &b"/"[..], &name, b"/reason"].concat());
            if reason.is_ok_and(|reason| reason.trim_ascii() == b"dep")
                && let Some(dash) = memchr::memchr(b'-', &name)
            {
                automatic.insert(name[dash + 1..].to_vec());
            }
        }
    }
    automatic
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pkg::rpm::tests_data::{directory, unpacked};

    fn marks(files: &[(&str, &[u8])]) -> (Marks, usize) {
        let dir = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        let mut findings = Findings::default();
        let marks = Marks::load(&Root::open(dir.path()).unwrap(), &mut findings);
        (marks, findings.sorted().len())
    }

    fn automatic(marks: &Marks) -> String {
        let pins = ["bash 5.1-2", "curl 1:7-1", "zlib 1.2-3", "less 590-1"].map(|pin| {
            let (name, version) = pin.split_once(' ').unwrap();
            Pin { name: name.to_owned(), version: version.to_owned(), architecture: "x86_64".to_owned() }
        });
        let automatic = pins.iter().filter(|pin| marks.is_automatic(pin)).map(|pin| pin.name.as_str());
        automatic.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn load_records_of_each_tool_return_dependencies() {
        let toml = "version = \"1.0\"\n[packages]\n\"bash.x86_64\" = {reason = \"User\"}\n\"zlib.x86_64\" = \
                    {reason = \"Dependency\"}\n\"less.i686\" = {reason = \"Dependency\"}\n\"curl.x86_64\" = {reason = \"Weak Dependency\"}\n";
        let zypper = ("var/lib/zypp/AutoInstalled", &b"# names\nzlib\n\nbash\n"[..]);
        let dnf5 = ("usr/lib/sysimage/libdnf5/packages.toml", toml.as_bytes());
        assert_eq!(automatic(&marks(&[dnf5, zypper]).0), "curl zlib");
        assert_eq!(automatic(&marks(&[zypper]).0), "bash zlib");
        let urpmi = ("var/lib/rpm/installed-through-deps.list", &b"less\ncurl (required by x)\n"[..]);
        assert_eq!(automatic(&marks(&[urpmi]).0), "curl less");
        let yum = [
            ("var/lib/yum/yumdb/b/0f-bash-5.1-2-x86_64/reason", &b"user"[..]),
            ("var/lib/yum/yumdb/c/0f-curl-7-1-x86_64/reason", b"dep"),
            ("var/lib/yum/yumdb/z/0f-zlib-1.2-9-x86_64/reason", b"dep"),
        ];
        assert_eq!(automatic(&marks(&yum).0), "curl");
        assert_eq!(marks(&[]), (Marks::None, 0));
    }

    #[test]
    fn load_history_newest_transaction_decides() {
        let file = |name: &str| unpacked(&directory("made-dnf-history").join(name)).unwrap();
        let (database, log) = (file("history.sqlite"), file("history.sqlite-wal"));
        let path = "var/lib/dnf/history.sqlite";
        assert_eq!(automatic(&marks(&[(path, &database)]).0), "bash zlib less");
        let with_log = marks(&[(path, &database), ("var/lib/dnf/history.sqlite-wal", &log)]);
        assert_eq!((automatic(&with_log.0).as_str(), with_log.1), ("curl zlib less", 0));
    }

    #[test]
    fn load_damaged_history_is_noted_and_next_record_used() {
        let (found, notes) = marks(&[
            ("var/lib/dnf/history.sqlite", b"SQLite format 3\0"),
            ("var/lib/yum/yumdb/z/0f-zlib-1.2-3-x86_64/reason", b"dep\n"),
        ]);
        assert_eq!((automatic(&found).as_str(), notes), ("zlib", 1));
    }
}
