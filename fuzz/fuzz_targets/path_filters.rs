//! Any configuration and path: no panic, and no pattern needs time exponential in its length.
//! Without a filter, no path is excluded. A directory is excluded only if a file of that name
//! would be.
//! A last line `path-include *` includes all paths, `path-exclude *` excludes all.
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
