//! Any stream: no panic, and memory use is independent of the output's size.
//! Data compressed by gzip and zstd is restored, also from several members; uncompressed bytes
//! stay the same.
//! A truncated stream is an error and never returns a shorter content.
#![no_main]

use std::io::{Read, Write};
use vm2docker_self::context::decompress::{Compression, decompress, detect};
use vm2docker_self_fuzz::drain;

/// Maximum output in bytes, because a few bytes of input can expand to gigabytes.
const MOST: u64 = 8 << 20;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok((compression, mut reader)) = decompress(bytes) {
        let content = drain(&mut reader, MOST);
        if compression == Compression::None {
            assert_eq!(content.expect("memory"), bytes);
        }
    } else {
        let _ = detect(bytes);
    }
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let streams = [
        (Compression::Gzip, [gzip(first), gzip(second)].concat()),
        (Compression::Zstd, [zstd(first), zstd(second)].concat()),
    ];
    for (compression, stream) in streams {
        assert_eq!(read(&stream), Some((compression, bytes.to_vec())));
        let end = stream.len() - 1 - bytes.len() % 8;
        assert_eq!(read(&stream[..end]), None);
    }
});

fn read(stream: &[u8]) -> Option<(Compression, Vec<u8>)> {
    let (compression, mut reader) = decompress(stream).ok()?;
    let mut content = Vec::new();
    reader.read_to_end(&mut content).ok()?;
    Some((compression, content))
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).expect("memory");
    encoder.finish().expect("memory")
}

fn zstd(data: &[u8]) -> Vec<u8> {
    zstd::encode_all(data, 1).expect("memory")
}
