//! Tests with secrets and with text that only looks like one. All secrets here are invented, in
//! the formats of their issuers.

use crate::policy::content::*;
use std::io::Write;

const DATA: Kind = Kind { tier: Tier::Data, is_secluded: false, is_named: false };
const CONFIGURATION: Kind = Kind { tier: Tier::Configuration, ..DATA };
const BODY: &str = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj";
const B64: &str = "q83vEjRWeJq83vEjRWeJq83vEjRWeJq83vEjRWeJq83vEjRWeJq83vEjRWeJq83vEjRWeJq83vEjRWeJq8";

fn searched(content: &[u8], kind: Kind) -> Option<Detection> {
    let mut search = Search::new(kind);
    search.feed(content);
    search.finish()
}

fn found(content: impl AsRef<[u8]>) -> Option<Secret> {
    searched(content.as_ref(), DATA).filter(|found| found.certain).map(|found| found.secret)
}

fn token(prefix: &str, length: usize) -> String {
    let letters = b"a8Kq2ZtY5mNpR7cVbX0wLsD4fGhJ9uEe3TyU6iOoP1rAxSdFgHjKlZxCvBnMqWe";
    prefix.to_owned() + &(0..length).map(|at| char::from(letters[at % letters.len()])).collect::<String>()
}

fn pem(label: &str) -> String {
    format!("-----BEGIN {label}-----\n{BODY}\n-----END {label}-----\n")
}

fn web_token() -> String {
    // {"alg":"HS256","typ":"JWT"} . {"user":"alice"} . signature
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ1c2VyIjoiYWxpY2UifQ.k3Zt9Qw1Xv7Lp2Rs5Yb8Nc4Md6Gf0Hj".to_owned()
}

/// Secrets in their formats, in the files in which they lie.
fn secrets() -> Vec<(Secret, String)> {
    [tokens(), keys_of_all_sorts(), hashes(), logins()].concat()
}

fn tokens() -> Vec<(Secret, String)> {
    let tokens = [
        ("ghp_", 36),
        ("gho_", 36),
        ("ghs_", 36),
        ("github_pat_", 82),
        ("glpat-", 20),
        ("xoxb-", 50),
        ("sk_live_", 24),
        ("rk_live_", 24),
        ("whsec_", 32),
        ("npm_", 36),
        ("pypi-AgEIcHlwaS5vcmc", 60),
        ("hvs.", 24),
        ("hf_", 34),
        ("dop_v1_", 64),
        ("sk-ant-api03-", 60),
        ("sk-proj-", 60),
        ("tskey-auth-", 30),
        ("GOCSPX-", 28),
        ("shpat_", 32),
    ];
    let forms = tokens.iter().flat_map(|(prefix, length)| {
        let token = token(prefix, *length);
        [token.clone(), format!("export TOKEN={token}\n"), format!("{{\"t\":\"{token}\"}}")]
    });
    let npmrc = format!("//registry.example.org/:_authToken={}", token("", 36));
    forms.chain([npmrc]).map(|text| (Secret::AccessToken, text)).collect()
}

