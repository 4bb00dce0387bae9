//! Records of language packages with any bytes: no panic.
//! No path that a record lists leaves the directory of the record: none is empty or absolute, and
//! none has `..`. A source of a compiled module has the name of a source.
#![no_main]

use vm2docker_self::pkg::language::{cargo, composer, gem, go, maven, npm, pip};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let is_below = |path: &[u8]| path.split(|&byte| byte == b'/').all(|part| !matches!(part, b"" | b".."));
    assert!(pip::parse_record(bytes).iter().all(|(path, _)| is_below(path)));
    assert!(composer::parse_installed(bytes).iter().all(|path| is_below(path)));
    assert!(maven::parse_remote(bytes).iter().all(|name| is_below(name) && !name.contains(&b'/')));
    assert!(npm::parse_lock(bytes).iter().all(|path| !path.is_empty()));
    assert!(pip::source(bytes).is_none_or(|source| source.ends_with(b".py")));
    npm::is_publishable(bytes);
    cargo::parse_checksums(bytes);
    maven::parse_checksum(bytes);
    maven::parse_directory(bytes);
    go::parse_hash(bytes);
    pip::is_compiled_from(bytes, 0, 0);
    for places in [
        pip::places(bytes),
        npm::places(bytes),
        npm::package_places(bytes),
        gem::places(bytes),
        composer::places(bytes),
        maven::places(bytes),
        maven::gradle_places(bytes),
        go::places(bytes),
        go::download_places(bytes),
        cargo::places(bytes),
        cargo::download_places(bytes),
        cargo::vendor_places(bytes),
    ] {
        assert!(places.iter().all(|&length| length < bytes.len()));
    }
});
