//! Detection of secrets by the content of a file instead of its path.
//!
//! ```text
//! bytes ──► Search ──► anchors      bytes that each secret of a kind has; one pass for all kinds
//!             │          └► judge   decides: keys, tokens, passwords, assignments, options
//!             ├──────► packed       compressed files, archives, objects of git, two levels deep
//!             ├──────► rows         values of SQLite databases with their names
//!             └──────► unnamed      texts that are a secret, or that few users can read
//! ```
//!
//! Time is linear: a judge sees at most [`BEHIND`] and [`AHEAD`] bytes around an anchor. A
//! certain secret is withheld. A likely secret is only a note, because users must provide
//! withheld files by hand.

mod anchors;
mod assignments;
mod keys;
pub(crate) mod options;
mod packed;
mod passwords;
mod places;
mod rows;
mod tokens;
mod unnamed;
pub(crate) mod values;
mod words;

use crate::model::holes::ReadHoles;
use crate::model::tree::Node;
use std::io;

/// Bytes before an anchor that a judge sees.
const BEHIND: usize = 1 << 10;
/// Bytes from an anchor on that a judge sees: a web token of Kubernetes has some 1200.
const AHEAD: usize = 8 << 10;
/// Bytes that are looked through at a time.
const WINDOW: usize = 128 << 10;
/// Zeros that a search gets in place of a hole, so that it does not join the text around it.
pub const HOLE: [u8; 64] = [0; 64];
/// Larger archives are not looked into; a note says so.
const LARGEST_ARCHIVE: usize = 16 << 20;

/// Kind of secret in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Secret {
    /// A private key in PEM armor (RFC 7468), of OpenSSH, PGP, PuTTY, age or WireGuard, or in
    /// DER.
    PrivateKey,
    /// A key shared by two sides: OpenVPN, TSIG (RFC 8945), WireGuard.
    SharedKey,
    /// A container of keys: PKCS #12, Java, KeePass, Kerberos keytab, LUKS.
    KeyStore,
    /// A password hash of `crypt(5)`, LDAP or a web framework.
    PasswordHash,
    /// A key of a cloud: AWS, Azure.
    CloudKey,
    /// A token by the prefix that its issuer gave it so that it is found.
    AccessToken,
    /// A signed JSON web token (RFC 7519).
    WebToken,
    /// A URL with user and password (RFC 3986, 3.2.1).
    UrlPassword,
    /// User and password as programs store them: netrc, Docker's `auths`, HTTP's `Authorization`.
    Login,
    /// A password by the name before it.
    Password,
    /// A secret by the file's name.
    Named,
    /// The memory of a process (`core(5)`), which can contain any secret.
    MemoryImage,
    /// Swap space or a hibernation image, which holds memory of the machine.
    SwapSpace,
    /// An archive that could not be searched; no secret is known.
    Unsearched,
}

impl Secret {
    /// Returns the name in English.
    pub fn name(self) -> &'static str {
        match self {
            Secret::PrivateKey => "private key",
            Secret::SharedKey => "shared key",
            Secret::KeyStore => "key store",
            Secret::PasswordHash => "password hash",
            Secret::CloudKey => "cloud access key",
            Secret::AccessToken => "access token",
            Secret::WebToken => "JSON web token",
            Secret::UrlPassword => "URL with a password",
            Secret::Login => "login with its password",
            Secret::Password => "password",
            Secret::Named => "secret by its name",
            Secret::MemoryImage => "memory image of a program",
            Secret::SwapSpace => "swap space",
            Secret::Unsearched => "archive that could not be searched for secrets",
        }
    }
}

/// A secret that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Detection {
    /// Kind of secret.
    pub secret: Secret,
    /// Whether the content is distinctive, so that the file is withheld.
    pub certain: bool,
    /// Whether it is in an archive.
    pub packed: bool,
}

impl Detection {
    /// Returns the detection of a file that a rule by name would withhold in its current state.
    pub fn by_name() -> Self {
        Detection::certain(Secret::Named)
    }

    fn certain(secret: Secret) -> Self {
        Detection { secret, certain: true, packed: false }
    }

