//! Any first bytes of an executable: no panic, and bytes after its header have no effect.
//! Other files than ELF return no architecture.
#![no_main]

use vm2docker_self::detect::architecture::of_program;

libfuzzer_sys::fuzz_target!(|head: &[u8]| {
    let found = of_program(head);
    assert!(found.is_none() || head.starts_with(b"\x7fELF"));
    assert_eq!(of_program(&head[..head.len().min(40)]), found);
    if let Some(found) = found {
        assert!(!found.docker.is_empty() && !found.systemd.is_empty());
    }
});