fn keys_of_all_sorts() -> Vec<(Secret, String)> {
    use Secret::{CloudKey, PrivateKey, SharedKey, WebToken};
    let labels =
        ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "OPENSSH PRIVATE KEY", "ENCRYPTED PRIVATE KEY"];
    let mut secrets: Vec<(Secret, String)> = labels.map(|label| (PrivateKey, pem(label))).into();
    let line = pem("PRIVATE KEY").replace('\n', "\\n");
    secrets.extend([
        (PrivateKey, format!("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,0123456789ABCDEF\n\n{BODY}\n")),
        (PrivateKey, format!("-----BEGIN PGP PRIVATE KEY BLOCK-----\nVersion: GnuPG v2\nComment: x - y\n\nlQOYBF{BODY}\n")),
        (PrivateKey, format!("{{\"type\": \"service_account\", \"private_key\": \"{line}\"}}")),
        (PrivateKey, format!("key: |\n    {}", pem("PRIVATE KEY").replace('\n', "\n    "))),
        (PrivateKey, format!("const KEY = \"-----BEGIN PRIVATE KEY-----\\n\" +\n  \"{BODY}\\n\";")),
        (PrivateKey, pem("PRIVATE KEY").replace('\n', "\r\n")),
        (PrivateKey, format!("PuTTY-User-Key-File-3: ssh-ed25519\nPublic-Lines: 1\nAAAA\nPrivate-Lines: 1\n{B64}\n")),
        (PrivateKey, format!("Private-key-format: v1.3\nAlgorithm: 13 (ECDSAP256SHA256)\nPrivateKey: {B64}\n")),
        (PrivateKey, format!("[Interface]\nPrivateKey = {}=\n", &token("", 43))),
        (PrivateKey, format!("AGE-SECRET-KEY-1{}\n", token("", 58).to_ascii_uppercase())),
        (SharedKey, format!("[Peer]\nPresharedKey={}=\n", &token("", 43))),
        (SharedKey, format!("key \"ddns\" {{\n\talgorithm hmac-sha256;\n\tsecret \"{B64}==\";\n}};\n")),
        (SharedKey, "-----BEGIN OpenVPN Static key V1-----\n0123456789abcdef0123456789abcdef\n".to_owned()),
        (CloudKey, format!("aws_access_key_id = AKIA{}\naws_secret_access_key = {}\n", "J2K3L4M5N6P7Q2R3", token("", 40))),
        (CloudKey, format!("DefaultEndpointsProtocol=https;AccountName=x;AccountKey={}==;\n", token("", 86))),
        (CloudKey, format!("Endpoint=sb://x/;SharedAccessKeyName=r;SharedAccessKey={}=\n", token("", 43))),
        (WebToken, format!("token: {}\n", web_token())),
    ]);
    secrets
}

fn hashes() -> Vec<(Secret, String)> {
    use Secret::PasswordHash;
    let hash = |salted: &str, length: usize| format!("alice:{}:19000::::::\n", token(salted, length));
    vec![
        (PasswordHash, hash("$1$saltsalt$", 22)),
        (PasswordHash, hash("$5$saltsalt$", 43)),
        (PasswordHash, hash("$5$rounds=5000$saltsalt$", 43)),
        (PasswordHash, hash("$6$saltsalt$", 86)),
        (PasswordHash, hash("$y$j9T$saltsaltsaltsalt$", 43)),
        (PasswordHash, hash("$2y$10$", 53)),
        (PasswordHash, hash("$2b$12$", 53)),
        (PasswordHash, hash("$apr1$saltsalt$", 22)),
        (PasswordHash, format!("hash='$argon2id$v=19$m=65536,t=3,p=4${}${}'", token("", 22), token("", 43))),
        (PasswordHash, format!("olcRootPW: {{SSHA}}{}\n", token("", 32))),
        (PasswordHash, format!("'pbkdf2_sha256$260000${}${}='", token("", 22), token("", 43))),
        (
            PasswordHash,
            format!("\"SCRAM-SHA-256$4096:{}==${}=:{}=\"", token("", 22), token("", 43), token("", 43)),
        ),
    ]
}

fn logins() -> Vec<(Secret, String)> {
    use Secret::{Login, UrlPassword};
    vec![
        (UrlPassword, "DATABASE_URL=postgres://shop:Tr0ub4dor@db.internal:5432/shop\n".to_owned()),
        (UrlPassword, "redis://:Tr0ub4dor@localhost:6379/0".to_owned()),
        (UrlPassword, "[remote \"origin\"]\n\turl = https://bob:s3cr-x9@git.corp.test/a.git\n".to_owned()),
        (UrlPassword, "amqp://app:p%40ss9word@mq/vhost".to_owned()),
        (UrlPassword, "mongodb+srv://u:Zx9kk2@cluster0.mongodb.net/?w=1".to_owned()),
        (Login, "machine git.corp.test login bob password Tr0ub4dor\n".to_owned()),
        (Login, "machine git.corp.test\n  login bob\n  password Tr0ub4dor\n".to_owned()),
        // bob:Tr0ub4dor
        (Login, "{\"auths\": {\"r.test\": {\"auth\": \"Ym9iOlRyMHViNGRvcg==\"}}}".to_owned()),
        (Login, "curl -H 'Authorization: Basic Ym9iOlRyMHViNGRvcg=='".to_owned()),
        (Login, format!("Authorization: Bearer {}", token("", 40))),
    ]
}

