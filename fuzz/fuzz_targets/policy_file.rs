//! Any policy file, home directories and path: no panic, and no path needs long (libFuzzer's
//! -timeout).
//! A path without a user's rule has the built-in one, because user rules add and override but
//! never hide each other.
//! The search for secrets has the same result for every division of the text into chunks.
//! The root has no rule. A first line `keep /**` keeps all other paths, independent of later
//! lines.
#![no_main]

use libfuzzer_sys::Corpus;
use vm2docker_self::policy;
use vm2docker_self::policy::content::{Kind, Search};
use vm2docker_self::policy::{Action, Policy};

libfuzzer_sys::fuzz_target!(|input: (&[u8], Vec<Vec<u8>>, &[u8])| -> Corpus {
    let (text, homes, path) = input;
    let built_in = Policy::new(Vec::new(), &homes);
    let before = built_in.for_path(path, None);
    assert!(built_in.for_path(b"", None).is_none());
    let Ok(rules) = policy::parse(text, "policy") else { return Corpus::Keep };
    let count = rules.len();
    let policy = Policy::new(rules, &homes);
    match policy.for_path(path, None) {
        Some(id) if (id as usize) < count => {}
        other => assert_eq!(other.map(|id| policy.rule(id)), before.map(|id| built_in.rule(id))),
    }
    let all = policy::parse(&[b"keep /**\n", text].concat(), "policy").expect("one more line");
    let all = Policy::new(all, &homes);
    assert_eq!(
        all.for_path(path, None).map(|id| all.rule(id).action),
        (!path.is_empty()).then_some(Action::Keep)
    );
    // Any place and mode: each tier has other judges.
    let mode = if homes.len() % 2 == 0 { 0o600 } else { 0o644 };
    let kind = Kind::of(path, mode, homes.len() % 3 == 2);
    let found = [usize::MAX, 1 + path.len()].map(|piece| {
        let mut search = Search::new(kind);
        text.chunks(piece).for_each(|piece| search.feed(piece));
        search.finish()
    });
    assert_eq!(found[0], found[1]);
    Corpus::Keep
});
