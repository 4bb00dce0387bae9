//! What apt's cached indexes offer: `/var/lib/apt/lists/*_Packages`.
//!
//! The indexes of a distribution have 50 MB and more; they are scanned in
//! pieces for the packages asked for, and nothing else is kept.

use super::dpkg::Package;
use crate::findings::Findings;
use crate::root::Root;
use memchr::memmem;
use rayon::prelude::*;
use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, ErrorKind::NotFound, Read};

const DIRECTORY: &[u8] = b"var/lib/apt/lists";
/// The kind of the findings about indexes that cannot be used.
const KIND: &str = "package-index";
/// Read at once; a stanza longer than the limit ends the file's reading.
const PIECE: usize = 1 << 20;
const STANZA_LIMIT: usize = 16 << 20;
/// Unpacked size beyond which an index is not one.
const INDEX_LIMIT: u64 = 4 << 30;

/// One version of one package, as apt's `name:architecture=version`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pin {
    /// The package's name.
    pub name: String,
    /// Its version, compared as text.
    pub version: String,
    /// Its architecture, `all` included.
    pub architecture: String,
}

impl From<&Package> for Pin {
    fn from(package: &Package) -> Self {
        let Package { name, version, architecture, .. } = package;
        Pin { name: name.clone(), version: version.clone(), architecture: architecture.clone() }
    }
}

impl std::fmt::Display for Pin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}={}", self.name, self.architecture, self.version)
    }
}

/// What the cached indexes say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lists {
    /// Whether there was any index that could be read; without one nothing is known to be missing.
    pub present: bool,
    /// The newest `Date` of a release file, as written there (RFC 5322, in UTC).
    pub date: Option<String>,
    /// Those asked for that some index offers.
    pub available: BTreeSet<Pin>,
}

/// Reads all indexes and release files of a root. An index that is damaged or compressed in a way that is not known
/// becomes a note.
pub fn read(root: &Root, asked: &BTreeSet<Pin>, findings: &mut Findings) -> Lists {
    let names = match root.list(DIRECTORY) {
        Ok(names) => names,
        Err(error) => {
            if error.kind() != NotFound {
                findings.note("unreadable", DIRECTORY, error.to_string());
            }
            return Lists::default();
        }
    };
    let asked = Asked::new(asked);
    let indexes: Vec<(&Vec<u8>, io::Result<BTreeSet<Pin>>)> = names
        .par_iter()
        .filter(|name| is_index(name))
        .map(|name| (name, open(root, name).and_then(|reader| scan_all(reader, &asked))))
        .collect();
    let mut lists = Lists::default();
    for (name, result) in indexes {
        match result {
            Ok(available) => {
                lists.present = true;
                lists.available.extend(available);
            }
            Err(error) => findings.note(KIND, &path(name), format!("not used: {error}")),
        }
    }
    let is_release = |name: &&Vec<u8>| name.ends_with(b"_InRelease") || name.ends_with(b"_Release");
    let dates =
        names.iter().filter(is_release).filter_map(|name| release_date(&root.read(&path(name)).ok()?));
    lists.date = dates.max_by(|a, b| date_key(a).cmp(&date_key(b)));
    lists
}

/// The ones asked for in one piece of an index, in whole stanzas.
pub fn scan(bytes: &[u8], asked: &BTreeSet<Pin>) -> BTreeSet<Pin> {
    let mut found = BTreeSet::new();
    Asked::new(asked).scan(bytes, &mut found);
    found
}

/// The `Date` field of a release file, signed or not.
pub fn release_date(bytes: &[u8]) -> Option<String> {
    let line = bytes.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"Date:"))?;
    let text = std::str::from_utf8(line).ok()?.trim();
    date_key(text).map(|_| text.to_owned())
}

struct Asked<'a> {
    by_name: HashMap<&'a [u8], Vec<&'a Pin>>,
    field: memmem::Finder<'static>,
    gap: memmem::Finder<'static>,
}

impl<'a> Asked<'a> {
    fn new(asked: &'a BTreeSet<Pin>) -> Self {
        let mut by_name: HashMap<&[u8], Vec<&Pin>> = HashMap::with_capacity(asked.len());
        asked.iter().for_each(|pin| by_name.entry(pin.name.as_bytes()).or_default().push(pin));
        Asked { by_name, field: memmem::Finder::new(b"\nPackage:"), gap: memmem::Finder::new(b"\n\n") }
    }

