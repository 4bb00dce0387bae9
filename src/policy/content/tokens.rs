//! Keys and tokens with a prefix by which their issuers make them recognizable.

use super::words::{base64_run, decode_base64, is_mixed, is_placeholder, run};
use super::{Detection, Secret, View};
use memchr::memmem;

/// Alphabet of a token after its prefix: letters and digits.
const A: u8 = 0;
/// And `_`, `-`.
const U: u8 = 1;
/// And `.`, for tokens of several parts.
const D: u8 = 2;

/// Prefix of a token, with alphabet and minimum length of the rest, as the issuers document them:
/// GitHub, GitLab, Slack, Stripe, npm, PyPI, Vault, Hugging Face, SendGrid, DigitalOcean,
/// Anthropic, OpenAI, Tailscale, Google, Shopify.
pub(super) const PREFIXES: &[(&[u8], u8, usize)] = &[
    (b"ghp_", A, 36),
    (b"gho_", A, 36),
    (b"ghu_", A, 36),
    (b"ghs_", A, 36),
    (b"ghr_", A, 36),
    (b"github_pat_", U, 40),
    (b"glpat-", U, 20),
    (b"glrt-", U, 20),
    (b"gldt-", U, 20),
    (b"xoxb-", U, 20),
    (b"xoxp-", U, 20),
    (b"xoxa-", U, 20),
    (b"xoxr-", U, 20),
    (b"xoxs-", U, 20),
    (b"xapp-", U, 20),
    (b"sk_live_", A, 16),
    (b"rk_live_", A, 16),
    (b"whsec_", A, 24),
    (b"npm_", A, 36),
    (b"pypi-AgE", U, 50),
    (b"hvs.", U, 24),
    (b"hvb.", U, 24),
    (b"hf_", A, 34),
    (b"SG.", D, 60),
    (b"dop_v1_", A, 64),
    (b"sk-ant-", U, 40),
    (b"sk-proj-", U, 40),
    (b"tskey-", U, 16),
    (b"GOCSPX-", U, 28),
    (b"shpat_", A, 32),
    (b"_authToken=", U, 16),
];

/// A token with one of the [`PREFIXES`].
pub(super) fn prefixed(view: &View<'_>) -> Option<Detection> {
    let after = view.after();
    let (prefix, alphabet, least) = PREFIXES.iter().find(|(prefix, ..)| after.starts_with(prefix))?;
    let rest = &after[prefix.len()..];
    let length = run(rest, |byte| {
        byte.is_ascii_alphanumeric()
            || *alphabet >= U && b"_-".contains(&byte)
            || *alphabet == D && byte == b'.'
    });
    let token = &rest[..length.min(256)];
    let begins = view.begins_word() || prefix[0] == b'_';
    (begins && length >= *least && is_mixed(token) && !is_placeholder(token))
        .then(|| Detection::certain(Secret::AccessToken))
}

/// The identifier of an AWS key; with the 40 characters of the key itself near it, a key.
pub(super) fn aws(view: &View<'_>) -> Option<Detection> {
    /// So near stand identifier and key in files of configuration.
    const NEAR: usize = 400;
    let is_identifier = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
    let identifier = &view.after()[4..];
    if run(identifier, is_identifier) != 16 || !view.begins_word() || identifier[..16].ends_with(b"EXAMPLE") {
        return None;
    }
    let before = view.before();
    let (before, after) = (&before[before.len().saturating_sub(NEAR)..], &identifier[16..]);
    let has_key = |text: &[u8]| {
        let words = text.split(|&byte| !byte.is_ascii_alphanumeric() && !b"/+".contains(&byte));
        words.into_iter().any(|word| word.len() == 40 && is_mixed(word) && !is_placeholder(word))
    };
    let near = has_key(before) || has_key(&after[..after.len().min(NEAR)]);
    Some(if near { Detection::certain(Secret::CloudKey) } else { Detection::likely(Secret::CloudKey) })
}

/// Connection strings of Azure: 64 or 32 bytes in base64.
pub(super) fn azure(view: &View<'_>) -> Option<Detection> {
    let after = view.after();
    let value = &after[memchr::memchr(b'=', after)? + 1..];
    let length = base64_run(value);
    let padding = run(&value[length..], |byte| byte == b'=');
    // The storage emulator's key is the same everywhere.
    let is_emulators = value.starts_with(b"Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq");
    let is_key =
        matches!((length, padding), (86, 2) | (43, 1)) && is_mixed(&value[..length]) && !is_emulators;
    is_key.then(|| Detection::certain(Secret::CloudKey))
}

/// Header, claims and signature (RFC 7519); the anchor is the claims' beginning.
pub(super) fn web_token(view: &View<'_>) -> Option<Detection> {
    let before = view.before();
    let start = before.len() - before.iter().rev().take_while(|byte| is_url(**byte)).count();
    let header = &before[start..];
    let claims = &view.after()[1..];
    let length = run(claims, is_url);
    let signature = claims[length..].strip_prefix(b".")?;
    let head = decode_base64(header, 1024);
    // The example of RFC 7519 and of every introduction.
    let is_example =
        claims.starts_with(b"eyJzdWIiOiIxMjM0NTY3ODkwI") || claims.starts_with(b"eyJpc3MiOiJqb2UiL");
    let is_token = head.starts_with(b"{\"") && memmem::find(&head, b"\"alg\"").is_some();
    (is_token && run(signature, is_url) >= 20 && !is_example).then(|| Detection::certain(Secret::WebToken))
}

fn is_url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-".contains(&byte)
}
