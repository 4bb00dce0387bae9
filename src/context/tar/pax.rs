//! PAX records: `length key=value\n`; the length includes itself (POSIX.1-2001, "pax Extended
//! Header").
//!
//! The length alone ends a record: values are binary, and a newline in a name or in
//! `security.capability` is nothing special. The `tar` crate (0.4.46) refuses a record with a
//! newline in its value and writes only keys that are UTF-8.

use super::malformed;
use std::io::{self, Write};

/// Which extended attributes appeared anywhere in the stream: an archive without any
/// may have been made without `--xattrs`, and then their absence says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct XattrClasses {
    /// `security.capability`.
    pub capability: bool,
    /// `system.posix_acl_access` or `system.posix_acl_default`.
    pub acl: bool,
    /// `user.*`.
    pub user: bool,
}

impl XattrClasses {
    pub(super) fn note(&mut self, name: &[u8]) {
        self.capability |= name == b"security.capability";
        self.acl |= name.starts_with(b"system.posix_acl_");
        self.user |= name.starts_with(b"user.");
    }

    /// Returns the classes that appeared in either stream.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        XattrClasses {
            capability: self.capability || other.capability,
            acl: self.acl || other.acl,
            user: self.user || other.user,
        }
    }
}

pub(super) const XATTR: &[u8] = b"SCHILY.xattr.";

/// Records as they are written.
#[derive(Default)]
pub(super) struct Records(pub(super) Vec<u8>);

impl Records {
    pub(super) fn push(&mut self, key: &[u8], value: &[u8]) {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while length != rest + length.to_string().len() {
            length = rest + length.to_string().len();
        }
        write!(self.0, "{length} ").expect("writing to memory cannot fail");
        self.0.extend([key, b"=", value, b"\n"].concat());
    }
}

/// Keys and values in the archive's order.
pub(super) type Parsed = Vec<(Box<[u8]>, Box<[u8]>)>;

/// The records of one extended header.
pub(super) fn parse(mut data: &[u8]) -> io::Result<Parsed> {
    let broken = || malformed("an extended header that is not a list of PAX records");
    let mut records = Parsed::new();
    while !data.is_empty() {
        let space = data.iter().take(20).position(|&byte| byte == b' ').ok_or_else(broken)?;
        let length =
            decimal(&data[..space]).and_then(|length| usize::try_from(length).ok()).ok_or_else(broken)?;
        if length <= space + 1 || length > data.len() || data[length - 1] != b'\n' {
            return Err(broken());
        }
        let record = &data[space + 1..length - 1];
        let equals = memchr::memchr(b'=', record).filter(|&equals| equals > 0).ok_or_else(broken)?;
        records.push((record[..equals].into(), record[equals + 1..].into()));
        data = &data[length..];
    }
    Ok(records)
}

/// An unsigned decimal number, nothing around it.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    let digits = (!text.is_empty() && text.iter().all(u8::is_ascii_digit)).then_some(text)?;
    str::from_utf8(digits).ok()?.parse().ok()
}

const SECOND: i128 = 1_000_000_000;

/// A time as PAX writes it: decimal seconds since 1970, `-1.5` being one and a half seconds
/// before.
pub(super) fn format_time(seconds: i64, nanoseconds: u32) -> String {
    let total = i128::from(seconds) * SECOND + i128::from(nanoseconds);
    let sign = if total < 0 { "-" } else { "" };
    let (whole, fraction) = (total.abs() / SECOND, total.abs() % SECOND);
    if fraction == 0 {
        return format!("{sign}{whole}");
    }
    format!("{sign}{whole}.{fraction:09}").trim_end_matches('0').to_owned()
}

/// Returns seconds (rounded down) and nanoseconds. Further digits are ignored.
pub(super) fn parse_time(text: &[u8]) -> Option<(i64, u32)> {
    let (negative, text) = text.strip_prefix(b"-").map_or((false, text), |rest| (true, rest));
    let dot = memchr::memchr(b'.', text).unwrap_or(text.len());
    let whole = i128::from(decimal(&text[..dot])?);
    let digits = text.get(dot + 1..).unwrap_or_default();
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digit = |place: usize| digits.get(place).map_or(0, |digit| i128::from(digit - b'0'));
    let fraction = (0..9).fold(0, |value, place| value * 10 + digit(place));
    let total = whole * SECOND + fraction;
    let total = if negative { -total } else { total };
    let seconds = i64::try_from(total.div_euclid(SECOND)).ok()?;
    Some((seconds, u32::try_from(total.rem_euclid(SECOND)).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn push_any_length_includes_itself() {
        for (value, text) in [(0, "5 k=\n"), (4, "9 k=xxxx\n"), (5, "11 k=xxxxx\n")] {
            let mut records = Records::default();
            records.push(b"k", &vec![b'x'; value]);
            assert_eq!(String::from_utf8(records.0).unwrap(), text);
        }
        for length in 0..2000 {
            let mut records = Records::default();
            records.push(b"path", &vec![b'\n'; length]);
            records.push(b"size", b"7");
            let parsed = parse(&records.0).unwrap();
            assert_eq!(parsed[0].1.len(), length);
            assert_eq!(&*parsed[1].1, b"7");
        }
    }

    /// A reason why the reader is not the `tar` crate's: docs/decisions/0001-tar-reader.md.
    #[test]
    fn tar_crate_value_with_newline_is_malformed() {
        let record = b"12 path=a\nb\n";
        assert_eq!(&*parse(record).unwrap()[0].1, b"a\nb");
        assert!(tar::PaxExtensions::new(record).next().is_some_and(|record| record.is_err()));
    }

    #[test]
    fn broken_records_are_errors() {
        for data in [
            "x",
            "5 k=",
            "4 k=\n",
            "99 k=\n",
            "0 k=\n",
            "5 kk\n",
            "5 =k\n",
            "-5 k=\n",
            "18446744073709551616 k=\n",
        ] {
            assert!(parse(data.as_bytes()).is_err(), "{data}");
        }
    }

    #[test]
    fn times_before_1970_keep_their_fraction() {
        for (time, text) in [
            ((0, 0), "0"),
            ((1, 500_000_000), "1.5"),
            ((-2, 500_000_000), "-1.5"),
            ((-1, 500_000_000), "-0.5"),
            ((-1, 999_999_999), "-0.000000001"),
            ((-62_135_596_800, 0), "-62135596800"),
            ((i64::MAX, 999_999_999), "9223372036854775807.999999999"),
            ((i64::MIN, 0), "-9223372036854775808"),
        ] {
            assert_eq!(format_time(time.0, time.1), text);
            assert_eq!(parse_time(text.as_bytes()), Some(time), "{text}");
        }
        assert_eq!(parse_time(b"1.1234567899"), Some((1, 123_456_789)));
        for text in ["", "-", "1e3", "1.x", "+1", " 1", "9223372036854775808"] {
            assert_eq!(parse_time(text.as_bytes()), None, "{text}");
        }
    }
}