/// Returns text from manuals, templates, patterns and programs that is not secret.
fn look_alikes() -> Vec<String> {
    let mut texts: Vec<String> = [
        // shared-mime-info's patterns, error messages, public parts.
        "-----BEGIN PGP PRIVATE KEY BLOCK-----\0\0\0\0\x01>0=\0\x1b-----BEGIN OPENSSH PRIVATE KEY-----\n",
        "expected -----BEGIN RSA PRIVATE KEY----- at line 1",
        "if text.startswith('-----BEGIN PRIVATE KEY-----'):\n    return load_private_key_from(text)\n",
        "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQ...\n-----END PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\n<your key>\n-----END PRIVATE KEY-----",
        "PuTTY-User-Key-File-2: is the first line",
        "PrivateKey = <base64 of your key>\nPrivateKey=",
        "key \"x\" { algorithm hmac-md5; secret \"changemechangeme\"; };",
        // Tokens that are none.
        "ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "glpat-XXXXXXXXXXXXXXXXXXXX", "sk_live_...", "npm_config_cache_directory_is_in_the_home_directory",
        "hvs.example", "hf_hub_download(repo_id=name)", "this.hf_transfer_is_enabled_by_the_environment",
        "AKIAIOSFODNN7EXAMPLE wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "CAKIAAAAAAAAAAAAAAAA",
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIn0.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c",
        "a.eyJ", "object.eyJust_a_name.more",
        // Hashes: patterns and prefixes.
        "$6$", "$6$salt$hash", "s/$1$2/", "echo $1$2$3", "$2y$10$", "$y$j9T$", "'$5$rounds=5000$usesomesillystri$'",
        "price $5$ and $6$ for you", "{SSHA}", "{SSHA}base64", "$2a$10$......................................................",
        "$1$........$......................",
        // URLs.
        "https://user:password@example.com/", "postgres://user:pass@host/db", "http://user:pass@localhost", "https://$USER:$PASS@host/",
        "https://${USER}:${PASSWORD}@db.internal/", "mysql://root:<password>@db.internal", "ftp://anonymous:xxx@ftp.debian.org",
        "https?://([^:]+):([^@]+)@(.*)", "https://example.org/a:b@c", "http://[::1]:80/@x", "http://host:8080/path@2x.png",
        "proxy: http://%s:%s@%s", "git clone https://git.corp.test:8443/team/x@main", "redis://:@localhost", "svn+ssh://user@host",
        "postgres://app:{{ password }}@db.internal/", "https://alice:changeme@db.internal/", "http://u:****@db.internal",
        "see https://tools.ietf.org: mail me@host", "postgresql://username:yourpassword@db.internal",
        // Logins.
        "machine learning login password", "machine host login user password <password>", "default login anonymous password user@",
        "{\"auths\": {}, \"auth\": \"\"}", "\"auth\": \"required\"", "Authorization: Basic <credentials>", "Authorization: Bearer $TOKEN",
        "Authorization: Bearer YOUR_API_TOKEN_HERE",
    ]
    .map(str::to_owned)
    .into();
    // Public keys, certificates, digests, identifiers.
    texts.extend([
        pem("CERTIFICATE"),
        pem("PUBLIC KEY"),
        pem("PGP PUBLIC KEY BLOCK"),
        pem("RSA PUBLIC KEY"),
        pem("X509 CRL"),
    ]);
    texts.push(format!("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{BODY} bob@host"));
    texts.push("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  file\n".repeat(40));
    texts.push(format!("data:image/png;base64,{}", B64.repeat(40)));
    texts.push("123e4567-e89b-12d3-a456-426614174000".to_owned());
    texts.push(format!("sha512-{B64}== integrity"));
    texts
}

#[test]
fn secrets_are_known() {
    let secrets = secrets();
    for (secret, text) in &secrets {
        assert_eq!(found(text), Some(*secret), "{text}");
    }
    assert!(secrets.len() >= 90, "{}", secrets.len());
}

#[test]
fn search_text_that_looks_secret_returns_none() {
    let texts = look_alikes();
    for text in &texts {
        assert_eq!(found(text), None, "{text}");
    }
    assert!(texts.len() >= 70, "{}", texts.len());
}

