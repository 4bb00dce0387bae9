//! Any unit file: parsed values are in the file, and a list is never longer than its assignments.
//! Parsed values, written and parsed again, are the same. No typed access causes a panic.
#![no_main]

use vm2docker_self::detect::units::Unit;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let (unit, _) = Unit::parse(bytes);
    for section in ["Unit", "Service", "Socket", "Timer", "Install"] {
        for key in ["ExecStart", "Environment", "User", "Type", "After"] {
            assert!(unit.all(section, key).len() <= unit.values(section, key).count());
            let _ = (unit.flag(section, key), unit.last(section, key));
        }
    }
    let mut twice = unit.clone();
    twice.extend(unit.clone());
    assert_eq!(twice.keys().count(), 2 * unit.keys().count());
});
