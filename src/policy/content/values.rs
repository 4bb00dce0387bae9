//! Classification of values at places where a secret can be, by what they are and not by parts
//! that they contain: a random value with `example` in it is one.

use super::words::{entropy, run};

/// Values below this length are not random in a way that can be measured.
const SHORTEST_RANDOM: usize = 12;
/// Values below this length are words, numbers and switches.
const SHORTEST_PLAIN: usize = 6;
/// Words of which placeholders consist, in lower case.
const DUMMIES: &str = "\
    a abc admin an another any api app auth aws bar baz blank change changed changeit changeme \
    client database db default demo dummy empty enter example fake false fill fixme foo foobar \
    generate generated goes guest here hunter id in insert is it key letmein long me must my \
    mypass mypassword mysecret new nil no none nopassword not null of off on or pass passphrase \
    passw passwd password passwort paste placeholder please prompt put pw pwd qwerty random rd \
    redacted replace replaceme replacement root s sample secret secrets set should some \
    something string strong super supersecret t test testing testpass the this to todo token \
    true undefined unset use user username valid value with word xxx yes you your yourpass \
    yourpassword";

/// How much a value looks like a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Strength {
    /// A word, an identifier, a number, a version.
    Word,
    /// A password that people choose: letters with digits or signs.
    Plain,
    /// A value that programs generate.
    Random,
}

/// Returns the strength of a value that is not a placeholder or a path.
pub(super) fn strength(value: &[u8]) -> Strength {
    if is_random(value) {
        Strength::Random
    } else if is_plain(value) {
        Strength::Plain
    } else {
        Strength::Word
    }
}

/// Whether a value stands for another one: nothing, a mask, words of templates, a variable.
pub(crate) fn is_placeholder(value: &[u8]) -> bool {
    let is_mask = value.iter().all(|byte| b"xX*.-_#?0 ".contains(byte))
        || value.windows(2).all(|two| two[0] == two[1])
        || value.ends_with(b"...")
        || value.ends_with("…".as_bytes());
    is_mask || is_words(value) || is_template(value)
}

/// Whether all words of a value are of those that placeholders consist of. Digits between them
/// count as letters that look alike (`passw0rd`, `s3cr3t`) or as numbers (`secret123`).
fn is_words(value: &[u8]) -> bool {
    let is_dummy = |word: &[u8]| DUMMIES.split_ascii_whitespace().any(|dummy| dummy.as_bytes() == word);
    let lower = value.to_ascii_lowercase();
    let letters = lower.split(|byte| !byte.is_ascii_alphabetic()).filter(|word| !word.is_empty());
    let plain: Vec<u8> = lower
        .iter()
        .map(|byte| match byte {
            b'0' => b'o',
            b'1' => b'i',
            b'3' => b'e',
            b'4' => b'a',
            b'5' => b's',
            other => *other,
        })
        .collect();
    let digits = lower.iter().filter(|byte| byte.is_ascii_digit()).count();
    let parts = camel_words(value);
    is_dummy(&plain)
        || digits <= 4 && {
            let mut letters = letters.peekable();
            letters.peek().is_some() && letters.all(is_dummy)
        }
        || digits <= 4 && !parts.is_empty() && parts.iter().all(|part| is_dummy(part))
}

/// Words of a name in camel case, in lower case.
fn camel_words(value: &[u8]) -> Vec<Vec<u8>> {
    let mut words: Vec<Vec<u8>> = Vec::new();
    let mut before = b' ';
    for &byte in value {
        let begins = byte.is_ascii_uppercase() && !before.is_ascii_uppercase()
            || byte.is_ascii_alphabetic() && !before.is_ascii_alphabetic();
        match words.last_mut() {
            Some(word) if !begins && byte.is_ascii_alphabetic() => word.push(byte.to_ascii_lowercase()),
            _ if byte.is_ascii_alphabetic() => words.push(vec![byte.to_ascii_lowercase()]),
            _ => {}
        }
        before = byte;
    }
    words
}