    fn likely(secret: Secret) -> Self {
        Detection { secret, certain: false, packed: false }
    }

    /// Returns the reason for which a file is withheld.
    pub fn reason(self) -> String {
        let place = if self.packed { "in an archive" } else { "known by its content" };
        format!("{}, {place}", self.secret.name())
    }

    /// Returns the text of a note about the file.
    pub fn name(self) -> String {
        match self.secret {
            Secret::Unsearched => self.secret.name().to_owned(),
            secret if self.packed => format!("may hold a secret, in an archive: {}", secret.name()),
            secret => format!("may hold a secret: {}", secret.name()),
        }
    }
}

/// How much a name before a value says, by where the file is. Each tier includes the evidence of
/// those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Code and documents: a random value that is named a password is likely one.
    Code,
    /// Data of applications: such a value is a password.
    Data,
    /// A place of configuration, or a text that not all users can read: a value with the letters
    /// and digits of a password is one, too.
    Settings,
    /// Configuration of a program that takes passwords: any value that is named a password is one.
    Configuration,
}

/// Kind of file: what counts as evidence in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Evidence that a name before a value is.
    pub tier: Tier,
    /// Whether only its owner and group can read it, so that a random value needs no name.
    pub is_secluded: bool,
    /// Whether its own name says that it is a secret.
    pub is_named: bool,
}

impl From<Tier> for Kind {
    fn from(tier: Tier) -> Self {
        Kind { tier, is_secluded: false, is_named: false }
    }
}

impl Kind {
    /// Returns the kind of a file by its path and mode. A copy of configuration is configuration. A
    /// file with several names counts as configuration, because any of the names can be the one
    /// that is read.
    pub fn of(path: &[u8], mode: u16, is_linked: bool) -> Self {
        let kind = places::kind(path, mode);
        let is_listed = super::is_configuration(path);
        match is_listed || is_linked {
            true => Kind { tier: Tier::Configuration, ..kind },
            false => kind,
        }
    }

    /// Whether a complete text of this kind can be a secret without a name.
    fn is_closed(self) -> bool {
        self.is_secluded || self.is_named || self.tier >= Tier::Settings
    }
}

/// The bytes around an anchor.
struct View<'a> {
    bytes: &'a [u8],
    at: usize,
    kind: Kind,
}

impl<'a> View<'a> {
    /// Returns the bytes before the anchor.
    fn before(&self) -> &'a [u8] {
        &self.bytes[self.at.saturating_sub(BEHIND)..self.at]
    }

    /// Returns the bytes from the anchor on.
    fn after(&self) -> &'a [u8] {
        let rest = &self.bytes[self.at..];
        &rest[..rest.len().min(AHEAD)]
    }

    /// Whether the anchor begins a word.
    fn begins_word(&self) -> bool {
        !self.before().last().is_some_and(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(byte))
    }
}

/// Whether a file begins as swap space does.
///
/// The signature is at the end of the first page, whose size depends on the CPU (`mkswap(8)`;
/// `union swap_header` in Linux's `include/linux/swap.h`). Hibernation replaces it.
fn is_swap_space(head: &[u8]) -> bool {
    const SIGNATURES: [&[u8; 10]; 5] =
        [b"SWAPSPACE2", b"SWAP-SPACE", b"S1SUSPEND\0", b"S2SUSPEND\0", b"LINHIB0001"];
    let ends = [4096, 8192, 16384, 32768, 65536];
    ends.into_iter().any(|end| {
        head.get(end - 10..end).is_some_and(|bytes| SIGNATURES.iter().any(|signature| *signature == bytes))
    })
}

/// How the bytes become text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// As they are.
    Bytes,
    /// Pairs of bytes of which this one is zero in ASCII: UTF-16.
    Pairs { zero: usize },
}

/// A search through one file, piece by piece; how it is cut makes no difference.
pub struct Search {
    kind: Kind,
    /// Levels of archives that may still be opened.
    depth: u32,
    /// Bytes that are not searched yet, after [`BEHIND`] bytes that are.
    window: Vec<u8>,
    /// Offset in the window at which the search continues.
    from: usize,
    /// `None` until the first bytes are available.
    form: Option<Form>,
    /// A byte of a pair whose other half has not come.
    half: usize,
    is_program: bool,
    /// The archive so far; nothing if it is none, or too large.
    archive: Option<Vec<u8>>,
    /// The text so far, if it can be a secret without a name and is not too long.
    text: Option<Vec<u8>>,
    found: Option<Detection>,
}

