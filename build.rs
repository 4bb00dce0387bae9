//! How the program is linked, beyond what the configuration says: smaller.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=link");
    // Addresses that only move with the program take a bit each in place of 24 bytes (the C library's start knows that form
    // since 2.36), and what compiles to the same code is there once.
    let mut arguments = vec!["-z,pack-relative-relocs".to_owned(), "--icf=safe".to_owned()];
    // Where a panic ends the program nothing is unwound.
    if env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        let script = env::var("CARGO_MANIFEST_DIR").unwrap_or_default() + "/link/no-unwinding.lds";
        arguments.extend(["--no-eh-frame-hdr".to_owned(), format!("-T,{script}")]);
    }
    for argument in arguments {
        println!("cargo::rustc-link-arg-bins=-Wl,{argument}");
    }
}