/// Whether the whole value is a field: `${X}`, `$(x)`, `$X`, `{{x}}`, `<x>`, `%(x)s`, `@X@`,
/// `%s`, `#{x}`, `[x]`. A value that only contains one is composed, and not known either.
fn is_template(value: &[u8]) -> bool {
    let is_name = |name: &[u8]| {
        !name.is_empty() && name.iter().all(|&byte| byte.is_ascii_alphanumeric() || b"_.-:".contains(&byte))
    };
    let is_variable = |name: &[u8]| {
        is_name(name) && !name.iter().any(u8::is_ascii_digit) || name.len() == 1 && name != b"$"
    };
    match value {
        [b'$', name @ ..] if is_variable(name) => return true,
        [b'@', name @ .., b'@'] | [b'%', name @ .., b'%'] if is_name(name) => return true,
        [b'_', b'_', name @ .., b'_', b'_'] if is_name(name) => return true,
        [b'<', .., b'>'] | [b'[', .., b']'] => return true,
        [b'{', inner @ .., b'}'] => return !is_random(inner),
        [b'%', b's' | b'v' | b'd' | b'q' | b'@'] => return true,
        [b'%', name @ ..] if name.len() == 1 && name[0].is_ascii_alphabetic() => return true,
        _ => {}
    }
    let has = |open: &[u8], close: &[u8]| {
        memchr::memmem::find(value, open)
            .is_some_and(|at| memchr::memmem::find(&value[at + open.len()..], close).is_some())
    };
    has(b"${", b"}")
        || has(b"$(", b")")
        || has(b"{{", b"}}")
        || has(b"<%", b"%>")
        || has(b"#{", b"}")
        || has(b"%(", b")s")
        || has(b"$[", b"]")
}

/// Whether the value names a file. A random value can begin with a slash.
pub(crate) fn is_path(value: &[u8]) -> bool {
    let rooted = value.starts_with(b"/")
        || value.starts_with(b"./")
        || value.starts_with(b"~/")
        || value.starts_with(b"../")
        || value.starts_with(b"file:");
    let drive = matches!(value, [letter, b':', b'\\' | b'/', ..] if letter.is_ascii_alphabetic());
    (rooted || drive) && !value.split(|&byte| byte == b'/').any(is_random)
}

/// Whether a program generated the value, as far as its letters show.
pub(super) fn is_random(value: &[u8]) -> bool {
    if value.len() < SHORTEST_RANDOM || value.iter().any(|byte| *byte <= b' ' || *byte == 0x7f) {
        return false;
    }
    let head = &value[..value.len().min(256)];
    let count = |is: fn(&u8) -> bool| head.iter().filter(|byte| is(byte)).count();
    let (lower, upper, digits) =
        (count(u8::is_ascii_lowercase), count(u8::is_ascii_uppercase), count(u8::is_ascii_digit));
    let letters = lower + upper;
    let classes = usize::from(lower > 0) + usize::from(upper > 0) + usize::from(digits > 0);
    // Letters and digits are what is random; signs separate.
    if letters == 0 || (letters + digits) * 3 < head.len() * 2 || is_version_or_address(head) {
        return false;
    }
    if entropy(head) < if head.len() < 16 { 2.9 } else { 3.0 } || is_sequence(head) {
        return false;
    }
    let is_hex = head.iter().all(|byte| byte.is_ascii_hexdigit());
    if is_hex && (lower == 0 || upper == 0) {
        return head.len() >= 16 && digits > 0;
    }
    let pronounced = pronounced(head);
    match classes {
        1 => head.len() >= 16 && pronounced < 0.7,
        _ => pronounced < 0.8 && (digits > 0 || pronounced < 0.7),
    }
}

/// Whether a value has upper and lower case letters and digits as a random one of this length has.
pub(crate) fn is_strong(value: &[u8]) -> bool {
    let has = |is: fn(&u8) -> bool| value.iter().any(is);
    has(u8::is_ascii_lowercase)
        && has(u8::is_ascii_uppercase)
        && has(u8::is_ascii_digit)
        && value.len() >= 16
        && entropy(value) >= 3.3
        && is_random(value)
}

