//! Any command line of a unit: every command has an executable. Resolving its variables returns a
//! name and one argument for each argument that is not only a variable. Its debug output contains
//! no argument.
#![no_main]

use vm2docker_self::detect::units::Host;
use vm2docker_self::detect::units::exec;
use vm2docker_self::detect::units::exec::Word;
use vm2docker_self::detect::units::specifiers::{Account, Specifiers};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let host = Host {
        hostname: b"h".to_vec(),
        machine_id: None,
        kernel: None,
        architecture: b"x86-64".to_vec(),
        user: Account::root(),
    };
    let Ok(commands) = exec::parse(bytes, &mut Specifiers::new(b"a@b.service", &host)) else { return };
    for command in commands {
        assert!(!command.program.is_empty());
        let joined = command.words.iter().filter(|word| matches!(word, Word::Joined(_))).count();
        assert_eq!(command.arguments(|_| None).len(), 1 + joined);
        for word in &command.words {
            assert!(word.literal().is_none() || word.variables().is_empty());
        }
    }
});
