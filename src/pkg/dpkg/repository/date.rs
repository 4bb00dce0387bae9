//! Dates of release files and of snapshot repositories, all in UTC.

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAY: i64 = 86_400;

/// Parses a date such as `Sat, 09 Sep 2023 10:00:00 UTC` (RFC 5322) into seconds since 1970.
/// `None` for other time zones.
pub fn parse(text: &str) -> Option<i64> {
    let mut words = text.split_ascii_whitespace().skip_while(|word| word.ends_with(','));
    let (day, month, year, time) = (words.next()?, words.next()?, words.next()?, words.next()?);
    if !matches!(words.next(), Some("UTC" | "GMT" | "Z" | "+0000")) || words.next().is_some() {
        return None;
    }
    let month = MONTHS.iter().position(|name| *name == month)? as i64 + 1;
    let mut parts = time.splitn(3, ':').map(|part| number(part, 0, 60));
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    let days = days(number(year, 1970, 9999)?, month, number(day, 1, 31)?);
    Some(days * DAY + hour * 3600 + minute * 60 + second)
}

fn number(text: &str, least: i64, most: i64) -> Option<i64> {
    let digits = (1..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|value| digits && (least..=most).contains(value))
}

/// Formats a time as snapshot repositories do: `20230909T100000Z`.
pub fn stamp(seconds: i64) -> String {
    let (year, month, day) = civil(seconds.div_euclid(DAY));
    let rest = seconds.rem_euclid(DAY);
    format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

/// Formats a date for messages: `2023-09-09`.
pub fn day(seconds: i64) -> String {
    let (year, month, day) = civil(seconds.div_euclid(DAY));
    format!("{year:04}-{month:02}-{day:02}")
}

/// Returns the days from 1970-01-01 to a day of the Gregorian calendar. Years begin in March, so
/// that leap days come last.
pub fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
}

/// Returns year, month and day; the reverse of [`days`].
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year + i64::from(month <= 2), month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Expected values are those of `date -u -d`.
    #[test]
    fn parse_dates_return_seconds_and_stamps() {
        for (text, seconds, written) in [
            ("Thu, 01 Jan 1970 00:00:00 UTC", 0, "19700101T000000Z"),
            ("Sat, 09 Sep 2023 10:00:01 UTC", 1_694_253_601, "20230909T100001Z"),
            ("29 Feb 2024 23:59:59 +0000", 1_709_251_199, "20240229T235959Z"),
            ("Fri, 31 Dec 2100  1:02:03 GMT", 4_133_898_123, "21001231T010203Z"),
        ] {
            assert_eq!(parse(text), Some(seconds), "{text}");
            assert_eq!(stamp(seconds), written);
        }
        assert_eq!(day(1_694_253_601), "2023-09-09");
        for text in
            ["", "nonsense", "Sat, 09 Sep 2023 10:00:00 CEST", "09 Sep 2023 10:00 UTC", "9 9 2023 1:1:1 UTC"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn civil_reverses_days(number in -100_000i64..4_000_000) {
            let (year, month, day) = civil(number);
            prop_assert_eq!(days(year, month, day), number);
        }

        #[test]
        fn parse_any_text_never_panics(text in ".{0,60}") {
            let _ = parse(&text);
        }
    }
}