/// Letters or digits in the order of the alphabet, as tables of characters have them.
fn is_sequence(value: &[u8]) -> bool {
    let steps = value.windows(2).filter(|two| two[0].abs_diff(two[1]) <= 1).count();
    steps * 2 > value.len()
}

/// `1.2.3-4+deb12u1`, `10.0.0.1:5432`, `2024-01-31T12:30:00Z`, `db.internal.example.org`, a UUID.
fn is_version_or_address(value: &[u8]) -> bool {
    let is_uuid = value.len() == 36
        && value.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    let first = run(value, |byte| byte.is_ascii_digit());
    let is_numbered = first > 0
        && value.get(first).is_some_and(|byte| b".:-".contains(byte))
        && value[first + 1..].first().is_some_and(u8::is_ascii_digit);
    let dots = value.iter().filter(|byte| **byte == b'.').count();
    let longest = value.split(|byte| b".-_:/".contains(byte)).map(<[u8]>::len).max().unwrap_or(0);
    is_uuid || is_numbered && longest < 12 || dots >= 2 && longest < 10
}

/// Share of the pairs of adjacent letters that English and names of variables have, from 0 to 1.
/// A change of case after a small letter begins a new word.
fn pronounced(value: &[u8]) -> f32 {
    let (mut pairs, mut common, mut joints) = (0_u32, 0_u32, 0_u32);
    for two in value.windows(2) {
        let (a, b) = (two[0], two[1]);
        if a.is_ascii_alphabetic() && b.is_ascii_alphabetic() {
            let starts_word = a.is_ascii_lowercase() && b.is_ascii_uppercase();
            pairs += 1;
            let follows = COMMON[usize::from(a.to_ascii_lowercase() - b'a')];
            let is_common = follows >> (b.to_ascii_lowercase() - b'a') & 1 == 1;
            common += u32::from(is_common && !starts_word);
            joints += u32::from(starts_word);
        } else if a.is_ascii_digit() != b.is_ascii_digit()
            && a.is_ascii_alphanumeric()
            && b.is_ascii_alphanumeric()
        {
            joints += 1;
        }
    }
    // In words, a joint comes after at least four letters.
    let most_joints = value.len() as u32 / 5 + 1;
    if pairs < 4 || joints > most_joints {
        return 0.0;
    }
    let inner = pairs - joints.min(pairs - 1);
    (common as f32 / inner as f32).min(1.0)
}

/// For each letter, the set of letters that often follow it in words.
static COMMON: [u32; 26] = {
    const AFTER: [&[u8]; 26] = [
        b"bcdfgiklmnprstuvwy",
        b"aeilorsuy",
        b"acehikloqrtuy",
        b"adeiorsuy",
        b"acdefgilmnpqrstvwxy",
        b"aefiloru",
        b"aeghilnorsu",
        b"aeiortu",
        b"acdefglmnoprstvz",
        b"aeou",
        b"eins",
        b"adefikloprstuvy",
        b"abeimopsuy",
        b"acdefgiknostuy",
        b"abcdfgiklmnoprstuvwx",
        b"aehiloprstu",
        b"u",
        b"acdegiklmnorstuvy",
        b"acehikmnopqstuwy",
        b"acehilmorstuwy",
        b"abcdegilmnprst",
        b"aeio",
        b"aehinors",
        b"aceipt",
        b"elmnopst",
        b"aeioz",
    ];
    let mut sets = [0; 26];
    let mut letter = 0;
    while letter < 26 {
        let mut at = 0;
        while at < AFTER[letter].len() {
            sets[letter] |= 1 << (AFTER[letter][at] - b'a');
            at += 1;
        }
        letter += 1;
    }
    sets
};

