//! Plants a canary in each location of a secret, in each form, and checks that no context
//! contains one in any form.
#![expect(clippy::unwrap_used, reason = "a test")]

mod support;

use memchr::memmem;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use support::tool::{Place, Ran};
use vm2docker_self::context::tar::Reader;
use vm2docker_self::policy;
use vm2docker_self::policy::Action;

/// How every canary begins; what follows is its own.
const TAG: &str = "Kn4rVogL";
/// Home directories: of the administrator, of a person, of a service.
const HOMES: [&str; 3] = ["root", "home/alice", "srv/app"];
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// A machine that is being laid out, and the canaries on it.
struct Machine<'a> {
    root: &'a Path,
    count: u32,
    /// Paths with a canary.
    planted: Vec<String>,
}

impl Machine<'_> {
    /// 32 letters and digits that are nowhere else.
    fn canary(&mut self) -> String {
        self.count += 1;
        let digest = Sha256::digest(self.count.to_le_bytes());
        let own: String =
            digest.iter().take(24).map(|byte| char::from(DIGITS[usize::from(byte % 62)])).collect();
        format!("{TAG}{own}")
    }

    fn plant(&mut self, path: &str, content: impl AsRef<[u8]>) {
        let at = self.root.join(path);
        fs::create_dir_all(at.parent().unwrap()).unwrap_or_else(|cause| panic!("{path}: {cause}"));
        fs::write(&at, content).unwrap_or_else(|cause| panic!("{path}: {cause}"));
        self.planted.push(path.to_owned());
    }

    fn link(&mut self, path: &str) {
        let name = format!("srv/innocent/link-{}", self.planted.len());
        fs::create_dir_all(self.root.join("srv/innocent")).unwrap();
        fs::hard_link(self.root.join(path), self.root.join(&name)).unwrap();
        self.planted.push(name);
    }
}

/// Paths that a pattern of the table is about.
fn instances(pattern: &str) -> Vec<String> {
    let choices: Vec<String> = match (pattern.find('{'), pattern.find('}')) {
        (Some(open), Some(close)) => {
            let choices = pattern[open + 1..close].split(',');
            choices.map(|choice| format!("{}{choice}{}", &pattern[..open], &pattern[close + 1..])).collect()
        }
        _ => vec![pattern.to_owned()],
    };
    let concrete = |pattern: String| {
        let path =
            pattern.replace("**/*", "deep/er/f").replace("**", "deep/f").replace("?*", "q").replace('*', "x");
        if path.ends_with('/') { path + "f" } else { path }
    };
    let in_homes = |path: String| match path.strip_prefix("~/") {
        Some(rest) => HOMES.iter().map(|home| format!("{home}/{rest}")).collect(),
        None => vec![path],
    };
    choices.into_iter().map(concrete).flat_map(in_homes).collect()
}

/// A canary in every row, as a copy, and under another name where the file is secret.
fn plant_rows(machine: &mut Machine<'_>) -> usize {
    let mut rows = 0;
    for (pattern, action, _) in policy::rows() {
        // The machine's name is not secret.
        if matches!(action, Action::Keep | Action::Rewrite | Action::Runtime) {
            continue;
        }
        rows += 1;
        for path in instances(pattern) {
            let canary = machine.canary();
            machine.plant(&path, canary);
            if matches!(action, Action::Withhold | Action::DropSecret) && !pattern.ends_with('/') {
                for ending in ["~", ".bak", ".dpkg-old", ".rpmsave", "-", ".20240131", ".1"] {
                    let canary = machine.canary();
                    machine.plant(&format!("{path}{ending}"), canary);
                }
            }
            if matches!(action, Action::Withhold | Action::DropSecret | Action::Regenerate) {
                machine.link(&path);
            }
        }
    }
    rows
}

/// Plants hashes and numbers in the files that are rewritten.
fn plant_accounts(machine: &mut Machine<'_>) {
    let mut passwd = String::new();
    let mut shadow = String::new();
    for (name, home) in ["root", "alice", "app"].iter().zip(HOMES) {
        passwd += &format!("{name}:{}:0:0::/{home}:/bin/sh\n", machine.canary());
        shadow += &format!("{name}:$6$salt${}:19000:0:99999:7:::\n", machine.canary());
    }
    machine.plant("etc/passwd", passwd);
    machine.plant("etc/shadow", &shadow);
    let gshadow = format!("adm:{}::\n", machine.canary());
    machine.plant("etc/gshadow", gshadow);
    for path in ["etc/machine-id", "var/lib/dbus/machine-id"] {
        let canary = machine.canary();
        machine.plant(path, canary);
    }
    machine.link("etc/shadow");
}

