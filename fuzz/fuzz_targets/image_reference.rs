//! Any text: a parsed reference is written as text that parses to the same reference. It contains
//! nothing that a Dockerfile, a shell or a URL interprets. Pinning keeps the repository.
#![no_main]

use vm2docker_self::image::registry::Reference;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let Ok(reference) = Reference::parse(text) else { return };
    let shown = reference.to_string();
    assert_eq!(Reference::parse(&shown).expect("its own text"), reference);
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:/@[]".contains(&byte);
    assert!(shown.bytes().all(is_plain) && !shown.starts_with('-'));
    let pinned =
        Reference::parse(&reference.pinned(&format!("sha256:{}", "0".repeat(64)))).expect("a pinned name");
    assert_eq!((pinned.registry(), pinned.repository()), (reference.registry(), reference.repository()));
});
