//! One package of a database: the values of its header.

use crate::pkg::rpm::files::Files;
use crate::pkg::rpm::header::{Header, Numbers, Strings};
use crate::pkg::rpm::relation::{Relation, Sense};
use crate::pkg::rpm::source::Damage;
use crate::pkg::rpm::version::Evr;

/// An installed package. Texts are bytes as the package states them: not checked, possibly not in
/// UTF-8.
#[derive(Clone, Debug)]
pub struct Package<'a> {
    /// Name. `gpg-pubkey` is the name of imported keys, which are not packages.
    pub name: &'a [u8],
    /// Epoch. `None` compares as 0.
    pub epoch: Option<u32>,
    /// Version.
    pub version: &'a [u8],
    /// Release.
    pub release: &'a [u8],
    /// Architecture. `None` for imported keys.
    pub architecture: Option<&'a [u8]>,
    /// Operating system, `linux`.
    pub os: Option<&'a [u8]>,
    /// Vendor.
    pub vendor: Option<&'a [u8]>,
    /// Name of the distribution.
    pub distribution: Option<&'a [u8]>,
    /// License.
    pub license: Option<&'a [u8]>,
    /// Untranslated summary.
    pub summary: Option<&'a [u8]>,
    /// File name of the source package.
    pub source_rpm: Option<&'a [u8]>,
    /// Module stream that the package belongs to: `name:stream:version:context`.
    pub modularity_label: Option<&'a [u8]>,
    /// Size of all files in bytes.
    pub size: u64,
    /// Time of the build, in seconds since 1970.
    pub build_time: Option<u64>,
    /// Time of the installation, in seconds since 1970.
    pub install_time: Option<u64>,
    /// Whether it was installed only as a dependency (tag `AUTOINSTALLED`). rpm reserves the tag
    /// and does not write it: the tools above it record the reason elsewhere.
    pub automatic: Option<bool>,
    /// Its files.
    pub files: Files<'a>,
    header: Header<'a>,
}

/// Kinds of relations to other packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RelationKind {
    /// `Provides`
    Provides,
    /// `Requires`
    Requires,
    /// `Conflicts`
    Conflicts,
    /// `Obsoletes`
    Obsoletes,
    /// `Recommends`
    Recommends,
    /// `Suggests`
    Suggests,
    /// `Supplements`: the reverse of `Recommends`
    Supplements,
    /// `Enhances`: the reverse of `Suggests`
    Enhances,
}

impl RelationKind {
    /// All kinds.
    pub const ALL: [RelationKind; 8] = [
        RelationKind::Provides,
        RelationKind::Requires,
        RelationKind::Conflicts,
        RelationKind::Obsoletes,
        RelationKind::Recommends,
        RelationKind::Suggests,
        RelationKind::Supplements,
        RelationKind::Enhances,
    ];

    /// Returns the tags of names, flags and versions.
    fn tags(self) -> [u32; 3] {
        match self {
            RelationKind::Provides => [1047, 1112, 1113],
            RelationKind::Requires => [1049, 1048, 1050],
            RelationKind::Conflicts => [1054, 1053, 1055],
            RelationKind::Obsoletes => [1090, 1114, 1115],
            RelationKind::Recommends => [5046, 5048, 5047],
            RelationKind::Suggests => [5049, 5051, 5050],
            RelationKind::Supplements => [5052, 5054, 5053],
            RelationKind::Enhances => [5055, 5057, 5056],
        }
    }

    /// Returns the tags that SUSE used before rpm 4.12, and whether the relations of this kind have
    /// the flag [`Sense::STRONG`] there.
    fn old_tags(self) -> Option<([u32; 3], bool)> {
        const SUGGESTS: [u32; 3] = [1156, 1158, 1157];
        const ENHANCES: [u32; 3] = [1159, 1161, 1160];
        match self {
            RelationKind::Recommends => Some((SUGGESTS, true)),
            RelationKind::Suggests => Some((SUGGESTS, false)),
            RelationKind::Supplements => Some((ENHANCES, true)),
            RelationKind::Enhances => Some((ENHANCES, false)),
            _ => None,
        }
    }
}