/// Secrets that only their content identifies; `@@` is a canary of 32 bytes.
const WRAPPED: &[(&str, &str)] = &[
    ("pem", "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n@@\n-----END PRIVATE KEY-----\n"),
    ("openssh", "-----BEGIN OPENSSH PRIVATE KEY-----\n@@\n-----END OPENSSH PRIVATE KEY-----\n"),
    (
        "pgp",
        "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nlQOYBF@@\n=abcd\n-----END PGP PRIVATE KEY BLOCK-----\n",
    ),
    (
        "json-key",
        "{\"type\": \"service_account\", \"private_key\": \"-----BEGIN PRIVATE KEY-----\\n@@\\n-----END\"}\n",
    ),
    ("putty", "PuTTY-User-Key-File-3: ssh-ed25519\nPrivate-Lines: 1\n@@\n"),
    ("dnssec", "Private-key-format: v1.3\nAlgorithm: 13\nPrivateKey: @@\n"),
    ("wireguard", "[Interface]\nPrivateKey = @@q7Lm2Rt9Vw4=\n"),
    ("tsig", "key k { algorithm hmac-sha256; secret \"@@==\"; };\n"),
    ("openvpn", "-----BEGIN OpenVPN Static key V1-----\n@@\n-----END OpenVPN Static key V1-----\n"),
    ("crypt", "bob:$6$saltsalt$@@abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ01:1::::::\n"),
    ("bcrypt", "bob:$2y$10$@@abcdefghijklmnopqrstu\n"),
    ("yescrypt", "hash=$y$j9T$saltsaltsalt$@@0123456789a\n"),
    ("ssha", "userPassword: {SSHA}@@\n"),
    ("aws", "[default]\naws_access_key_id = AKIAJ2K3L4M5N6P7Q2R3\naws_secret_access_key = @@abcdEFG1\n"),
    ("azure", "AccountKey=@@abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ01==\n"),
    ("github", "token ghp_@@ab12\n"),
    ("gitlab", "token: glpat-@@\n"),
    ("slack", "xoxb-@@\n"),
    ("stripe", "sk_live_@@\n"),
    ("vault", "hvs.@@\n"),
    ("npm", "//registry.example.org/:_authToken=@@\n"),
    ("jwt", "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ1c2VyIjoiYWxpY2UifQ.@@\n"),
    ("url", "db = postgres://shop:@@@db.internal/shop\n"),
    ("git", "[remote \"origin\"]\n\turl = https://bob:@@@git.internal/a.git\n"),
    ("netrc", "machine git.internal login bob password @@\n"),
    ("bearer", "Authorization: Bearer @@\n"),
];

