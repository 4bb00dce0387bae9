//! Any bytes as a database file with a write-ahead log: no panic. The headers together are at most
//! twice as long as the input.
//! Every path and relation of a package can be read.
#![no_main]

use vm2docker_self::pkg::rpm::package::RelationKind;
use vm2docker_self::pkg::rpm::rich::Expression;
use vm2docker_self::pkg::rpm::{Package, Source, database};

libfuzzer_sys::fuzz_target!(|input: (&[u8], &[u8])| {
    let (log, file) = input;
    let log = (!log.is_empty()).then_some(&log as &dyn Source);
    let mut bytes = 0;
    let _ = database::read(&file, log, &mut |_, header| {
        bytes += header.len();
        if let Ok(package) = Package::parse(header) {
            read(&package);
        }
    });
    assert!(bytes <= 2 * (input.0.len() + input.1.len()), "{bytes}");
});

fn read(package: &Package<'_>) {
    for file in package.files.iter() {
        assert!(file.path().len() <= 2 * 4096);
        let _ = (file.digest_bytes::<16>(), file.digest_bytes::<32>());
    }
    let _ = package.files.link_groups();
    for relation in RelationKind::ALL.iter().flat_map(|kind| package.relations(*kind)) {
        let _ = Expression::of(&relation);
    }
}
