//! Services that keep snapshots of the distributions' repositories.

use super::address::Address;
use super::release::{Release, SNAPSHOT_ID};
use super::source::{Source, Style};

/// Path of the snapshot sources in the build, without the suffix of the format.
const FILE: &str = "etc/apt/sources.list.d/vm2docker-self";

/// One of the distributions' repositories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Debian,
    DebianSecurity,
    Ubuntu,
}

/// A snapshot service of a repository, as of November 2026. Sources: debuerreotype
/// (`.snapshot-url.sh`, `.debian-mirror.sh`), apt 3.0 (`Acquire::Snapshots::URI`), and the
/// documentation of snapshot.ubuntu.com.
pub(super) struct SnapshotService {
    pub(super) kind: Kind,
    /// Repository of releases past their end of life.
    pub(super) ended: &'static str,
    /// URLs of snapshots, with [`SNAPSHOT_ID`]; the second is queried if the first has none.
    pub(super) states: &'static [&'static str],
    /// Time of the first snapshot, in seconds since 1970.
    pub(super) since: i64,
}

pub(super) const SERVICES: [SnapshotService; 3] = [
    SnapshotService {
        kind: Kind::Debian,
        ended: "http://archive.debian.org/debian/",
        states: &[
            "http://snapshot.debian.org/archive/debian/@SNAPSHOTID@/",
            "http://snapshot.debian.org/archive/debian-archive/@SNAPSHOTID@/debian/",
        ],
        since: 1_110_585_600, // 2005-03-12
    },
    SnapshotService {
        kind: Kind::DebianSecurity,
        ended: "http://archive.debian.org/debian-security/",
        states: &[
            "http://snapshot.debian.org/archive/debian-security/@SNAPSHOTID@/",
            "http://snapshot.debian.org/archive/debian-archive/@SNAPSHOTID@/debian-security/",
        ],
        since: 1_110_585_600,
    },
    SnapshotService {
        kind: Kind::Ubuntu,
        ended: "http://old-releases.ubuntu.com/ubuntu/",
        states: &["https://snapshot.ubuntu.com/ubuntu/@SNAPSHOTID@/"],
        since: 1_677_628_800, // 2023-03-01
    },
];

/// Whether a snapshot service exists for the repository.
pub(super) fn is_kept(source: &Source, release: &Release) -> bool {
    release.snapshots.is_some() || kind(source, release).is_some()
}

/// Replaces a source that names a snapshot by its time (`Snapshot: 20240301T000000Z`) with the
/// snapshot's URL, which all versions of apt support.
pub(super) fn resolve(source: &mut Source) {
    let Some(stamp) =
        source.option("Snapshot").filter(|id| id.starts_with(|first: char| first.is_ascii_digit()))
    else {
        return;
    };
    let service = SERVICES.iter().find(|service| Some(service.kind) == kind(source, &Release::default()));
    if let Some(service) = service {
        let uri = service.states[0].replace(SNAPSHOT_ID, stamp);
        let (file, style) = (source.file.clone(), source.style);
        *source = Source { file, style, ..earlier(source, uri) };
    }
}

/// Returns the source with the URL of a snapshot; it accepts an expired release file.
pub(super) fn earlier(source: &Source, uri: String) -> Source {
    let ending = match source.style {
        Style::OneLine => "list",
        Style::Deb822 => "sources",
    };
    let file = format!("{FILE}.{ending}").into_bytes().into();
    let mut source = Source { file, uri, ..source.clone() };
    source.options.retain(|(field, _)| *field != "Snapshot");
    source.set_option("Check-Valid-Until", "no");
    source
}

/// Determines the repository by its release file, else by the end of its address.
pub(super) fn kind(source: &Source, release: &Release) -> Option<Kind> {
    match (release.origin.as_str(), release.label.as_str()) {
        ("Debian", "Debian-Security") => return Some(Kind::DebianSecurity),
        ("Debian" | "Debian Backports", _) => return Some(Kind::Debian),
        ("Ubuntu", _) => return Some(Kind::Ubuntu),
        ("", _) => {}
        _ => return None,
    }
    let address = Address::parse(&source.uri)?;
    match address.path.trim_end_matches('/').rsplit('/').next()? {
        "debian" => Some(Kind::Debian),
        "debian-security" => Some(Kind::DebianSecurity),
        "" if address.host == "security.debian.org" => Some(Kind::DebianSecurity),
        "ubuntu" | "ubuntu-ports" => Some(Kind::Ubuntu),
        _ => None,
    }
}