/// Every wrapped secret in three homes: bare, packed, in other letters.
fn plant_contents(machine: &mut Machine<'_>) {
    for home in HOMES {
        for (name, wrapped) in WRAPPED {
            let mut text = || wrapped.replace("@@", &machine.canary());
            let forms: Vec<(&str, Vec<u8>)> = vec![
                ("txt", text().into_bytes()),
                ("txt.old", format!("{}{}", "an innocent line\n".repeat(20_000), text()).into_bytes()),
                ("gz", gzip(text().as_bytes())),
                ("tgz", gzip(&tar("some/member", text().as_bytes()))),
                ("tar", tar("some/member.gz", &gzip(text().as_bytes()))),
                ("tzst", zstd::encode_all(&tar("some/member", text().as_bytes())[..], 3).unwrap()),
                ("nested", gzip(&tar("inner.tgz", &gzip(&tar("member", text().as_bytes()))))),
                ("utf16", text().encode_utf16().flat_map(u16::to_le_bytes).collect()),
            ];
            for (form, content) in forms {
                machine.plant(&format!("{home}/desk/{name}.{form}"), content);
            }
            if matches!(*name, "pem" | "openssh" | "pgp") {
                let encoded = base64(wrapped.replace("@@", &machine.canary()).as_bytes());
                machine.plant(&format!("{home}/desk/{name}.b64"), format!("data: {encoded}\n"));
            }
            machine.link(&format!("{home}/desk/{name}.txt"));
        }
        let canary = machine.canary();
        let login = base64(format!("bob:{canary}").as_bytes());
        machine.plant(
            &format!("{home}/desk/registry.json"),
            format!("{{\"auths\":{{\"r\":{{\"auth\":\"{login}\"}}}}}}"),
        );
        // Secrets that only the name of a variable identifies, in files that usually contain
        // secrets.
        for (path, text) in [
            (".env", "PORT=80\nDB_PASSWORD=@@\n"),
            ("wp-config.php", "define('DB_PASSWORD', '@@');\n"),
            ("config/database.yml", "production:\n  password: @@\n"),
            ("application.properties", "spring.datasource.password=@@\n"),
            ("appsettings.json", "{\"Smtp\": {\"Password\": \"@@\"}}\n"),
            ("tomcat-users.xml", "<user username=\"a\" password=\"@@\"/>\n"),
            ("redis.conf", "port 6379\nrequirepass @@\n"),
            ("docker-compose.yml", "environment:\n  - MYSQL_ROOT_PASSWORD=@@\n"),
        ] {
            let content = text.replace("@@", &machine.canary());
            machine.plant(&format!("{home}/www/{path}"), content);
            machine.link(&format!("{home}/www/{path}"));
        }
    }
    for (path, text) in [
        ("etc/default/shop", "SHOP_TOKEN=@@\n"),
        ("etc/cron.d/dump", "0 3 * * * root PGPASSWORD=@@ pg_dump shop\n"),
        ("etc/environment", "API_KEY=\"@@\"\n"),
        ("etc/datadog-agent/datadog.yaml", "api_key: @@\n"),
        ("etc/snmp/snmpd.conf", "rocommunity @@\n"),
        ("etc/iscsi/iscsid.conf", "node.session.auth.password = @@\n"),
    ] {
        let content = text.replace("@@", &machine.canary());
        machine.plant(path, content);
    }
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn tar(path: &str, content: &[u8]) -> Vec<u8> {
    use vm2docker_self::model::tree::{Kind, Node, Stat};
    let kind = Kind::File { size: content.len() as u64, sha256: None };
    let node = Node { path: path.as_bytes().into(), kind, stat: Stat::default(), group: 0, xattrs: None };
    let mut writer = vm2docker_self::context::tar::Writer::new(Vec::new());
    writer.append_file(&node, &mut &content[..]).unwrap();
    writer.finish().unwrap()
}

fn base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits =
            group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        (0..=group.len()).for_each(|at| text.push(char::from(DIGITS[(bits >> (18 - 6 * at) & 63) as usize])));
        (group.len()..3).for_each(|_| text.push('='));
    }
    text
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The tag in all forms in which bytes can be written down.
fn needles() -> Vec<Vec<u8>> {
    let tag = TAG.as_bytes();
    let mut needles = vec![
        tag.to_vec(),
        hex(tag).into_bytes(),
        hex(tag).to_uppercase().into_bytes(),
        TAG.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        TAG.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        tag.iter().rev().copied().collect(),
    ];
    // By where in a group of three bytes it begins; the letters that its neighbours share are
    // left out.
    for before in 0..3 {
        let encoded = base64(&[&b"xx"[..before], tag].concat());
        let letters = encoded.trim_end_matches('=');
        let first = [0, 2, 3][before];
        needles.push(letters.as_bytes()[first..letters.len() - 1].to_vec());
    }
    needles
}

/// The bytes and, of archives, what is in them, however deep.
fn openings(name: &str, bytes: Vec<u8>, depth: u32, all: &mut Vec<(String, Vec<u8>)>) {
    if depth > 0 {
        let unpacked = match bytes.as_slice() {
            [0x1f, 0x8b, ..] => {
                let mut content = Vec::new();
                flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut content).ok().map(|_| content)
            }
            [0x28, 0xb5, 0x2f, 0xfd, ..] => zstd::decode_all(&bytes[..]).ok(),
            _ => None,
        };
        if let Some(unpacked) = unpacked {
            openings(name, unpacked, depth - 1, all);
        }
        if bytes.get(257..262) == Some(b"ustar") {
            let mut reader = Reader::new(&bytes[..]);
            while let Ok(Some(mut member)) = reader.next_entry() {
                let path = String::from_utf8_lossy(&member.node.path).into_owned();
                let mut content = Vec::new();
                if member.content.read_to_end(&mut content).is_ok() && !content.is_empty() {
                    openings(&format!("{name}!{path}"), content, depth - 1, all);
                }
            }
        }
    }
    all.push((name.to_owned(), bytes));
}

/// Everything that a run has put out, unpacked. Our own binary is left out.
fn outputs(directory: &Path, all: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            outputs(&path, all);
        } else if path.file_name().unwrap() != "vm2docker-self" {
            openings(&path.display().to_string(), fs::read(&path).unwrap(), 6, all);
        }
    }
}

/// Where a canary is, of all outputs.
fn leaks(outputs: &[(String, Vec<u8>)]) -> BTreeSet<String> {
    let finders: Vec<_> =
        needles().into_iter().map(|needle| memmem::Finder::new(&needle).into_owned()).collect();
    let mut leaks = BTreeSet::new();
    for (name, bytes) in outputs {
        for finder in &finders {
            for at in finder.find_iter(bytes) {
                let around = &bytes[at.saturating_sub(60)..bytes.len().min(at + 40)];
                leaks.insert(format!("{name}: {}", around.escape_ascii()));
            }
        }
    }
    leaks
}

