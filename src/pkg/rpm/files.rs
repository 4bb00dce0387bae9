//! The files of a package: parallel arrays of its header.

use crate::pkg::rpm::header::{Header, Numbers, Strings};
use crate::pkg::rpm::source::Damage;
use std::collections::HashMap;

/// Longest path in bytes that Linux accepts (`PATH_MAX`).
const MAX_PATH: usize = 4096;

/// How the digests of a package's files were computed (tag 5011, numbers of RFC 4880).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DigestAlgorithm {
    /// RFC 1321; also if the package states no algorithm.
    Md5,
    /// FIPS 180-4.
    Sha1,
    /// FIPS 180-4.
    Sha256,
    /// FIPS 180-4.
    Sha384,
    /// FIPS 180-4.
    Sha512,
    /// FIPS 180-4.
    Sha224,
    /// Any other one, by its number.
    Other(u32),
}

impl DigestAlgorithm {
    fn of(number: Option<u64>) -> Self {
        match number {
            None | Some(0 | 1) => DigestAlgorithm::Md5,
            Some(2) => DigestAlgorithm::Sha1,
            Some(8) => DigestAlgorithm::Sha256,
            Some(9) => DigestAlgorithm::Sha384,
            Some(10) => DigestAlgorithm::Sha512,
            Some(11) => DigestAlgorithm::Sha224,
            Some(other) => DigestAlgorithm::Other(other as u32),
        }
    }
}

/// Flags of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FileFlags(
    /// Bits as rpm stores them.
    pub u32,
);

impl FileFlags {
    /// Configuration file.
    pub const CONFIG: FileFlags = FileFlags(1);
    /// Documentation, which an installation can leave out.
    pub const DOC: FileFlags = FileFlags(1 << 1);
    /// Configuration file that may be absent.
    pub const MISSING_OK: FileFlags = FileFlags(1 << 3);
    /// Configuration file that an update does not replace.
    pub const NO_REPLACE: FileFlags = FileFlags(1 << 4);
    /// Spec file of a source package.
    pub const SPEC: FileFlags = FileFlags(1 << 5);
    /// Path that belongs to the package but is not in its archive.
    pub const GHOST: FileFlags = FileFlags(1 << 6);
    /// License text.
    pub const LICENSE: FileFlags = FileFlags(1 << 7);
    /// Read-me file.
    pub const README: FileFlags = FileFlags(1 << 8);
    /// Public key.
    pub const PUBKEY: FileFlags = FileFlags(1 << 11);
    /// By-product of the build, such as links by build ID.
    pub const ARTIFACT: FileFlags = FileFlags(1 << 12);

    /// Whether all of these flags are set.
    pub fn has(self, flags: FileFlags) -> bool {
        self.0 & flags.0 == flags.0
    }
}

/// Result of the installation for a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileState {
    /// It installed the file: only then the disk has the recorded content.
    Normal,
    /// The path has the file of another package.
    Replaced,
    /// It left the file out: documentation or a language.
    NotInstalled,
    /// It left the file out, because its directory is shared with other machines.
    NetShared,
    /// The path has the file of the same package for another architecture.
    WrongColor,
    /// A state that rpm does not define.
    Other(u8),
}

impl FileState {
    fn of(number: u64) -> Self {
        match number {
            0 => FileState::Normal,
            1 => FileState::Replaced,
            2 => FileState::NotInstalled,
            3 => FileState::NetShared,
            4 => FileState::WrongColor,
            other => FileState::Other(other as u8),
        }
    }
}

/// One file, directory, link or device of a package. Empty texts and zeros stand for values that
/// the package does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct File<'a> {
    /// Directory with a slash at both ends. It can contain doubled slashes.
    pub directory: &'a [u8],
    /// Name in the directory.
    pub name: &'a [u8],
    /// Type and permission bits (inode(7)).
    pub mode: u16,
    /// Name of the owner.
    pub user: &'a [u8],
    /// Name of the group.
    pub group: &'a [u8],
    /// Size in bytes.
    pub size: u64,
    /// Time of the last change, in seconds since 1970.
    pub mtime: u32,
    /// Digest of the content in hexadecimal digits, by [`Files::algorithm`]. Empty for all but
    /// regular files, and for ghosts.
    pub digest: &'a [u8],
    /// Flags.
    pub flags: FileFlags,
    /// Bits of the attributes that `rpm -V` compares.
    pub verify_flags: u32,
    /// Target of a symbolic link.
    pub link_target: &'a [u8],
    /// File capabilities in the notation of cap_from_text(3): `cap_net_raw=ep`.
    pub capabilities: &'a [u8],
    /// State. `None` if the database has none, for example for keys.
    pub state: Option<FileState>,
    /// Color: 1 is ELF of 32 bits, 2 of 64 bits, 0 any other file.
    pub color: u32,
    /// Languages of the file, separated by `|`.
    pub language: &'a [u8],
    /// Device number in the package. Files with equal device and inode are hard links.
    pub device: u32,
    /// Inode number in the package.
    pub inode: u32,
    /// Major and minor number of a device file, as the kernel packs them in 16 bits.
    pub rdev: u16,
}