    fn scan(&self, bytes: &[u8], found: &mut BTreeSet<Pin>) {
        let first = bytes.starts_with(b"Package:").then_some(0);
        // A match begins with the line end before the field.
        for start in first.into_iter().chain(self.field.find_iter(bytes).map(|at| at + 1)) {
            let rest = &bytes[start + b"Package:".len()..];
            let name = rest[..memchr::memchr(b'\n', rest).unwrap_or(rest.len())].trim_ascii();
            let Some(pins) = self.by_name.get(name) else { continue };
            let begin = memmem::rfind(&bytes[..start], b"\n\n").map_or(0, |at| at + 2);
            let end = self.gap.find(&bytes[start..]).map_or(bytes.len(), |at| start + at);
            let stanza = &bytes[begin..end];
            let (version, architecture) = (field(stanza, b"Version:"), field(stanza, b"Architecture:"));
            let fits = |pin: &&&Pin| {
                version == Some(pin.version.as_bytes()) && architecture == Some(pin.architecture.as_bytes())
            };
            found.extend(pins.iter().filter(fits).map(|&pin| pin.clone()));
        }
    }
}

fn field<'a>(stanza: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    stanza.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(name)).map(<[u8]>::trim_ascii)
}

fn scan_all(mut reader: Box<dyn Read>, asked: &Asked<'_>) -> io::Result<BTreeSet<Pin>> {
    let mut found = BTreeSet::new();
    let mut buffer = Vec::new();
    let mut total = 0;
    loop {
        let read = (&mut reader).take(PIECE as u64).read_to_end(&mut buffer)?;
        total += read as u64;
        if read == 0 {
            asked.scan(&buffer, &mut found);
            return Ok(found);
        }
        match memmem::rfind(&buffer, b"\n\n") {
            Some(gap) => {
                asked.scan(&buffer[..=gap], &mut found);
                buffer.drain(..gap + 2);
            }
            None if buffer.len() > STANZA_LIMIT => return Err(io::Error::other("not a package index")),
            None => {}
        }
        if total > INDEX_LIMIT {
            return Err(io::Error::other("larger than 4 GiB"));
        }
    }
}

fn is_index(name: &[u8]) -> bool {
    // apt names an index by its address without the scheme: that of a directory or medium of the machine's own begins
    // with the slash, written `_`, and the build does not have it.
    if name.starts_with(b"_") {
        return false;
    }
    let plain = name.iter().rposition(|&byte| byte == b'.').filter(|&dot| !name[dot..].contains(&b'_'));
    name[..plain.unwrap_or(name.len())].ends_with(b"_Packages")
}

fn open(root: &Root, name: &[u8]) -> io::Result<Box<dyn Read>> {
    let file = File::from(root.open_file(&path(name))?);
    let extension = &name[memmem::rfind(name, b"_Packages").map_or(0, |at| at + b"_Packages".len())..];
    match extension {
        b"" => Ok(Box::new(file)),
        b".gz" => Ok(Box::new(flate2::read::MultiGzDecoder::new(io::BufReader::new(file)))),
        b".lz4" => Ok(Box::new(lz4_flex::frame::FrameDecoder::new(file))),
        b".zst" => Ok(Box::new(zstd::stream::read::Decoder::new(file)?)),
        _ => Err(io::Error::new(io::ErrorKind::Unsupported, "compressed in a way that is not read here")),
    }
}

fn path(name: &[u8]) -> Vec<u8> {
    [DIRECTORY, b"/", name].concat()
}

