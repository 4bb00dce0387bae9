//! Sizes as readable text.

/// A length with the unit in which it is read most easily (powers of 1024).
pub fn bytes(length: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if length < 1024 {
        return format!("{length} B");
    }
    let power = (length.ilog2() / 10).min(units.len() as u32);
    format!("{:.1} {}", length as f64 / 1024_f64.powi(power as i32), units[power as usize - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_read_easily() {
        for (length, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (5 << 30, "5.0 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(bytes(length), text);
        }
    }
}
