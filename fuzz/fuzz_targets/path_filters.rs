//! Whatever the configuration and the path: no panic, and no pattern takes time exponential in its length.
//! Nothing is excluded without a filter; a directory is excluded only where a file of that name would be.
//! A last line `path-include *` takes everything back, `path-exclude *` leaves everything out.
#![no_main]

use vm2docker_self::pkg::PathFilters;

libfuzzer_sys::fuzz_target!(|input: (&[u8], &[u8])| {
    let (configuration, path) = input;
    let mut filters = PathFilters::default();
    filters.add(configuration);
    let excluded = filters.excludes(path);
    assert!(!excluded || !filters.is_empty());
    assert!(excluded || !filters.excludes_object(path, true));
    let mut all = filters.clone();
    all.add(b"path-exclude=*");
    assert!(all.excludes(path));
    filters.add(b"path-include *\n");
    assert!(!filters.excludes(path) && !filters.excludes_object(path, true));
});
