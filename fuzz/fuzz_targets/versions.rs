//! Any three texts: `compare` is reflexive, antisymmetric and transitive (a total preorder, as
//! deb-version(7) requires). Versions that compare as equal are interchangeable in every
//! comparison with a third.
//! `is_valid` rejects text that apt or a shell would interpret.
#![no_main]

use std::cmp::Ordering::Equal;
use vm2docker_self::pkg::dpkg::version::{compare, is_valid};

libfuzzer_sys::fuzz_target!(|texts: [&str; 3]| {
    for a in texts {
        assert_eq!(compare(a, a), Equal);
        assert!(!is_valid(a.as_bytes()) || !a.contains([' ', '\n', '\0', ';', '$', '/', '=', '\'', '"']));
        for b in texts {
            assert_eq!(compare(a, b), compare(b, a).reverse());
            for c in texts {
                if compare(a, b).is_le() && compare(b, c).is_le() {
                    assert!(compare(a, c).is_le());
                }
                if compare(a, b) == Equal {
                    assert_eq!(compare(a, c), compare(b, c));
                }
            }
        }
    }
});
