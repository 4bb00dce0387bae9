//! Any repository file: URLs contain only graphic ASCII and no variable.
//! So none can add a line or an option to the file of the build.
#![no_main]

use vm2docker_self::pkg::rpm::repository::config;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for url in config::parsed_urls(bytes) {
        assert!(!url.is_empty() && url.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'$'), "{url}");
    }
});