impl File<'_> {
    /// Returns the absolute path.
    pub fn path(&self) -> Vec<u8> {
        [self.directory, self.name].concat()
    }

    /// Whether it is a regular file.
    pub fn is_regular(&self) -> bool {
        self.mode & 0o170_000 == 0o100_000
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.mode & 0o170_000 == 0o040_000
    }

    /// Whether it is a symbolic link.
    pub fn is_symlink(&self) -> bool {
        self.mode & 0o170_000 == 0o120_000
    }

    /// Returns the digest of `N` bytes. `None` if the digest has another length or there is none.
    pub fn digest_bytes<const N: usize>(&self) -> Option<[u8; N]> {
        let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
        let mut bytes = [0; N];
        if self.digest.len() != 2 * N {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(self.digest.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(bytes)
    }
}

/// The files of a package. The iterator reads them from the header, without a copy.
#[derive(Clone, Debug)]
pub struct Files<'a> {
    /// Algorithm of the digests.
    pub algorithm: DigestAlgorithm,
    count: usize,
    names: Option<Names<'a>>,
    columns: Columns<'a>,
}

#[derive(Clone, Debug)]
enum Names<'a> {
    /// Full paths, as rpm 3 had them.
    Full(Strings<'a>),
    Split {
        names: Strings<'a>,
        indexes: Numbers<'a>,
        /// Bytes of all directories.
        bytes: &'a [u8],
        /// Offset of each directory in `bytes`, and the end of the last one.
        starts: Vec<u32>,
    },
}

#[derive(Clone, Copy, Debug)]
struct Columns<'a> {
    modes: Option<Numbers<'a>>,
    sizes: Option<Numbers<'a>>,
    mtimes: Option<Numbers<'a>>,
    flags: Option<Numbers<'a>>,
    verify_flags: Option<Numbers<'a>>,
    states: Option<Numbers<'a>>,
    colors: Option<Numbers<'a>>,
    devices: Option<Numbers<'a>>,
    inodes: Option<Numbers<'a>>,
    rdevs: Option<Numbers<'a>>,
    users: Option<Strings<'a>>,
    groups: Option<Strings<'a>>,
    digests: Option<Strings<'a>>,
    links: Option<Strings<'a>>,
    capabilities: Option<Strings<'a>>,
    languages: Option<Strings<'a>>,
}

impl<'a> Files<'a> {
    /// Returns the files of a header. It is an error if the numbers of elements differ or a path
    /// is not possible.
    pub(crate) fn parse(header: &Header<'a>) -> Result<Self, Damage> {
        let names = Names::parse(header)?;
        let count = match &names {
            None => 0,
            Some(Names::Full(names) | Names::Split { names, .. }) => names.len(),
        };
        let differs = |tag, offset, found| {
            let reason = format!("tag {tag} has {found} elements for {count} files");
            Damage::at(offset, reason)
        };
        let numbers = |tag| match header.numbers(tag)? {
            Some(numbers) if names.is_some() && numbers.len() != count => {
                Err(differs(tag, numbers.offset(), numbers.len()))
            }
            other => Ok(other),
        };
        let strings = |tag| match header.strings(tag)? {
            Some(strings) if names.is_some() && strings.len() != count => {
                Err(differs(tag, strings.offset(), strings.len()))
            }
            other => Ok(other),
        };
        let sizes = match numbers(5008)? {
            None => numbers(1028)?,
            long => long,
        };
        let columns = Columns {
            modes: numbers(1030)?,
            sizes,
            mtimes: numbers(1034)?,
            flags: numbers(1037)?,
            verify_flags: numbers(1045)?,
            states: numbers(1029)?,
            colors: numbers(1140)?,
            devices: numbers(1095)?,
            inodes: numbers(1096)?,
            rdevs: numbers(1033)?,
            users: strings(1039)?,
            groups: strings(1040)?,
            digests: strings(1035)?,
            links: strings(1036)?,
            capabilities: strings(5010)?,
            languages: strings(1097)?,
        };
        let algorithm = DigestAlgorithm::of(header.number(5011)?);
        Ok(Files { algorithm, count, names, columns })
    }

    /// Returns the number of files.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether the package has no files.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns the files in the order of the package: by path.
    pub fn iter(&self) -> FileIter<'_, 'a> {
        FileIter {
            next: 0,
            names: self.names.as_ref(),
            base: self.names.as_ref().map(Names::strings),
            columns: self.columns,
        }
    }