/// Whether letters are mixed with digits or signs, as in passwords that people choose.
fn is_plain(value: &[u8]) -> bool {
    if value.len() < SHORTEST_PLAIN || is_version_or_address(value) {
        return false;
    }
    let has = |is: fn(&u8) -> bool| value.iter().any(is);
    let signs = value.iter().filter(|byte| byte.is_ascii_punctuation() && !b"_-./:@,".contains(byte)).count();
    let letters = has(u8::is_ascii_alphabetic);
    // `sha256`, `utf8`, `value_1`: a word with a short number is a name.
    let digits = value.iter().filter(|byte| byte.is_ascii_digit()).count();
    let trailing = value.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let is_name =
        digits == trailing && digits <= 3 && signs == 0 && !(has(u8::is_ascii_uppercase) && digits > 0);
    letters && (digits > 0 || signs > 0) && !is_name || value.len() >= 8 && pronounced(value) < 0.5 && letters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_random_generated_value_returns_true() {
        for value in [
            "NpR7cVbX0wLsD4fGhJ9uEe3T",
            "x7k2m9q4w1z8",
            "kR7vX2mQ9zLp",
            "q83vEjRWeJqNzurq3vEjRWeJqw==",
            "0123fa89bc77de01",
            "d41d8cd98f00b204e9800998ecf8427e",
            "qwzkxvbnrtpldjhg",
            "example-Kx83jdQ0plmR",
            "your_9fKq2ZtY5mNpR7c",
            "/x8Kd92kdLsdflQ0==",
            "pMxTqKzWvBnLrJdG",
        ] {
            assert!(is_random(value.as_bytes()), "{value}");
            assert!(!is_placeholder(value.as_bytes()) && !is_path(value.as_bytes()), "{value}");
        }
    }

    #[test]
    fn is_random_text_returns_false() {
        for value in [
            "get_password_from_keyring",
            "AuthenticationManagerImpl",
            "org.example.security.Token",
            "scram-sha-256",
            "2024-01-31T12:30:00Z",
            "1.2.3-4+deb12u1",
            "10.20.30.40:5432",
            "123e4567-e89b-12d3-a456-426614174000",
            "/etc/ssl/private/site.key",
            "abcdefghijklmnopqrstuvwxyz",
            "HTTP_AUTHORIZATION",
            "passwordResetTokenExpiry",
            "required_if_enabled",
            "text/javascript",
            "--------------------",
            "com.mysql.jdbc.Driver",
        ] {
            assert!(!is_random(value.as_bytes()), "{value}");
        }
    }

    #[test]
    fn is_placeholder_by_words_and_fields() {
        for value in [
            "",
            "changeme",
            "change-me",
            "your_password_here",
            "YOUR_API_KEY",
            "yourApiKey",
            "<password>",
            "${DB_PASS}",
            "$PASS",
            "{{ password }}",
            "%(password)s",
            "@PASSWORD@",
            "%s",
            "xxxxxxxx",
            "********",
            "passw0rd",
            "s3cr3t",
            "password123",
            "$(cat /run/x)",
            "__PASSWORD__",
            "[redacted]",
            "insert-your-token-here",
        ] {
            assert!(is_placeholder(value.as_bytes()), "{value}");
        }
        for value in [
            "sommer",
            "Sommer2024!",
            "example-Kx83jdQ0plmR",
            "$ecr3tKx83jdQ0",
            "50%sure!Kx83jd",
            "<kx83jdQ0plm",
        ] {
            assert!(!is_placeholder(value.as_bytes()), "{value}");
        }
    }

    #[test]
    fn strength_of_chosen_passwords_is_plain() {
        for value in ["Sommer2024!", "hunter2!", "kR7vX2mQ9z", "s0mm3r-22", "Tr0ub4dor"] {
            assert!(strength(value.as_bytes()) >= Strength::Plain, "{value}");
        }
        for value in ["sommer", "md5", "sha256", "required", "files", "pam_deny.so", "127.0.0.1", "user_name"]
        {
            assert_eq!(strength(value.as_bytes()), Strength::Word, "{value}");
        }
    }
}
