//! Addresses of repositories (sources.list(5)): their parts, the names of their cached lists, and
//! whether they need a password.

/// Parts of an address, as written; none contains the user or the password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address<'a> {
    /// Scheme, such as `http`, `cdrom`, `mirror+file`.
    pub scheme: &'a str,
    /// Name and optional port of the server; empty if there is none.
    pub host: &'a str,
    /// Path with its first slash.
    pub path: &'a str,
    /// Whether the address contains a user or a password.
    pub has_user: bool,
    slashes: &'a str,
}

impl<'a> Address<'a> {
    /// Parses an address; `None` without a scheme.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (scheme, rest) = text.split_once(':')?;
        if !scheme.starts_with(|first: char| first.is_ascii_alphabetic()) {
            return None;
        }
        let Some(rest) = rest.strip_prefix("//") else {
            return Some(Address { scheme, host: "", path: rest, has_user: false, slashes: "" });
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (has_user, host) =
            authority.rsplit_once('@').map_or((false, authority), |(_, host)| (true, host));
        Some(Address { scheme, host, path, has_user, slashes: "//" })
    }

    /// Returns the address without user and password, with the final slash that apt adds.
    pub fn plain(&self) -> String {
        let Address { scheme, slashes, host, path, .. } = self;
        let end = if path.ends_with('/') { "" } else { "/" };
        format!("{scheme}:{slashes}{host}{path}{end}")
    }

    /// Whether only the machine can read it: a CD-ROM or a directory.
    pub fn is_local(&self) -> bool {
        matches!(self.scheme, "cdrom" | "file" | "copy" | "mirror+file" | "mirror+copy")
    }

    /// Whether the text of apt_auth.conf(5), similar to netrc(5), has an entry for this address.
    pub fn is_in_auth(&self, auth: &[u8]) -> bool {
        let auth = String::from_utf8_lossy(auth);
        let mut words = auth.split_ascii_whitespace();
        while let Some(word) = words.next() {
            match word {
                "machine" if words.next().is_some_and(|machine| self.is_machine(machine)) => return true,
                "login" | "password" => drop(words.next()),
                _ => {}
            }
        }
        false
    }

    /// Compares with `[protocol://]hostname[:port][/path]`. Without a protocol it means https,
    /// without a port any port.
    fn is_machine(&self, machine: &str) -> bool {
        let (protocol, rest) = machine.split_once("://").map_or((None, machine), |(p, rest)| (Some(p), rest));
        let scheme = match protocol {
            Some(protocol) => protocol == self.scheme,
            None => matches!(self.scheme, "https" | "tor+https" | "mirror+https"),
        };
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let bare = self.host.rsplit_once(':').map_or(self.host, |(name, _)| name);
        scheme && (host == self.host || host == bare) && self.path.starts_with(path)
    }
}

/// Returns the name of the file below `var/lib/apt/lists` for an address (apt's `URItoFileName`).
pub fn list_name(uri: &str) -> String {
    let rest = match Address::parse(uri) {
        Some(Address { host, path, .. }) => format!("{host}{path}"),
        None => uri.to_owned(),
    };
    quote(&rest, br#"\|{}[]<>"^~_=!@#$%^&*"#).replace('/', "_")
}

/// Quotes a path inside a repository for an address: the bytes that apt quotes
/// (`pkgAcquire::URIEncode`), and `?` and `#`, which would end the path.
pub fn quote_path(path: &str) -> String {
    quote(path, b"+~%?#")
}

fn quote(text: &str, bad: &[u8]) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut quoted, byte| {
        match bad.contains(&byte) || !byte.is_ascii_graphic() || byte == b'%' {
            true => quoted.push_str(&format!("%{byte:02x}")),
            false => quoted.push(char::from(byte)),
        }
        quoted
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_user_and_password_are_removed() {
        for (text, plain, local, user) in [
            ("http://example.org/debian", "http://example.org/debian/", false, false),
            ("https://user:p@ss@example.org:8443", "https://example.org:8443/", false, true),
            ("https://token@example.org/x@y/", "https://example.org/x@y/", false, true),
            ("file:/srv/repo", "file:/srv/repo/", true, false),
            ("file:///srv/repo/", "file:///srv/repo/", true, false),
            ("copy:/srv/repo/", "copy:/srv/repo/", true, false),
            ("cdrom:[Debian 12 _Bookworm_]/", "cdrom:[Debian 12 _Bookworm_]/", true, false),
            ("mirror+file:/etc/apt/mirrors", "mirror+file:/etc/apt/mirrors/", true, false),
            ("tor+https://example.org/x/", "tor+https://example.org/x/", false, false),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!(
                (address.plain().as_str(), address.is_local(), address.has_user),
                (plain, local, user)
            );
        }
        assert_eq!(Address::parse("no scheme"), None);
        assert_eq!(Address::parse("/srv:x"), None);
    }

    /// Names that apt 2.6 uses.
    #[test]
    fn list_name_matches_apt() {
        for (uri, name) in [
            (
                "http://example.org/debian/dists/bookworm/InRelease",
                "example.org_debian_dists_bookworm_InRelease",
            ),
            ("http://user:pw@example.org:8000/a_b/x~y/./Packages", "example.org:8000_a%5fb_x%7ey_._Packages"),
            ("file:/srv/repo/./Packages", "_srv_repo_._Packages"),
            ("cdrom:[Debian 12]/dists/bookworm/Release", "%5bDebian%2012%5d_dists_bookworm_Release"),
        ] {
            assert_eq!(list_name(uri), name);
        }
        assert_eq!(quote_path("pool/x/x_1%3a2+b~1_all.deb"), "pool/x/x_1%253a2%2bb%7e1_all.deb");
    }

    #[test]
    fn is_in_auth_other_protocol_server_port_or_path_returns_false() {
        let auth = b"# none\nmachine a.example login x password machine\n\
            machine http://b.example/deb\nlogin x password y machine c.example:8443 login z password p";
        for (uri, known) in [
            ("https://a.example/debian/", true),
            ("https://a.example:8443/debian/", true),
            ("http://a.example/debian/", false),
            ("tor+https://a.example/debian/", true),
            ("http://b.example/debian/", true),
            ("http://b.example/ubuntu/", false),
            ("https://c.example:8443/", true),
            ("https://c.example/", false),
            ("https://example/", false),
            ("https://login/", false),
        ] {
            assert_eq!(Address::parse(uri).unwrap().is_in_auth(auth), known, "{uri}");
        }
    }
}
