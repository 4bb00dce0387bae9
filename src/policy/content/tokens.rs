//! Keys and tokens with a prefix by which their issuers make them recognizable.

use super::values::{is_placeholder, is_random};
use super::words::{base64_run, decode_base64, is_mixed, run};
use super::{Detection, Secret, Tier, View};
use memchr::memmem;

/// Alphabet of a token after its prefix: letters and digits.
const A: u8 = 0;
/// And `_`, `-`.
const U: u8 = 1;
/// And `.`, for tokens of several parts.
const D: u8 = 2;

/// Prefix of a token, with alphabet and minimum length of the rest, as the issuers document them.
pub(super) const PREFIXES: &[(&[u8], u8, usize)] = &[
    // Version control, CI and packages: GitHub, GitLab, Bitbucket, npm, PyPI, RubyGems, crates.io,
    // Docker Hub, Artifactory, CircleCI, Buildkite, Clojars.
    (b"ghp_", A, 36),
    (b"gho_", A, 36),
    (b"ghu_", A, 36),
    (b"ghs_", A, 36),
    (b"ghr_", A, 36),
    (b"github_pat_", U, 40),
    (b"glpat-", U, 20),
    (b"glrt-", U, 20),
    (b"gldt-", U, 20),
    (b"glptt-", U, 20),
    (b"glsoat-", U, 20),
    (b"glcbt-", U, 20),
    (b"GR1348941", U, 20),
    (b"ATBB", A, 24),
    (b"ATATT3", U, 60),
    (b"npm_", A, 36),
    (b"pypi-AgE", U, 50),
    (b"rubygems_", A, 40),
    (b"dckr_pat_", U, 24),
    (b"dckr_oat_", U, 24),
    (b"AKCp", A, 60),
    (b"CCIPAT_", U, 40),
    (b"CCIPRJ_", U, 40),
    (b"bkua_", A, 40),
    (b"CLOJARS_", A, 60),
    (b"_authToken=", U, 16),
    // Messages and mail: Slack, SendGrid, Brevo, Postman.
    (b"xoxb-", U, 20),
    (b"xoxp-", U, 20),
    (b"xoxa-", U, 20),
    (b"xoxr-", U, 20),
    (b"xoxs-", U, 20),
    (b"xoxe.", D, 20),
    (b"xoxe-", U, 20),
    (b"xapp-", U, 20),
    (b"SG.", D, 60),
    (b"xkeysib-", U, 64),
    (b"xsmtpsib-", U, 64),
    (b"PMAK-", U, 40),
    // Payments: Stripe, Square, Shopify, Shippo, Duffel, PayPal's Braintree, Plaid, Razorpay.
    (b"sk_live_", A, 16),
    (b"rk_live_", A, 16),
    (b"whsec_", A, 24),
    (b"sq0csp-", U, 40),
    (b"sq0atp-", U, 20),
    (b"shpat_", A, 32),
    (b"shpss_", A, 32),
    (b"shpca_", A, 32),
    (b"shppa_", A, 32),
    (b"shippo_live_", A, 32),
    (b"duffel_live_", U, 32),
    (b"access_token$production$", D, 32),
    (b"rzp_live_", A, 14),
    // Clouds: HashiCorp, DigitalOcean, Databricks, Cloudflare by its own form, Fly, Netlify, Heroku,
    // Google, Alibaba, Tencent, Yandex, Scaleway, PlanetScale, Supabase, Pulumi, Doppler, Infracost.
    (b"hvs.", U, 24),
    (b"hvb.", U, 24),
    (b"hvr.", U, 24),
    (b"atlasv1.", U, 30),
    (b".atlasv1.", U, 30),
    (b"dop_v1_", A, 64),
    (b"doo_v1_", A, 64),
    (b"dor_v1_", A, 64),
    (b"dapi", A, 32),
    (b"fo1_", U, 40),
    (b"FlyV1 fm2_", U, 60),
    (b"nfp_", A, 36),
    (b"HRKU-", U, 36),
    (b"GOCSPX-", U, 28),
    (b"AIzaSy", U, 33),
    (b"ya29.", D, 40),
    (b"1//0", U, 40),
    (b"LTAI", A, 16),
    (b"AKID", A, 32),
    (b"t1.9eu", D, 60),
    (b"AQVN", U, 35),
    (b"pscale_tkn_", U, 32),
    (b"pscale_pw_", U, 32),
    (b"pscale_oauth_", U, 32),
    (b"sbp_", A, 40),
    (b"sb_secret_", U, 30),
    (b"pul-", A, 20),
    (b"dp.pt.", A, 40),
    (b"dp.st.", D, 40),
    (b"dp.ct.", A, 40),
    (b"ico-", A, 32),
    (b"ops_eyJ", U, 60),
    // Models: Hugging Face, Anthropic, OpenAI, Groq, Replicate, OpenRouter, Perplexity, xAI.
    (b"hf_", A, 34),
    (b"sk-ant-", U, 40),
    (b"sk-proj-", U, 40),
    (b"sk-svcacct-", U, 40),
    (b"sk-or-v1-", A, 60),
    (b"gsk_", A, 50),
    (b"r8_", A, 37),
    (b"pplx-", A, 40),
    (b"xai-", A, 60),
    // Operations: Grafana, New Relic, Sentry, Datadog by name, Dynatrace, PagerDuty by name,
    // Tailscale, ngrok by name, Linear, Notion, Figma, Airtable, Typeform, LaunchDarkly, Prefect.
    (b"glsa_", U, 40),
    (b"glc_ey", D, 40),
    (b"eyJrIjoi", U, 60),
    (b"NRAK-", A, 27),
    (b"NRJS-", A, 19),
    (b"NRII-", U, 32),
    (b"sntrys_", D, 60),
    (b"sntryu_", A, 64),
    (b"dt0c01.", D, 60),
    (b"dt0s01.", D, 60),
    (b"tskey-", U, 16),
    (b"lin_api_", A, 32),
    (b"lin_oauth_", A, 32),
    (b"ntn_", A, 40),
    (b"secret_", A, 43),
    (b"figd_", U, 36),
    (b"tfp_", U, 40),
    (b"pnu_", A, 36),
    (b"EAAA", U, 56),
    (b"EAAC", A, 80),
    (b"A3-", U, 32),
    (b"phx_", A, 40),
    (b"rnd_", A, 28),
    (b"tvly-", A, 30),
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
    let begins = view.begins_word() || prefix[0] == b'_' || prefix[0] == b'.';
    if !begins || length < *least || !is_mixed(token) || is_placeholder(token) {
        return None;
    }
    // The names of functions and options in code begin like tokens.
    let is_short = prefix.len() < 5 && !prefix.ends_with(b"_") && !is_random(token);
    let checked = is_githubs(prefix).then(|| has_checksum(token, length));
    match (view.kind.tier, checked) {
        _ if is_short => None,
        (Tier::Code, Some(false)) => None,
        _ => Some(Detection::certain(Secret::AccessToken)),
    }
}

