//! Any three versions: the order is total and agrees with itself.
//! Any text as a rich dependency: no panic, and satisfied dependencies are those without an
//! unsatisfied need.
#![no_main]

use std::cmp::Ordering;
use vm2docker_self::pkg::rpm::provides::Provides;
use vm2docker_self::pkg::rpm::rich::Expression;
use vm2docker_self::pkg::rpm::version::{Evr, compare};

libfuzzer_sys::fuzz_target!(|input: (&[u8], &[u8], &[u8])| {
    let (a, b, c) = input;
    assert_eq!(compare(a, a), Ordering::Equal);
    assert_eq!(compare(a, b), compare(b, a).reverse());
    if compare(a, b).is_le() && compare(b, c).is_le() {
        assert!(compare(a, c).is_le());
    }
    let _ = Evr::parse(a).compare(&Evr::parse(b));
    if let Ok(expression) = Expression::parse(c) {
        let provides = Provides::new(&[]);
        let needs = expression.needs(&provides);
        assert_eq!(expression.is_satisfied(&provides), needs.iter().all(|need| !need.packages.is_empty()));
    }
});
