//! `--compress`: how the archives of a context are packed.

use std::io::{self, Write};
use std::str::FromStr;

/// Bytes that one thread compresses at a time. The output depends on this number, so it is fixed.
const JOB: u32 = 2 << 20;

/// A format of compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Zstandard (RFC 8878): fast, and in the kernel's and every engine's reach.
    Zstd,
    /// gzip (RFC 1952), on one processor.
    Gzip,
    /// A plain tar archive.
    None,
}

/// Format and level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression {
    /// The format.
    pub format: Format,
    /// Its level; 0 where there is none.
    pub level: u32,
}

impl FromStr for Compression {
    type Err = String;

    /// `zstd`, `gzip` or `none`, the first two with `:LEVEL`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (word, level) = text.split_once(':').map_or((text, None), |(word, level)| (word, Some(level)));
        let (format, default, highest) = match word {
            "zstd" => (Format::Zstd, 3, 19),
            "gzip" => (Format::Gzip, 6, 9),
            "none" => (Format::None, 0, 0),
            _ => return Err("write zstd, gzip or none, and a level as in zstd:9".to_owned()),
        };
        let level = match level {
            None => default,
            Some(level) => level.parse().map_err(|_| "the level is not a number".to_owned())?,
        };
        if level > highest || level == 0 && format != Format::None {
            return Err(format!("levels of {word} go from 1 to {highest}"));
        }
        Ok(Compression { format, level })
    }
}

impl Compression {
    /// Returns the suffix of an archive's name.
    pub fn extension(self) -> &'static str {
        match self.format {
            Format::Zstd => ".zst",
            Format::Gzip => ".gz",
            Format::None => "",
        }
    }

    /// Packs what is written to it into `out`. `threads` never shows in the bytes.
    pub fn pack<W: Write>(self, out: W, threads: u32) -> io::Result<Packer<W>> {
        Ok(match self.format {
            Format::None => Packer::None(out),
            Format::Gzip => {
                Packer::Gzip(flate2::write::GzEncoder::new(out, flate2::Compression::new(self.level)))
            }
            Format::Zstd => {
                let mut encoder = zstd::Encoder::new(out, self.level as i32)?;
                // Always the threaded form, whose blocks do not depend on the number of threads.
                encoder.multithread(threads.max(1))?;
                // By zstd's own choice four windows, read and written: 20 MiB of memory a thread.
                encoder.set_parameter(zstd::zstd_safe::CParameter::JobSize(JOB))?;
                encoder.include_checksum(true)?;
                Packer::Zstd(encoder)
            }
        })
    }
}

/// A compressor over `W`.
pub enum Packer<W: Write> {
    /// Zstandard.
    Zstd(zstd::Encoder<'static, W>),
    /// gzip.
    Gzip(flate2::write::GzEncoder<W>),
    /// Nothing is done.
    None(W),
}

impl<W: Write> Packer<W> {
    /// Writes what is left and gives `W` back.
    pub fn finish(self) -> io::Result<W> {
        match self {
            Packer::Zstd(encoder) => encoder.finish(),
            Packer::Gzip(encoder) => encoder.finish(),
            Packer::None(out) => Ok(out),
        }
    }
}

impl<W: Write> Write for Packer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Packer::Zstd(encoder) => encoder.write(bytes),
            Packer::Gzip(encoder) => encoder.write(bytes),
            Packer::None(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Packer::Zstd(encoder) => encoder.flush(),
            Packer::Gzip(encoder) => encoder.flush(),
            Packer::None(out) => out.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn words_and_levels() {
        for (text, level) in [("zstd", 3), ("zstd:19", 19), ("gzip", 6), ("gzip:1", 1), ("none", 0)] {
            assert_eq!(text.parse::<Compression>().unwrap().level, level, "{text}");
        }
        for text in ["", "xz", "zstd:", "zstd:0", "zstd:20", "gzip:10", "none:1", "zstd:-1"] {
            assert!(text.parse::<Compression>().is_err(), "{text}");
        }
    }

    #[test]
    fn every_format_reads_back_and_threads_do_not_show() {
        let content: Vec<u8> = (0..3_000_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        for text in ["zstd:1", "gzip:1", "none"] {
            let compression: Compression = text.parse().unwrap();
            let packed = [1, 2, 5].map(|threads| {
                let mut packer = compression.pack(Vec::new(), threads).unwrap();
                packer.write_all(&content).unwrap();
                packer.finish().unwrap()
            });
            assert!(packed[0] == packed[1] && packed[0] == packed[2], "{text}");
            let (_, mut reader) = crate::context::decompress::decompress(&packed[0][..]).unwrap();
            let mut read = Vec::new();
            reader.read_to_end(&mut read).unwrap();
            assert!(read == content, "{text}");
        }
    }
}