fn is_githubs(prefix: &[u8]) -> bool {
    matches!(prefix, [b'g', b'h', b'p' | b'o' | b'u' | b's' | b'r', b'_'])
}

/// Whether the last six of 36 characters are the CRC-32 of the others in base 62, as in the tokens
/// of GitHub.
fn has_checksum(token: &[u8], length: usize) -> bool {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let Some((body, sum)) = token.split_at_checked(30).filter(|_| length == 36) else { return false };
    let mut crc = flate2::Crc::new();
    crc.update(body);
    let mut rest = crc.sum();
    sum.iter().rev().all(|&digit| {
        let expected = DIGITS[rest as usize % DIGITS.len()];
        rest /= DIGITS.len() as u32;
        digit == expected
    })
}

/// Legacy keys of OpenAI: random characters on both sides of the anchor.
pub(super) fn openai(view: &View<'_>) -> Option<Detection> {
    let before = view.before();
    let start = before.iter().rev().take_while(|byte| byte.is_ascii_alphanumeric()).count();
    let after = run(&view.after()[8..], |byte| byte.is_ascii_alphanumeric());
    let is_key = start >= 20 && after >= 20 && before[..before.len() - start].ends_with(b"sk-");
    is_key.then(|| Detection::certain(Secret::AccessToken))
}

/// Addresses that are secret, because a request to them needs nothing else: the path has a random
/// part.
pub(super) fn webhook(view: &View<'_>) -> Option<Detection> {
    let address = view.after();
    let address =
        &address[..run(address, |byte| byte > b' ' && byte < 0x7f && !b"\"'<>\\`".contains(&byte)).min(512)];
    let parts = address.split(|byte| b"/?&=@:".contains(byte));
    let is_secret = parts.skip(1).any(|part| part.len() >= 20 && is_random(part) && !is_placeholder(part));
    is_secret.then(|| Detection::certain(Secret::AccessToken))
}

/// Tokens of Telegram's bots: a number, a colon, and 35 characters that begin with `AA`.
pub(super) fn telegram(view: &View<'_>) -> Option<Detection> {
    let number = view.before().iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let token = &view.after()[1..];
    let length = run(token, is_url);
    ((8..=10).contains(&number) && length == 35 && is_mixed(&token[..length]))
        .then(|| Detection::certain(Secret::AccessToken))
}

/// The identifier of an AWS key; with the 40 characters of the key itself near it, a key.
pub(super) fn aws(view: &View<'_>) -> Option<Detection> {
    /// So near stand identifier and key in files of configuration.
    const NEAR: usize = 400;
    // Base 32 (RFC 4648): an account's number is in it.
    let is_identifier = |byte: u8| byte.is_ascii_uppercase() || (b'2'..=b'7').contains(&byte);
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
    let is_token = head.starts_with(b"{") && memmem::find(&head, b"\"alg\"").is_some();
    (is_token && run(signature, is_url) >= 20 && !is_example).then(|| Detection::certain(Secret::WebToken))
}

fn is_url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-".contains(&byte)
}