fn said(ran: &Ran) -> [(String, Vec<u8>); 2] {
    [("stdout".to_owned(), ran.out.clone().into_bytes()), ("stderr".to_owned(), ran.err.clone().into_bytes())]
}

#[test]
fn no_canary_leaves_the_machine() {
    let place = Place::new();
    let root = place.root("machine", "file 0644 0:0 /usr/lib/os-release \"ID=debian\\nVERSION_ID=12\\n\"\n");
    let mut machine = Machine { root: &root, count: 0, planted: Vec::new() };
    let rows = plant_rows(&mut machine);
    plant_accounts(&mut machine);
    plant_contents(&mut machine);
    let Machine { count, planted, .. } = machine;
    println!("{count} canaries in {} files, {rows} rows of the table", planted.len());
    assert!(count > 1500 && rows > 150, "{count} canaries, {rows} rows");
    let digests: BTreeSet<String> =
        planted.iter().map(|path| hex(&Sha256::digest(fs::read(root.join(path)).unwrap()))).collect();

    let dry = place.convert("ctx", &["--dry-run", "--json"]).ends(0);
    let ran = place.convert("ctx", &["--verbose"]).ends(0);
    let mut all: Vec<(String, Vec<u8>)> = said(&dry).into_iter().chain(said(&ran)).collect();
    outputs(&place.path("ctx"), &mut all);
    let leaks = leaks(&all);
    assert!(leaks.is_empty(), "{} leaks:\n{}", leaks.len(), leaks.into_iter().collect::<Vec<_>>().join("\n"));

    for (name, bytes) in &all {
        let words = bytes.split(|byte| !byte.is_ascii_hexdigit()).filter(|word| word.len() == 64);
        for word in words {
            let word = String::from_utf8(word.to_ascii_lowercase()).unwrap();
            assert!(!digests.contains(&word), "{name} has the digest of a secret, {word}");
        }
    }
    let manifest = place.manifest("ctx");
    let withheld: Vec<_> = manifest.iter().filter(|record| record["verdict"] == "withhold").collect();
    assert!(withheld.len() > 1000, "{}", withheld.len());
    let todo = String::from_utf8(place.unpacked("ctx", "SECRETS.todo")).unwrap();
    let listed: BTreeSet<&str> = todo.lines().filter_map(|line| line.split('\t').next()).collect();
    for record in withheld {
        let tells = ["sha256", "size", "xattrs"].map(|field| record.get(field).is_some());
        assert_eq!(tells, [false; 3], "{record}");
        let path = record["path"].as_str().unwrap();
        assert!(record["type"] == "directory" || listed.contains(path), "{path} is not in SECRETS.todo");
    }
}

/// The search above can find what is there: the same canaries where nothing makes them secret.
#[test]
fn search_canary_without_secret_context_is_found_in_each_form() {
    let place = Place::new();
    let root = place.root("machine", "file 0644 0:0 /usr/lib/os-release \"ID=debian\\nVERSION_ID=12\\n\"\n");
    let mut machine = Machine { root: &root, count: 0, planted: Vec::new() };
    let canary = machine.canary();
    let forms: [(&str, Vec<u8>); 9] = [
        ("plain", canary.clone().into_bytes()),
        ("gz", gzip(canary.as_bytes())),
        ("tgz", gzip(&tar("member", canary.as_bytes()))),
        ("nested", gzip(&tar("inner", &gzip(&tar("member", canary.as_bytes()))))),
        ("zst", zstd::encode_all(canary.as_bytes(), 3).unwrap()),
        ("base64-0", base64(canary.as_bytes()).into_bytes()),
        ("base64-2", base64(format!("xy{canary}").as_bytes()).into_bytes()),
        ("hex", hex(canary.as_bytes()).into_bytes()),
        ("utf16", canary.encode_utf16().flat_map(u16::to_le_bytes).collect()),
    ];
    for (name, content) in &forms {
        machine.plant(&format!("srv/control/{name}"), content);
    }
    place.convert("ctx", &[] as &[&str]).ends(0);
    let mut all = Vec::new();
    outputs(&place.path("ctx"), &mut all);
    let leaks = leaks(&all);
    for (name, _) in &forms {
        let member = format!("!srv/control/{name}");
        assert!(leaks.iter().any(|leak| leak.contains(&member)), "{name} was not found in {leaks:#?}");
    }
}
