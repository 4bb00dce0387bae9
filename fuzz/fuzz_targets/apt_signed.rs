//! Any message and keys: no panic, and only text that the good key signed is accepted.
//! A changed message of the good key returns its text or none.
#![no_main]

use vm2docker_self::context::recipient::Recipient;
use vm2docker_self::pkg::dpkg::repository::keyring::{Keyring, is_public};
use vm2docker_self::pkg::dpkg::repository::signed;

const KEY: &[u8] = include_bytes!("../../tests/data/apt/good.asc");
const TEXT: &[u8] = b"Origin: Test\nSuite: stable\n- dashed\nSHA256:";
/// The beginning of 2024.
const NOW: i64 = 1_704_067_200;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let keys = Keyring::parse(KEY);
    if let Ok(text) = signed::open(bytes, &keys, NOW) {
        assert_eq!(text, TEXT);
    }
    let _ = signed::verify(TEXT, bytes, &keys, NOW);
    let _ = is_public(bytes);
    let _ = Recipient::parse(bytes, NOW);
    let _ = signed::open(include_bytes!("../../tests/data/apt/good.InRelease"), &Keyring::parse(bytes), NOW);
});