impl<'a> Package<'a> {
    /// Parses a header. All parts are checked, so that reading them later cannot fail. The error
    /// has an offset in the header.
    pub fn parse(blob: &'a [u8]) -> Result<Self, Damage> {
        let header = Header::parse(blob)?;
        let required =
            |tag, name| header.string(tag)?.ok_or_else(|| Damage::at(0, format!("the header has no {name}")));
        // Very old packages have a number instead of a name here.
        let system = |tag| header.string(tag).unwrap_or_default();
        let size = header.number(5009)?.or(header.number(1009)?);
        let package = Package {
            name: required(1000, "name")?,
            epoch: header.number(1003)?.map(|epoch| epoch as u32),
            version: required(1001, "version")?,
            release: required(1002, "release")?,
            architecture: system(1022),
            os: system(1021),
            vendor: header.string(1011)?,
            distribution: header.string(1010)?,
            license: header.string(1014)?,
            summary: header.string(1004)?,
            source_rpm: header.string(1044)?,
            modularity_label: header.string(5096)?,
            size: size.unwrap_or_default(),
            build_time: header.number(1006)?,
            install_time: header.number(1008)?,
            automatic: header.number(5094)?.map(|automatic| automatic != 0),
            files: Files::parse(&header)?,
            header,
        };
        for kind in RelationKind::ALL {
            Table::of(&package.header, kind.tags())?;
            kind.old_tags().map(|(tags, _)| Table::of(&package.header, tags)).transpose()?;
        }
        Ok(package)
    }

    /// Returns the epoch as text, if there is one, for [`Package::evr`].
    pub fn epoch_text(&self) -> Option<String> {
        self.epoch.map(|epoch| epoch.to_string())
    }

    /// Returns the version with all parts that affect its order. `epoch` is the result of
    /// [`Package::epoch_text`].
    pub fn evr<'b>(&'b self, epoch: Option<&'b str>) -> Evr<'b> {
        Evr { epoch: epoch.map(str::as_bytes), version: self.version, release: Some(self.release) }
    }

    /// Returns `[epoch:]version-release`.
    pub fn full_version(&self) -> Vec<u8> {
        let epoch = self.epoch.map(|epoch| format!("{epoch}:")).unwrap_or_default();
        [epoch.as_bytes(), self.version, b"-", self.release].concat()
    }

    /// Returns the relations of one kind, in the order of the package.
    pub fn relations(&self, kind: RelationKind) -> impl Iterator<Item = Relation<'a>> {
        let table = |tags| Table::of(&self.header, tags).ok().flatten();
        let relations = |table: Option<Table<'a>>| table.into_iter().flat_map(|table| table.relations());
        let old = kind.old_tags();
        let is_strong = old.is_some_and(|(_, is_strong)| is_strong);
        let old = relations(old.and_then(|(tags, _)| table(tags)));
        let old = old.filter(move |relation| relation.sense.has(Sense::STRONG) == is_strong);
        relations(table(kind.tags())).chain(old)
    }

    /// Returns the index of the header, for other tags.
    pub fn header(&self) -> &Header<'a> {
        &self.header
    }
}

/// Three parallel arrays of relations.
#[derive(Clone, Copy, Debug)]
struct Table<'a> {
    names: Strings<'a>,
    flags: Option<Numbers<'a>>,
    versions: Option<Strings<'a>>,
}

impl<'a> Table<'a> {
    /// Returns the relations with these tags of names, flags and versions; `None` if there are
    /// none. It is an error if the numbers of elements differ.
    fn of(header: &Header<'a>, [names, flags, versions]: [u32; 3]) -> Result<Option<Self>, Damage> {
        let tag = names;
        let Some(names) = header.strings(names)? else { return Ok(None) };
        let table = Table { names, flags: header.numbers(flags)?, versions: header.strings(versions)? };
        let expected = names.len();
        let differs = table.flags.is_some_and(|flags| flags.len() != expected)
            || table.versions.is_some_and(|versions| versions.len() != expected);
        if differs {
            let reason = format!("the relations of tag {tag} have different numbers of elements");
            return Err(Damage::at(names.offset(), reason));
        }
        Ok(Some(table))
    }

    fn relations(self) -> impl Iterator<Item = Relation<'a>> {
        let Table { names, flags, mut versions } = self;
        names.enumerate().map(move |(at, name)| {
            let sense = flags.and_then(|flags| flags.get(at)).unwrap_or_default();
            let version = versions.as_mut().and_then(Iterator::next).unwrap_or_default();
            Relation { name, sense: Sense(sense as u32), version }
        })
    }
}
