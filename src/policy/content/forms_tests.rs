//! Tests of the forms in which configuration has passwords, and of the tiers.

use crate::policy::content::*;

const DATA: Kind = Kind { tier: Tier::Data, is_secluded: false, is_named: false };

fn searched(content: &[u8], kind: Kind) -> Option<Detection> {
    let mut search = Search::new(kind);
    search.feed(content);
    search.finish()
}

/// A password in every form in which files of configuration and source code have one; `@@` is it.
const FORMS: &[&str] = &[
    "db_password = @@\n",
    "password: '@@'\n",
    "password: |\n  @@\n",
    "\"password\" : \"@@\"",
    "'password' => '@@',",
    "$config['password'] = '@@';",
    "public $password = '@@';",
    "define(\"DB_PASSWORD\", \"@@\");",
    "password := `@@`",
    "os.environ.get('DB_PASSWORD', '@@')",
    "password = b'@@'",
    "export DB_PW=@@",
    "x --password @@ y",
    "x --password=@@ y",
    "<password>@@</password>",
    "<Pass encoding=\"base64\">@@</Pass>",
    "<s:password>@@</s:password>",
    "<password><![CDATA[@@]]></password>",
    "<user name=\"a\" password=\"@@\"/>",
    "<property name=\"db.password\" value=\"@@\"/>",
    "<entry key=\"password\">@@</entry>",
    "<key>Password</key>\n  <string>@@</string>",
    "- name: DB_PASSWORD\n  value: @@\n",
    "{\"name\": \"DB_PASSWORD\", \"value\": \"@@\"}",
    "{\"body\": \"{\\\"password\\\": \\\"@@\\\"}\"}",
    "INSERT INTO s VALUES ('smtp_password','@@');",
    "CREATE USER x IDENTIFIED BY '@@';",
    "Server=db;User Id=sa;Password=@@;Timeout=3",
    "GET /x?user=bob&password=@@&page=1",
    "X-Api-Key: @@",
    "-H \"Authorization: Bearer @@\"",
    "mysqldump -uroot -p@@ shop",
    "sshpass -p @@ ssh db",
    "curl -s -u bob:@@ https://h",
    "redis-cli -a '@@' ping",
    "olcRootPW:: @@",
    "bob:{PLAIN}@@:1000:1000",
    "requirepass @@\n",
    "curl https://hooks.slack.com/services/T0ABCDEFG/B0ABCDEFG/@@",
];

#[test]
fn search_password_in_each_form_is_certain() {
    for value in ["NpR7cVbX0wLsD4fGhJ9uEe3T", "x7k2m9q4w1z8p5r3t6y0v2n8", "8f3a1c9e5b7d2046a1c3e5f7092b4d6e"]
    {
        for form in FORMS {
            let text = form.replace("@@", value);
            assert!(searched(text.as_bytes(), DATA).is_some_and(|found| found.certain), "{text}");
        }
    }
}

#[test]
fn search_placeholder_in_each_form_returns_none() {
    for value in [
        "",
        "changeme",
        "${DB_PASSWORD}",
        "your-password-here",
        "<password>",
        "xxxxxxxx",
        "/run/secrets/password",
    ] {
        for form in FORMS {
            let text = form.replace("@@", value);
            for tier in [Tier::Code, Tier::Data, Tier::Settings] {
                let kind = Kind { tier, ..DATA };
                assert!(searched(text.as_bytes(), kind).is_none_or(|found| !found.certain), "{text}");
            }
        }
    }
}

#[test]
fn search_value_by_tier_needs_less_evidence_in_configuration() {
    for (text, code, data, settings) in [
        ("password = NpR7cVbX0wLsD4fGhJ9uEe3T", Some(false), Some(true), Some(true)),
        ("password = Sommer2024!", None, Some(false), Some(true)),
        ("api_key: kR7vX2mQ9z", None, Some(false), Some(false)),
        ("CF_Key='8f3a1c9e5b7d2046a1c3e5f7092b4d6e'", None, Some(false), Some(true)),
        ("# password = NpR7cVbX0wLsD4fGhJ9uEe3T", None, None, Some(false)),
        ("passwd:         files systemd", None, None, None),
        (
            "# A comment of more than sixty-four bytes, which then says: password: Sommer2024!",
            None,
            None,
            None,
        ),
        ("password: Sommer\x02024!", None, None, None),
        ("password [success=1 default=ignore] pam_unix.so obscure yescrypt", None, None, None),
    ] {
        for (tier, certain) in [(Tier::Code, code), (Tier::Data, data), (Tier::Settings, settings)] {
            let found = searched(text.as_bytes(), Kind { tier, ..DATA });
            assert_eq!(found.map(|found| found.certain), certain, "{text}, {tier:?}");
        }
    }
}

#[test]
fn prefixed_github_token_in_code_needs_its_checksum() {
    let code = Kind { tier: Tier::Code, ..DATA };
    // 30 characters and their CRC-32 in base 62.
    let token = "ghp_NpR7cVbX0wLsD4fGhJ9uEe3Tk2Qx8m";
    let mut crc = flate2::Crc::new();
    crc.update(&token.as_bytes()[4..]);
    let digits = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let sum = (0..6).rev().map(|at| char::from(digits[(crc.sum() / 62_u32.pow(at)) as usize % 62]));
    let valid = format!("{token}{}", sum.collect::<String>());
    assert_eq!(searched(valid.as_bytes(), code), Some(Detection::certain(Secret::AccessToken)));
    assert_eq!(searched(format!("{token}000000").as_bytes(), code), None);
}

/// A key store has names of certificates between lengths and types in bytes.
#[test]
fn search_words_of_a_binary_file_return_none() {
    let settings = Kind { tier: Tier::Settings, ..DATA };
    let text = b"pass AS-9831633271 0\x1e\x06\x03U\x04\x03\x0c\x17Buypass AS-9831633271 0\x1e\x06";
    assert_eq!(searched(&[&b"\x06"[..], text].concat(), settings), None);
    assert!(searched(b"pass AS-9831633271\n", settings).is_some());
}
