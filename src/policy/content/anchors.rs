//! A few bytes that every secret of a sort has, and who judges what is around them.

use super::{Detection, View, assignments, keys, options, passwords, tokens};
use std::ops::Range;

/// Tells whether a secret is at the anchor.
pub(super) type Judge = fn(&View<'_>) -> Option<Detection>;

/// Anchors of at least three bytes, with their judges. The first three bytes distinguish rare
/// from common text.
const ANCHORS: &[(&[u8], Judge)] = &[
    (b"-----BEGIN ", keys::armoured),
    // The same in base64, by where in a group of three bytes it begins.
    (b"LS0tLS1CRUdJTi", keys::in_base64),
    (b"0tLS0tQkVHSU4g", keys::in_base64),
    (b"tLS0tLUJFR0lO", keys::in_base64),
    (b"PuTTY-User-Key-File-", keys::putty),
    (b"SSH PRIVATE KEY FILE FORMAT 1.1", keys::ssh1),
    (b"Private-key-format:", keys::dnssec),
    (b"PrivateKey", keys::wireguard),
    (b"PresharedKey", keys::wireguard),
    (b"AGE-SECRET-KEY-1", keys::age),
    (b"lgorithm", keys::tsig),
    (b"AKIA", tokens::aws),
    (b"ASIA", tokens::aws),
    (b"AccountKey=", tokens::azure),
    (b"SharedAccessKey=", tokens::azure),
    (b".eyJ", tokens::web_token),
    (b"$1$", passwords::hash),
    (b"$5$", passwords::hash),
    (b"$6$", passwords::hash),
    (b"$7$", passwords::hash),
    (b"$y$", passwords::hash),
    (b"$gy$", passwords::hash),
    (b"$2a$", passwords::hash),
    (b"$2b$", passwords::hash),
    (b"$2y$", passwords::hash),
    (b"$apr1$", passwords::hash),
    (b"$argon2", passwords::hash),
    (b"$S$", passwords::hash),
    (b"$P$", passwords::hash),
    (b"$H$", passwords::hash),
    (b"{SSHA", passwords::hash),
    (b"pbkdf2_sha", passwords::hash),
    (b"SCRAM-SHA-256$", passwords::hash),
    (b"://", passwords::url),
    (b"machine", passwords::netrc),
    (b"\"auth\"", passwords::registry),
    (b"uthorization", passwords::header),
    (b"UTHORIZATION", passwords::header),
    (b"T3BlbkFJ", tokens::openai),
    (b"hooks.slack.com/", tokens::webhook),
    (b"/api/webhooks/", tokens::webhook),
    (b"webhook.office.com/", tokens::webhook),
    (b"hooks.zapier.com/", tokens::webhook),
    (b"logic.azure.com", tokens::webhook),
    (b"telegram.org/bot", tokens::webhook),
    (b":AA", tokens::telegram),
    (b"(private-key ", keys::gnupg),
    (b"ed25519v1-secret", keys::tor),
    (b"DENTIFIED BY", assignments::identified),
    (b"dentified by", assignments::identified),
    (b"{PLAIN", passwords::scheme),
    (b"{CLEAR", passwords::scheme),
    (b" -p", options::option),
    (b" -P", options::option),
    (b" -u", options::option),
    (b" -U", options::option),
    (b" -a", options::option),
    (b" -A", options::option),
    (b" -w", options::option),
    (b" -k", options::option),
    (b"pass", assignments::assignment),
    (b"Pass", assignments::assignment),
    (b"PASS", assignments::assignment),
    (b"Psk", assignments::assignment),
    (b"psk", assignments::assignment),
    (b"PSK", assignments::assignment),
    (b"pwd", assignments::assignment),
    (b"Pwd", assignments::assignment),
    (b"PWD", assignments::assignment),
    (b"_pw", assignments::assignment),
    (b"_PW", assignments::assignment),
    (b"otpw", assignments::assignment),
    (b"otPW", assignments::assignment),
    (b"indpw", assignments::assignment),
    (b"PIN", assignments::assignment),
    (b"_pin", assignments::assignment),
    (b"ecret", assignments::assignment),
    (b"ECRET", assignments::assignment),
    (b"oken", assignments::assignment),
    (b"OKEN", assignments::assignment),
    (b"key", assignments::assignment),
    (b"Key", assignments::assignment),
    (b"KEY", assignments::assignment),
    (b"SALT", assignments::assignment),
    (b"salt", assignments::assignment),
    (b"Salt", assignments::assignment),
    (b"redential", assignments::assignment),
    (b"REDENTIAL", assignments::assignment),
    (b"ookie", assignments::assignment),
    (b"OOKIE", assignments::assignment),
    (b"masterauth", assignments::assignment),
    (b"rocommunity", assignments::assignment),
    (b"rwcommunity", assignments::assignment),
    (b"_DSN", assignments::assignment),
    (b"_dsn", assignments::assignment),
    (b"_AUTH", assignments::assignment),
    (b"_auth", assignments::assignment),
    (b"uthInfo", assignments::assignment),
    (b"nemonic", assignments::assignment),
    (b"earer", passwords::bearer),
];

/// Anchor `n` is bit `n % 64` in the entry of each of its first three bytes.
static TABLES: [[u64; 256]; 3] = tables();

const fn tables() -> [[u64; 256]; 3] {
    let mut tables = [[0; 256]; 3];
    let mut number = 0;
    while number < ANCHORS.len() + tokens::PREFIXES.len() {
        let text = text_of(number);
        let mut byte = 0;
        while byte < 3 {
            tables[byte][text[byte] as usize] |= 1 << (number % 64);
            byte += 1;
        }
        number += 1;
    }
    tables
}

const fn text_of(number: usize) -> &'static [u8] {
    if number < ANCHORS.len() { ANCHORS[number].0 } else { tokens::PREFIXES[number - ANCHORS.len()].0 }
}

