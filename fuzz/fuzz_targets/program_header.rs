//! Whatever the first bytes of a program: no panic, and what follows its header changes nothing.
//! What is no ELF file tells no architecture.
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