impl Search {
    /// A search at the beginning of a file.
    pub fn new(kind: Kind) -> Self {
        Search::at_depth(kind, packed::DEPTH)
    }

    fn at_depth(kind: Kind, depth: u32) -> Self {
        Search {
            kind,
            depth,
            window: Vec::new(),
            from: 0,
            form: None,
            half: 0,
            is_program: false,
            archive: None,
            text: kind.is_closed().then(Vec::new),
            found: None,
        }
    }

    /// Looks at the next bytes of the file.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        self.text = self.text.take().filter(|text| text.len() + bytes.len() <= unnamed::MOST);
        self.text.iter_mut().for_each(|text| text.extend_from_slice(bytes));
        while !bytes.is_empty() && !self.is_done() {
            let room = BEHIND + WINDOW + AHEAD - self.window.len();
            let (now, later) = bytes.split_at(bytes.len().min(room));
            self.take(now);
            bytes = later;
            if self.window.len() == BEHIND + WINDOW + AHEAD {
                self.begin();
                self.look(self.window.len() - AHEAD);
                let kept = self.window.len().saturating_sub(AHEAD + BEHIND);
                self.window.drain(..kept);
                self.from -= kept;
            }
        }
    }

    /// Returns the first certain secret in the order of the file, otherwise the first likely one.
    pub fn finish(mut self) -> Option<Detection> {
        if !self.is_done() {
            self.begin();
            self.look(self.window.len());
        }
        if let Some(archive) = self.archive.take().filter(|_| !self.is_done()) {
            let found = match rows::is_database(&archive) {
                true => rows::search(&archive, self.kind.tier),
                false => packed::search(&archive, self.kind, self.depth),
            };
            found.into_iter().for_each(|found| self.note(found));
        }
        if let Some(text) = self.text.take().filter(|_| !self.is_done() && self.archive.is_none()) {
            unnamed::search(&text, self.kind).into_iter().for_each(|found| self.note(found));
        }
        self.found
    }

    fn is_done(&self) -> bool {
        self.found.is_some_and(|found| found.certain)
    }

    fn take(&mut self, bytes: &[u8]) {
        if let Some(archive) = &mut self.archive {
            if archive.len() + bytes.len() > LARGEST_ARCHIVE {
                // Of a database only the names of columns are not seen: it is searched as bytes.
                let is_database = rows::is_database(archive);
                self.archive = None;
                if !is_database {
                    self.note(Detection::likely(Secret::Unsearched));
                }
            } else {
                archive.extend_from_slice(bytes);
            }
        }
        match self.form {
            Some(Form::Pairs { zero }) => {
                self.window.extend(halves(bytes, zero, self.half));
                self.half = (self.half + bytes.len()) % 2;
            }
            Some(Form::Bytes) | None => self.window.extend_from_slice(bytes),
        }
    }

    /// Detects the properties that only a file's first bytes show.
    fn begin(&mut self) {
        if self.form.is_some() {
            return;
        }
        self.is_program = is_program(&self.window);
        // ELF's type 4, ET_CORE, in either byte order.
        if self.window.starts_with(b"\x7fELF") && matches!(self.window.get(16..18), Some([4, 0] | [0, 4])) {
            self.note(Detection::certain(Secret::MemoryImage));
        } else if is_swap_space(&self.window) {
            self.note(Detection::certain(Secret::SwapSpace));
        } else if keys::is_store(&self.window) {
            self.note(Detection::certain(Secret::KeyStore));
        } else if keys::is_der_key(&self.window) {
            self.note(Detection::certain(Secret::PrivateKey));
        }
        if self.depth > 0 && packed::is_archive(&self.window) || rows::is_database(&self.window) {
            self.archive = Some(self.window.clone());
        }
        let form = form(&self.window);
        // The rows of a database are not configuration, whatever its mode is.
        if self.kind.tier == Tier::Settings
            && form == Form::Bytes
            && memchr::memchr(0, &self.window).is_some()
        {
            self.kind.tier = Tier::Data;
        }
        self.form = Some(form);
        if let Form::Pairs { zero } = form {
            self.half = self.window.len() % 2;
            self.window = halves(&self.window, zero, 0).collect();
        }
    }

    /// Judges the anchors before `end`.
    fn look(&mut self, end: usize) {
        let end = end.min(self.window.len());
        let Search { window, kind, is_program, found, .. } = self;
        anchors::find(window, self.from..end, |judge, at| {
            let view = View { bytes: window, at, kind: *kind };
            if let Some(new) = judge(&view) {
                // Compiled programs hold examples, names of options, and what their tests need.
                let certain = new.certain && (!*is_program || new.secret == Secret::PrivateKey);
                if certain || found.is_none() && (new.certain || !*is_program) {
                    *found = Some(Detection { certain, ..new });
                }
            }
            found.is_some_and(|found| found.certain)
        });
        self.from = end.max(self.from);
    }

    fn note(&mut self, new: Detection) {
        if new.certain || self.found.is_none() {
            self.found = Some(new);
        }
    }
}