/// Bitmap of byte pairs: the pair at the start of each anchor, and the pair after its first byte.
/// At any offset of the anchor, one of the two pairs is at an even offset.
static PAIRS: [u64; 1024] = pairs();

const fn pairs() -> [u64; 1024] {
    let mut pairs = [0; 1024];
    let mut number = 0;
    while number < ANCHORS.len() + tokens::PREFIXES.len() {
        let text = text_of(number);
        let mut byte = 0;
        while byte < 2 {
            let pair = u16::from_le_bytes([text[byte], text[byte + 1]]) as usize;
            pairs[pair / 64] |= 1 << (pair % 64);
            byte += 1;
        }
        number += 1;
    }
    pairs
}

/// Calls `found` with each anchor that begins in the range and its offset, in order, until it
/// returns `true`.
pub(super) fn find(window: &[u8], range: Range<usize>, mut found: impl FnMut(Judge, usize) -> bool) {
    let end = window.len().min(range.end + 2);
    let bytes = window.get(range.start..end).unwrap_or_default();
    for (number, pair) in bytes.as_chunks().0.iter().enumerate() {
        let pair = usize::from(u16::from_le_bytes(*pair));
        if PAIRS[pair / 64] >> (pair % 64) & 1 == 0 {
            continue;
        }
        let at = range.start + 2 * number;
        let here = at.saturating_sub(1).max(range.start)..(at + 1).min(range.end);
        for at in here {
            if found_at(window, at, &mut found) {
                return;
            }
        }
    }
}

/// The same for one place.
fn found_at(window: &[u8], at: usize, found: &mut impl FnMut(Judge, usize) -> bool) -> bool {
    let Some([a, b, c]) = window[at..].first_chunk() else { return false };
    let [first, second, third] = &TABLES;
    let mut hits = first[usize::from(*a)] & second[usize::from(*b)] & third[usize::from(*c)];
    while hits != 0 {
        let bit = hits.trailing_zeros() as usize;
        hits &= hits - 1;
        let numbers = (bit..ANCHORS.len() + tokens::PREFIXES.len()).step_by(64);
        for number in numbers.filter(|&number| window[at..].starts_with(text_of(number))) {
            let judge = ANCHORS.get(number).map_or(tokens::prefixed as Judge, |anchor| anchor.1);
            if found(judge, at) {
                return true;
            }
        }
    }
    false
}