/// Year, month, day and time of a date like `Sat, 09 Sep 2023 10:00:00 UTC`.
fn date_key(text: &str) -> Option<(u32, usize, u32, &str)> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = text.split_ascii_whitespace().skip_while(|word| word.ends_with(','));
    let (day, month, year, time) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let month = MONTHS.iter().position(|name| *name == month)?;
    Some((year.parse().ok()?, month, day.parse().ok()?, time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn pin(text: &str) -> Pin {
        let words: Vec<&str> = text.split(' ').collect();
        Pin { name: words[0].into(), version: words[1].into(), architecture: words[2].into() }
    }

    fn asked() -> BTreeSet<Pin> {
        ["bash 5.2-1 amd64", "bash 5.1-1 amd64", "zsh 5 amd64", "tzdata 2024a all", "last 1 all"]
            .map(pin)
            .into()
    }

    const INDEX: &str = "Package: bash\nArchitecture: amd64\nVersion: 5.2-1\nDescription: x\n Package: zsh\n\n\
        Version: 2024a\nPackage: tzdata\nArchitecture: all\n\nPackage: zsh\nVersion: 5\nArchitecture: i386\n\n\
        Package: bashful\nVersion: 5.1-1\nArchitecture: amd64\n\nPackage: last\nVersion: 1\nArchitecture: all";

    fn expected() -> BTreeSet<Pin> {
        ["bash 5.2-1 amd64", "tzdata 2024a all", "last 1 all"].map(pin).into()
    }

    #[test]
    fn only_the_exact_version_and_architecture_counts() {
        assert_eq!(scan(INDEX.as_bytes(), &asked()), expected());
        assert!(scan(b"", &asked()).is_empty());
        for length in 0..INDEX.len() {
            let found = scan(&INDEX.as_bytes()[..length], &asked());
            assert!(found.is_subset(&expected()), "{length}");
        }
    }

    #[test]
    fn stanzas_may_lie_across_pieces() {
        let long = format!("Package: pad\nDescription: {}\n\n", "x".repeat(PIECE - 60));
        let text = [long.as_str(), INDEX, "\n\n", &long, &long].concat();
        let index = asked();
        let read = |text: String| scan_all(Box::new(io::Cursor::new(text.into_bytes())), &Asked::new(&index));
        assert_eq!(read(text).unwrap(), expected());
        assert!(read("x".repeat(STANZA_LIMIT + 2 * PIECE)).is_err());
    }

    #[test]
    fn every_compression_is_read_and_damage_is_a_note() {
        let dir = tempfile::tempdir().unwrap();
        let lists = dir.path().join("var/lib/apt/lists");
        let root = Root::open(dir.path()).unwrap();
        assert_eq!(read(&root, &asked(), &mut Findings::default()), Lists::default());
        std::fs::create_dir_all(&lists).unwrap();
        let parts: Vec<&str> = INDEX.split("\n\n").collect();
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(parts[1].as_bytes()).unwrap();
        let gz = gz.finish().unwrap();
        let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
        lz4.write_all(parts[4].as_bytes()).unwrap();
        let lz4 = lz4.finish().unwrap();
        let release = |date: &str| {
            format!("-----BEGIN PGP SIGNED MESSAGE-----\n\nSuite: x\nDate: {date}\n").into_bytes()
        };
        for (name, content) in [
            ("a_Packages.zst", zstd::encode_all(parts[0].as_bytes(), 1).unwrap()),
            ("b_Packages.gz", gz.clone()),
            ("c_Packages.lz4", lz4),
            ("d_Packages.xz", Vec::new()),
            ("e_Packages.gz", gz[..gz.len() / 2].to_vec()),
            ("_srv_repo_._Packages", b"not a stanza".to_vec()),
            ("f_Contents-amd64.gz", Vec::new()),
            ("g_InRelease", release("Sat, 09 Sep 2023 10:00:00 UTC")),
            ("h_Release", release("Mon, 01 Jan 2024 09:00:00 UTC")),
            ("i_InRelease", release("nonsense")),
        ] {
            std::fs::write(lists.join(name), content).unwrap();
        }
        let mut findings = Findings::default();
        let got = read(&root, &asked(), &mut findings);
        assert_eq!((got.present, got.available), (true, expected()));
        assert_eq!(got.date.as_deref(), Some("Mon, 01 Jan 2024 09:00:00 UTC"));
        let noted: Vec<_> =
            findings.sorted().iter().map(|f| (f.severity, f.path[f.path.len() - 13..].to_vec())).collect();
        let note = |name: &str| (crate::findings::Severity::Note, name.as_bytes().to_vec());
        assert_eq!(noted, [note("d_Packages.xz"), note("e_Packages.gz")]);
    }
}