/// Returns the secret of a file with this one in its content: a certain one in the values of its
/// extended attributes comes first.
pub fn with_attributes(secret: Option<Detection>, node: &Node) -> Option<Detection> {
    let attributes = node.xattrs.iter().flat_map(|attributes| attributes.iter());
    let search = |name: &[u8], value: &[u8]| {
        let name = name.strip_prefix(b"user.")?;
        let mut search = Search::new(Kind::from(Tier::Settings));
        search.feed(&[name, b"=", value].concat());
        search.finish()
    };
    attributes.filter_map(|(name, value)| search(name, value)).chain(secret).max_by_key(|found| found.certain)
}

/// Searches the rest of `content`. Errors are those of reading it.
pub fn search_rest(content: &mut impl ReadHoles, kind: Kind) -> io::Result<Option<Detection>> {
    let mut search = Search::new(kind);
    let mut buffer = vec![0; WINDOW];
    loop {
        if content.skip_hole() > 0 {
            search.feed(&HOLE);
        }
        match content.read(&mut buffer) {
            Ok(0) => return Ok(search.finish()),
            Ok(got) => search.feed(&buffer[..got]),
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(cause),
        }
    }
}

/// ELF, Python's and Java's compiled code, and message catalogues, by their magic numbers.
fn is_program(head: &[u8]) -> bool {
    matches!(
        head,
        [0x7f, b'E', b'L', b'F', ..]
            | [_, 0x0b..=0x0f, 0x0d, 0x0a, _, 0, 0, 0, ..]
            | [0xca, 0xfe, 0xba, 0xbe, ..]
            | [0xde, 0x12, 0x04, 0x95, ..]
            | [0x95, 0x04, 0x12, 0xde, ..]
    )
}

/// UTF-16 by its byte order mark, or by a beginning in which every second byte is zero.
fn form(head: &[u8]) -> Form {
    let pairs = head[..head.len().min(64)].as_chunks::<2>().0;
    let all =
        |zero: usize| pairs.len() >= 8 && pairs.iter().all(|pair| pair[zero] == 0 && pair[1 - zero] != 0);
    match head {
        [0xff, 0xfe, ..] => Form::Pairs { zero: 1 },
        [0xfe, 0xff, ..] => Form::Pairs { zero: 0 },
        _ if all(1) => Form::Pairs { zero: 1 },
        _ if all(0) => Form::Pairs { zero: 0 },
        _ => Form::Bytes,
    }
}

/// The halves of pairs that hold ASCII; `first` is the place of the first byte in its pair.
fn halves(bytes: &[u8], zero: usize, first: usize) -> impl Iterator<Item = u8> {
    bytes.iter().enumerate().filter(move |(at, _)| (at + first) % 2 != zero).map(|(_, byte)| *byte)
}

#[cfg(test)]
mod forms_tests;
#[cfg(test)]
mod tests;