    /// Returns the positions of files that are hard links of each other, group by group.
    ///
    /// Ghosts are left out, because they are not in the package's archive.
    pub fn link_groups(&self) -> Vec<Vec<u32>> {
        if self.columns.inodes.is_none() {
            return Vec::new();
        }
        let mut groups: HashMap<(u32, u32), Vec<u32>> = HashMap::new();
        for (at, file) in (0..).zip(self.iter()) {
            if file.is_regular() && !file.flags.has(FileFlags::GHOST) {
                groups.entry((file.device, file.inode)).or_default().push(at);
            }
        }
        let mut groups: Vec<_> = groups.into_values().filter(|group| group.len() > 1).collect();
        groups.sort_unstable();
        groups
    }
}

impl<'a> Names<'a> {
    fn parse(header: &Header<'a>) -> Result<Option<Self>, Damage> {
        let Some(names) = header.strings(1117)? else {
            let Some(paths) = header.strings(1027)? else { return Ok(None) };
            if paths.clone().any(|path| path.len() > MAX_PATH) {
                return Err(Damage::at(paths.offset(), "a path is longer than possible"));
            }
            return Ok(Some(Names::Full(paths)));
        };
        let damage = |reason: &str| Damage::at(names.offset(), reason);
        let directories = header.strings(1118)?.ok_or_else(|| damage("the files have no directories"))?;
        let indexes = header.numbers(1116)?.ok_or_else(|| damage("the files have no directories"))?;
        if indexes.len() != names.len() {
            return Err(damage("the files have another number of directories"));
        }
        let bytes = directories.bytes();
        let ends = memchr::memchr_iter(0, bytes).map(|end| end as u32 + 1);
        let starts: Vec<u32> = std::iter::once(0).chain(ends).collect();
        let names_list = Names::Split { names, indexes, bytes, starts };
        for (at, name) in names.enumerate() {
            let directory = names_list.directory(at).ok_or_else(|| damage("a file has no directory"))?;
            if directory.len() + name.len() > MAX_PATH {
                return Err(damage("a path is longer than possible"));
            }
        }
        Ok(Some(names_list))
    }

    fn strings(&self) -> Strings<'a> {
        match self {
            Names::Full(names) | Names::Split { names, .. } => *names,
        }
    }

    /// Returns the directory of the file at a position. `None` for full paths, and if there is
    /// none.
    fn directory(&self, at: usize) -> Option<&'a [u8]> {
        let Names::Split { indexes, bytes, starts, .. } = self else { return None };
        let index = usize::try_from(indexes.get(at)?).ok()?;
        let (start, end) = (*starts.get(index)?, *starts.get(index.checked_add(1)?)?);
        bytes.get(start as usize..end as usize - 1)
    }
}

/// Iterator over the files of a package.
#[derive(Clone, Debug)]
pub struct FileIter<'b, 'a> {
    next: usize,
    names: Option<&'b Names<'a>>,
    base: Option<Strings<'a>>,
    columns: Columns<'a>,
}

impl<'a> Iterator for FileIter<'_, 'a> {
    type Item = File<'a>;

    fn next(&mut self) -> Option<File<'a>> {
        let name = self.base.as_mut()?.next()?;
        let at = self.next;
        self.next += 1;
        let (directory, name) = self.names?.directory(at).map_or_else(
            || name.split_at(memchr::memrchr(b'/', name).map_or(0, |slash| slash + 1)),
            |directory| (directory, name),
        );
        let columns = &mut self.columns;
        let number = |column: Option<Numbers<'_>>| column.and_then(|column| column.get(at));
        let or_zero = |column| number(column).unwrap_or_default();
        Some(File {
            directory,
            name,
            mode: or_zero(columns.modes) as u16,
            user: next_string(&mut columns.users),
            group: next_string(&mut columns.groups),
            size: or_zero(columns.sizes),
            mtime: or_zero(columns.mtimes) as u32,
            digest: next_string(&mut columns.digests),
            flags: FileFlags(or_zero(columns.flags) as u32),
            verify_flags: or_zero(columns.verify_flags) as u32,
            link_target: next_string(&mut columns.links),
            capabilities: next_string(&mut columns.capabilities),
            state: number(columns.states).map(FileState::of),
            color: or_zero(columns.colors) as u32,
            language: next_string(&mut columns.languages),
            device: or_zero(columns.devices) as u32,
            inode: or_zero(columns.inodes) as u32,
            rdev: or_zero(columns.rdevs) as u16,
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.base.map_or((0, Some(0)), |base| base.size_hint())
    }
}

impl ExactSizeIterator for FileIter<'_, '_> {}

fn next_string<'a>(column: &mut Option<Strings<'a>>) -> &'a [u8] {
    column.as_mut().and_then(Iterator::next).unwrap_or_default()
}
