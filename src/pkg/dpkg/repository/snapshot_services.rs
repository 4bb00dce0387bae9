//! The services that keep earlier states of the distributions' repositories.

use super::address::Address;
use super::release::{Release, SNAPSHOT_ID};
use super::source::{Source, Style};

/// Where the sources found here stand for the build, without the format's ending.
const FILE: &str = "etc/apt/sources.list.d/vm2docker-self";

/// One of the distributions' archives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Debian,
    DebianSecurity,
    Ubuntu,
}

/// Who keeps what of an archive. As of November 2026, by debuerreotype (`.snapshot-url.sh`, `.debian-mirror.sh`), by
/// apt 3.0 (`Acquire::Snapshots::URI`), and by Ubuntu's documentation of snapshot.ubuntu.com.
pub(super) struct SnapshotService {
    pub(super) kind: Kind,
    /// The archive of releases that have ended.
    pub(super) ended: &'static str,
    /// Earlier states, with [`SNAPSHOT_ID`] in the address; the second is asked where the first has none.
    pub(super) states: &'static [&'static str],
    /// From when on there are states, in seconds since 1970.
    pub(super) since: i64,
}

pub(super) const KEEPERS: [SnapshotService; 3] = [
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

/// Whether earlier states of the repository are available somewhere.
pub(super) fn is_kept(source: &Source, release: &Release) -> bool {
    release.snapshots.is_some() || kind(source, release).is_some()
}

/// A source that names a snapshot by its time (`Snapshot: 20240301T000000Z`) gets that snapshot's own address, which
/// every apt understands.
pub(super) fn resolve(source: &mut Source) {
    let Some(stamp) =
        source.option("Snapshot").filter(|id| id.starts_with(|first: char| first.is_ascii_digit()))
    else {
        return;
    };
    let keeper = KEEPERS.iter().find(|keeper| Some(keeper.kind) == kind(source, &Release::default()));
    if let Some(keeper) = keeper {
        let uri = keeper.states[0].replace(SNAPSHOT_ID, stamp);
        let (file, style) = (source.file.clone(), source.style);
        *source = Source { file, style, ..earlier(source, uri) };
    }
}

/// A source as it was, elsewhere; its release file counts however old it is.
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

/// Which archive it is: by its release file, or else by the end of its address.
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
