//! Compressed streams, detected by their first bytes (RFC 1952, RFC 8878, the .xz file format
//! 1.2.1).

use super::stream::read_full;
use std::io::{self, BufReader, Cursor, Read};

/// How a stream is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip, in any number of members.
    Gzip,
    /// Zstandard, in any number of frames.
    Zstd,
    /// xz, in any number of streams.
    Xz,
}

/// Formats that are detected and refused: first bytes, name, and the command that decompresses
/// them.
const REFUSED: [(&[u8], &str, &str); 3] = [
    (b"BZh", "bzip2", "bzip2 -d"),
    (b"\x04\x22\x4d\x18", "lz4", "lz4 -d"),
    (b"\x5d\0\0", "lzma", "xz -d --format=lzma"),
];
/// Memory limit in KiB for decoding xz. `xz -9`, the highest level that archives and packages
/// use, needs 65 MiB.
const XZ_MEMORY_KIB: u32 = 128 << 10;
/// Largest window of a zstd frame, as a power of two: 128 MiB. `zstd --ultra -22` needs it.
const ZSTD_WINDOW_LOG: u32 = 27;
/// Long enough for every magic number here.
const LONGEST: usize = 6;

/// The format that begins with `head` (at least six bytes of it, unless the stream is shorter).
///
/// `Unsupported` for bzip2, lz4 and lzma, saying how to decompress them.
pub fn detect(head: &[u8]) -> io::Result<Compression> {
    for (magic, name, command) in REFUSED {
        if head.starts_with(magic) {
            let text = format!(
                "compressed with {name}, which is not read here; decompress it first: {command} FILE"
            );
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
    }
    Ok(match head {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Compression::Xz,
        _ => Compression::None,
    })
}

/// Returns the decompressed stream and the compression that it had. Errors are those of
/// [`detect`] and of `reader`.
pub fn decompress<'a, R: Read + Send + 'a>(
    mut reader: R,
) -> io::Result<(Compression, Box<dyn Read + Send + 'a>)> {
    let mut head = vec![0; LONGEST];
    let got = read_full(&mut reader, &mut head)?;
    head.truncate(got);
    let compression = detect(&head)?;
    let whole = BufReader::with_capacity(128 << 10, Cursor::new(head).chain(reader));
    Ok((
        compression,
        match compression {
            Compression::None => Box::new(whole),
            Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(whole)),
            Compression::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(whole)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Box::new(decoder)
            }
            Compression::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(whole, true, XZ_MEMORY_KIB)),
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn xz(data: &[u8]) -> Vec<u8> {
        let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), Default::default()).unwrap();
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn read(data: &[u8]) -> io::Result<(Compression, Vec<u8>)> {
        let (compression, mut reader) = decompress(data)?;
        let mut content = Vec::new();
        reader.read_to_end(&mut content)?;
        Ok((compression, content))
    }

    #[test]
    fn members_and_frames_follow_one_another() {
        let zstd = |data: &[u8]| zstd::encode_all(data, 1).unwrap();
        let cases = [
            (b"plain text".to_vec(), Compression::None, &b"plain text"[..]),
            (b"".to_vec(), Compression::None, b""),
            (b"ab".to_vec(), Compression::None, b"ab"),
            ([gzip(b"one"), gzip(b"two")].concat(), Compression::Gzip, b"onetwo"),
            ([zstd(b"one"), zstd(b"two")].concat(), Compression::Zstd, b"onetwo"),
            ([xz(b"one"), xz(b"two")].concat(), Compression::Xz, b"onetwo"),
            ([b"\x50\x2a\x4d\x18\x02\0\0\0xx".to_vec(), zstd(b"one")].concat(), Compression::Zstd, b"one"),
        ];
        for (data, compression, content) in cases {
            assert_eq!(read(&data).unwrap(), (compression, content.to_vec()));
        }
    }

    #[test]
    fn decompress_truncated_stream_returns_error() {
        let data = [7; 5000];
        for data in [gzip(&data), zstd::encode_all(&data[..], 1).unwrap(), xz(&data)] {
            for end in 7..data.len() {
                assert!(read(&data[..end]).is_err(), "{end}");
            }
        }
    }

    #[test]
    fn decompress_refused_format_names_the_command() {
        for (data, command) in
            [(&b"\x5d\0\0\x80\0\xff"[..], "xz -d --format=lzma"), (b"BZh91AY&SY", "bzip2 -d")]
        {
            let error = read(data).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::Unsupported);
            assert!(error.to_string().contains(command), "{error}");
        }
    }
}