#[test]
fn search_secret_at_any_offset_and_chunk_size_is_found() {
    let secrets = secrets();
    let of_each_sort: Vec<_> = secrets.iter().step_by(7).collect();
    for (secret, text) in of_each_sort {
        for at in [1, 63, WINDOW - 30, WINDOW + AHEAD - 17, BEHIND + WINDOW + AHEAD - 5, 3 * WINDOW + 11] {
            let mut content = vec![b'\n'; at];
            content.extend_from_slice(text.as_bytes());
            content.extend_from_slice(&[b'\n'; 100]);
            assert_eq!(found(&content), Some(*secret), "{text} at {at}");
        }
    }
    // At every offset around the border of a window, in pieces of odd sizes.
    let text = format!("x=postgres://shop:Tr0ub4dor@db.internal/\n{}", web_token());
    for at in (BEHIND + WINDOW - 40..BEHIND + WINDOW + 40)
        .chain(BEHIND + WINDOW + AHEAD - 90..BEHIND + WINDOW + AHEAD + 5)
    {
        let mut content = vec![b' '; at];
        content.extend_from_slice(text.as_bytes());
        let mut search = Search::new(DATA);
        content.chunks(4093).for_each(|piece| search.feed(piece));
        assert_eq!(search.finish(), Some(Detection::certain(Secret::UrlPassword)), "{at}");
    }
}

fn utf16(text: &str, big: bool, mark: bool) -> Vec<u8> {
    let mark = if mark { "\u{feff}" } else { "" };
    let units: Vec<u16> = mark.encode_utf16().chain(text.encode_utf16()).collect();
    units.iter().flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
}

#[test]
fn other_forms_are_read() {
    let text = format!("a remark of some length\n{}", pem("PRIVATE KEY"));
    for (big, mark) in [(false, true), (false, false), (true, true), (true, false)] {
        let content = utf16(&text, big, mark);
        assert_eq!(found(&content), Some(Secret::PrivateKey));
        let mut search = Search::new(DATA);
        content.chunks(7).for_each(|piece| search.feed(piece));
        assert_eq!(search.finish(), Some(Detection::certain(Secret::PrivateKey)));
    }
    let encode = |text: &str| {
        let mut out = String::new();
        for group in text.as_bytes().chunks(3) {
            let bits = group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte))
                << (8 * (3 - group.len()));
            let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
            (0..=group.len())
                .for_each(|at| out.push(char::from(letters[(bits >> (18 - 6 * at) & 63) as usize])));
        }
        out
    };
    for before in ["", "x", "xy", "xyz\n"] {
        let encoded = encode(&(before.to_owned() + &pem("OPENSSH PRIVATE KEY")));
        let wrapped: Vec<&str> =
            encoded.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).unwrap()).collect();
        assert_eq!(found(&encoded), Some(Secret::PrivateKey), "{before}");
        assert_eq!(found(wrapped.join("\n")), Some(Secret::PrivateKey), "{before}");
        assert_eq!(found(encode(&(before.to_owned() + &pem("CERTIFICATE")))), None, "{before}");
    }
}

#[test]
fn stores_of_keys_are_known_by_their_magic_numbers() {
    let java = |tag: u8| {
        let mut store = b"\xfe\xed\xfe\xed\0\0\0\x02\0\0\0\x01\0\0\0".to_vec();
        store.extend_from_slice(&[tag, 0, 1, b'a', 0, 0, 0, 0, 0, 0, 0, 0, 0, 5]);
        store.extend_from_slice(b"X.509\0\0\0\x03abc");
        store
    };
    let pkcs12 = |bag: u8| {
        [b"\x30\x82\x09\x00\x02\x01\x03\x30\x82\x08\x00\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01", &[bag][..]]
            .concat()
    };
    for (content, secret) in [
        (java(1), Some(Secret::KeyStore)),
        (java(2), None),
        (pkcs12(2), Some(Secret::KeyStore)),
        (pkcs12(3), None),
        (b"\x03\xd9\xa2\x9a\x67\xfb\x4b\xb5".to_vec(), Some(Secret::KeyStore)),
        (b"LUKS\xba\xbe\0\x02".to_vec(), Some(Secret::KeyStore)),
        ([&b"\x05\x02\0\0\0\x3c"[..], &[1; 60]].concat(), Some(Secret::KeyStore)),
        (b"\x30\x82\x04\xbd\x02\x01\0\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\0\x04\x82\x04".to_vec(), Some(Secret::PrivateKey)),
        (b"\x30\x82\x04\xa4\x02\x01\0\x02\x82\x01\x01\0\xc1".to_vec(), Some(Secret::PrivateKey)),
        (b"\x30\x82\x03\x31\x30\x82\x02\x19\xa0\x03\x02\x01\x02".to_vec(), None),
    ] {
        assert_eq!(found(&content), secret, "{content:x?}");
    }
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn bzip2(content: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn lz4(content: &[u8]) -> Vec<u8> {
    let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn zlib(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn zip(path: &str, content: &[u8]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
    writer.start_file(path, zip::write::SimpleFileOptions::default()).unwrap();
    writer.write_all(content).unwrap();
    writer.finish().unwrap().into_inner()
}

/// A pack of blobs (`gitformat-pack(5)`), with zeros as its checksum.
fn pack(blobs: &[&[u8]]) -> Vec<u8> {
    let mut pack = b"PACK\0\0\0\x02\0\0\0\x02".to_vec();
    for blob in blobs {
        pack.extend([0xb0 | (blob.len() & 15) as u8, (blob.len() >> 4) as u8]);
        pack.extend(zlib(blob));
    }
    [pack, vec![0; 20]].concat()
}

fn tar(path: &str, content: &[u8]) -> Vec<u8> {
    use crate::model::tree::{Kind, Node, Stat};
    let kind = Kind::File { size: content.len() as u64, sha256: None };
    let node = Node { path: path.as_bytes().into(), kind, stat: Stat::default(), group: 0, xattrs: None };
    let mut writer = crate::context::tar::Writer::new(Vec::new());
    writer.append_file(&node, &mut &content[..]).unwrap();
    writer.finish().unwrap()
}

#[test]
fn archives_are_looked_into() {
    let key = pem("PRIVATE KEY").into_bytes();
    let zstd = |content: &[u8]| zstd::encode_all(content, 3).unwrap();
    let packed = Some(Detection { packed: true, ..Detection::certain(Secret::PrivateKey) });
    for archive in [
        gzip(&key),
        zstd(&key),
        gzip(&tar("a/key.pem", &key)),
        zstd(&tar("a/key.pem", &key)),
        tar("a/b.gz", &gzip(&key)),
        gzip(&tar("inner.tar.gz", &gzip(&tar("key", &key)))),
        zip("a/id_rsa", &key),
        zip("a.jar", &zip("key.pem", &key)),
        bzip2(&tar("a/key.pem", &key)),
        lz4(&key),
        zlib(&[b"blob 99\0", &key[..]].concat()),
        pack(&[b"a text", &key]),
    ] {
        assert_eq!(searched(&archive, DATA), packed);
        let mut search = Search::new(DATA);
        archive.chunks(5).for_each(|piece| search.feed(piece));
        assert_eq!(search.finish(), packed);
    }
    // As a file, so as a member: the name says what a value is.
    assert_eq!(
        searched(&gzip(&tar("srv/app/.env", b"DB_PASSWORD=sommer\n")), DATA).map(|found| found.secret),
        Some(Secret::Password)
    );
    assert_eq!(searched(&gzip(&pem("CERTIFICATE").into_bytes()), DATA), None);
    let mut damaged = gzip(&tar("a", &key.repeat(9)));
    damaged.truncate(60);
    assert_eq!(
        searched(&damaged, DATA),
        Some(Detection { packed: true, ..Detection::likely(Secret::Unsearched) })
    );
}

#[test]
fn search_archive_that_unpacks_to_too_much_is_unsearched() {
    let bomb = gzip(&vec![0; 80 << 20]);
    assert!(bomb.len() < 1 << 20);
    let found = searched(&bomb, DATA).unwrap();
    assert_eq!((found.secret, found.certain), (Secret::Unsearched, false));
}

#[test]
fn names_make_values_secret_in_configuration_and_suspicious_elsewhere() {
    let searched = |text: &[u8], kind| searched(text, kind).map(|found| found.certain);
    let (likely, certain) = (Some(false), Some(true));
    for text in [
        "db_password = kR7vX2mQ9z",
        "password: \"kR7vX2mQ9z\"",
        "\"apiKey\": \"kR7vX2mQ9z\",",
        "define('DB_PASSWORD', 'kR7vX2mQ9z');",
        "<password>kR7vX2mQ9z</password>",
        "export SECRET_KEY='kR7vX2mQ9z'",
        "$config['password'] = 'kR7vX2mQ9z';",
        "'password' => 'kR7vX2mQ9z',",
        "PGPASSWORD=kR7vX2mQ9z psql",
    ] {
        assert_eq!(searched(text.as_bytes(), DATA), likely, "{text}");
        assert_eq!(searched(text.as_bytes(), CONFIGURATION), certain, "{text}");
    }
    for text in ["requirepass sommer", "DB_PASSWORD=sommer", "rocommunity gEhe1m", "shared-secret \"x9z\";"] {
        assert_eq!(searched(text.as_bytes(), DATA), None, "{text}");
        assert_eq!(searched(text.as_bytes(), CONFIGURATION), certain, "{text}");
    }
    for text in [
        "password =",
        "password = changeme",
        "password: ${DB_PASSWORD}",
        "password: <password>",
        "# password = kR7vX2mQ9z",
        "password_file = /etc/x/password",
        "password = /run/secrets/password",
        "password = get_password(user)",
        "if password == kR7vX2mQ9z",
        "token_ttl = 3600",
        "password_hash = required",
        "PasswordAuthentication no",
        "KEYMAP=de-latin1-nodeadkeys",
        "password requisite pam_deny.so",
    ] {
        assert_eq!(searched(text.as_bytes(), DATA), None, "{text}");
        let is_pam = text.contains("pam_deny") || text.contains("password_hash");
        assert!(is_pam || searched(text.as_bytes(), CONFIGURATION).is_none(), "{text}");
    }
}

#[test]
fn compiled_programs_hold_examples() {
    let program = |text: &str| [b"\x7fELF\x02\x01\x01\0", text.as_bytes()].concat();
    assert_eq!(found(program("postgres://shop:Tr0ub4dor@db.internal/")), None);
    assert_eq!(found(program(&pem("RSA PRIVATE KEY"))), Some(Secret::PrivateKey));
    let image = [&b"\x7fELF\x02\x01\x01"[..], &[0; 9], b"\x04\0"].concat();
    assert_eq!(found(image), Some(Secret::MemoryImage));
    for page in [4096, 65536] {
        let mut swap = vec![0; 128 << 10];
        swap[page - 10..page].copy_from_slice(b"SWAPSPACE2");
        assert_eq!(found(swap), Some(Secret::SwapSpace), "{page}");
    }
    let python = |text: &str| [b"\x2b\x0e\x0d\x0a\0\0\0\0", text.as_bytes()].concat();
    assert_eq!(found(python("machine h login u password Tr0ub4dor ")), None);
    // Text with the line ends of Windows is not a program.
    assert_eq!(found("a=\r\nmachine h login u password Tr0ub4dor\r\n"), Some(Secret::Login));
}

proptest::proptest! {
    #[test]
    fn however_a_text_is_cut_the_same_is_found(
        parts in proptest::collection::vec(
            proptest::sample::select(&["ghp_", "a8Kq2ZtY5m", "NpR7cVbX0wLsD4fGhJ9uEe3TyU6", "\n", "password=", "://u:", "@h", "\0",
                "-----BEGIN ", "PRIVATE KEY-----", "$6$", "\x1f\u{8b}", ".eyJ", " machine h login u password "][..]),
            0..40,
        ),
        piece in 1..50_usize,
    ) {
        let text = parts.concat();
        let mut search = Search::new(CONFIGURATION);
        text.as_bytes().chunks(piece).for_each(|piece| search.feed(piece));
        proptest::prop_assert_eq!(search.finish(), searched(text.as_bytes(), CONFIGURATION));
    }
}

#[test]
fn time_is_linear_whatever_the_content() {
    let time = |text: &str, length: usize| {
        let content = text.repeat(length / text.len());
        let start = std::time::Instant::now();
        let _ = searched(content.as_bytes(), DATA);
        start.elapsed().as_secs_f64()
    };
    for text in [
        "://",
        "ssword",
        ".eyJ",
        "-----BEGIN ",
        "$6$",
        "machine ",
        "lgorithm hmac-",
        "AKIA",
        "\"auth\":",
        "LS0tLS1CRUdJTi",
    ] {
        let (short, long) = (time(text, 64 << 10).max(1e-3), time(text, 256 << 10));
        assert!(long < 40.0 * short, "{text}: {short} s, then {long} s for four times as much");
    }
}
