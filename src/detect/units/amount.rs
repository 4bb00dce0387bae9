//! Parses time spans, sizes and limits of unit files (`systemd.time(7)`,
//! `systemd.resource-control(5)`).

use std::time::Duration;

/// A time span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeSpan {
    /// A finite duration.
    Finite(Duration),
    /// `infinity`.
    Infinite,
}

impl TimeSpan {
    /// Returns the duration, or `None` for `infinity`.
    pub fn finite(self) -> Option<Duration> {
        match self {
            TimeSpan::Finite(duration) => Some(duration),
            TimeSpan::Infinite => None,
        }
    }
}

/// Names of time units, with microseconds per unit. A month is a twelfth of 365.25 days.
const TIME_UNITS: &[(&[&str], u64)] = &[
    (&["us", "usec", "µs", "μs"], 1),
    (&["ms", "msec"], 1_000),
    (&["s", "sec", "second", "seconds", ""], 1_000_000),
    (&["m", "min", "minute", "minutes"], 60_000_000),
    (&["h", "hr", "hour", "hours"], 3_600_000_000),
    (&["d", "day", "days"], 86_400_000_000),
    (&["w", "week", "weeks"], 604_800_000_000),
    (&["M", "month", "months"], 2_629_800_000_000),
    (&["y", "year", "years"], 31_557_600_000_000),
];

/// Parses `5min 20s`, `1.5h`, `90` (seconds) or `infinity`. Returns `None` for other text.
pub fn time_span(text: &[u8]) -> Option<TimeSpan> {
    let mut rest = std::str::from_utf8(text).ok()?.trim_ascii();
    if rest == "infinity" {
        return Some(TimeSpan::Infinite);
    }
    let mut total: u128 = 0;
    let mut parts = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(end);
        let tail = tail.trim_ascii_start();
        let end = tail.find(|c: char| c.is_ascii_digit() || c.is_ascii_whitespace()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let &(_, micros) = TIME_UNITS.iter().find(|(names, _)| names.contains(&unit))?;
        total = total.checked_add(scaled(number, micros)?)?;
        parts += 1;
        rest = tail.trim_ascii_start();
    }
    let micros = u64::try_from(total).ok().filter(|_| parts > 0)?;
    Some(TimeSpan::Finite(Duration::from_micros(micros)))
}

/// Multiplies a decimal number by an integer and rounds down.
fn scaled(number: &str, factor: u64) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    // More digits are far below a microsecond and could overflow.
    let fraction = fraction.get(..fraction.len().min(15))?;
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let digits = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<u64>().ok() };
    let scale = 10u128.pow(fraction.len() as u32);
    let value = u128::from(digits(whole)?) * scale + u128::from(digits(fraction)?);
    Some(value.checked_mul(u128::from(factor))? / scale)
}

/// A limit of memory, processes or other resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// An absolute limit, in bytes or as a count.
    Absolute(u64),
    /// A share of the machine's total, in hundredths of a percent.
    Share(u32),
    /// `infinity`.
    Infinite,
}

/// Parses a limit: a number with `K`, `M`, `G`, `T`, `P` or `E` (powers of 1024), a percentage,
/// or `infinity`.
pub fn limit(text: &[u8]) -> Option<Limit> {
    match text {
        b"infinity" => Some(Limit::Infinite),
        [share @ .., b'%'] => percent(share).map(Limit::Share),
        _ => size(text).map(Limit::Absolute),
    }
}

/// Parses a number of bytes with a suffix to the base 1024, optionally followed by `B`.
pub fn size(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?.trim_ascii();
    let text = text.strip_suffix('B').unwrap_or(text);
    let power = text.chars().last().and_then(|last| "KMGTPE".find(last)).map_or(0, |at| at + 1);
    let number = if power > 0 { &text[..text.len() - 1] } else { text };
    u64::try_from(scaled(number.trim_ascii(), 1 << (10 * power))?).ok()
}

/// Parses a percentage without its `%`. Returns hundredths of a percent.
pub fn percent(text: &[u8]) -> Option<u32> {
    u32::try_from(scaled(std::str::from_utf8(text).ok()?.trim_ascii(), 100)?).ok()
}

/// Parses an octal mode of at most four digits.
pub fn mode(text: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(text).ok()?;
    u16::from_str_radix(text, 8).ok().filter(|&mode| mode <= 0o7777 && !text.starts_with('+'))
}

/// Parses a decimal number.
pub fn integer<N: std::str::FromStr>(text: &[u8]) -> Option<N> {
    std::str::from_utf8(text).ok()?.trim_ascii().parse().ok()
}

/// A resource limit of the kernel (`setrlimit(2)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResourceLimit {
    /// Resource in lower case, as in Docker's `--ulimit`: `nofile`.
    pub resource: &'static str,
    /// Soft limit; `None` means unlimited.
    pub soft: Option<u64>,
    /// Hard limit, up to which a process can raise the soft limit; `None` means unlimited.
    pub hard: Option<u64>,
}

/// Notation of a resource's values.
#[derive(Clone, Copy, PartialEq)]
enum Scale {
    Number,
    Bytes,
    Seconds,
    Microseconds,
    Nice,
}

/// Keys of a unit file with their resources ("PROCESS PROPERTIES" in `systemd.exec(5)`).
const RESOURCES: &[(&str, &str, Scale)] = &[
    ("LimitAS", "as", Scale::Bytes),
    ("LimitCORE", "core", Scale::Bytes),
    ("LimitCPU", "cpu", Scale::Seconds),
    ("LimitDATA", "data", Scale::Bytes),
    ("LimitFSIZE", "fsize", Scale::Bytes),
    ("LimitLOCKS", "locks", Scale::Number),
    ("LimitMEMLOCK", "memlock", Scale::Bytes),
    ("LimitMSGQUEUE", "msgqueue", Scale::Bytes),
    ("LimitNICE", "nice", Scale::Nice),
    ("LimitNOFILE", "nofile", Scale::Number),
    ("LimitNPROC", "nproc", Scale::Number),
    ("LimitRSS", "rss", Scale::Bytes),
    ("LimitRTPRIO", "rtprio", Scale::Number),
    ("LimitRTTIME", "rttime", Scale::Microseconds),
    ("LimitSIGPENDING", "sigpending", Scale::Number),
    ("LimitSTACK", "stack", Scale::Bytes),
];

impl ResourceLimit {
    /// Returns the keys that set limits.
    pub fn keys() -> impl Iterator<Item = &'static str> {
        RESOURCES.iter().map(|(key, ..)| *key)
    }

    /// Parses the value of one of [`ResourceLimit::keys`]: a limit, or `soft:hard`.
    pub fn parse(key: &str, value: &[u8]) -> Option<Self> {
        let &(_, resource, scale) = RESOURCES.iter().find(|(known, ..)| *known == key)?;
        let (soft, hard) = match memchr::memchr(b':', value) {
            Some(colon) => (&value[..colon], &value[colon + 1..]),
            None => (value, value),
        };
        let (soft, hard) = (scale.read(soft.trim_ascii())?, scale.read(hard.trim_ascii())?);
        let is_ordered = hard.is_none_or(|hard| soft.is_some_and(|soft| soft <= hard));
        is_ordered.then_some(ResourceLimit { resource, soft, hard })
    }
}

impl Scale {
    /// Returns the kernel's number; the inner `None` means unlimited.
    fn read(self, text: &[u8]) -> Option<Option<u64>> {
        if text == b"infinity" {
            return Some(None);
        }
        let number = match self {
            Scale::Number => integer(text)?,
            Scale::Bytes => size(text)?,
            // A number without unit is in microseconds here, but in seconds in other time spans.
            Scale::Microseconds if text.iter().all(u8::is_ascii_digit) => integer(text)?,
            Scale::Microseconds => u64::try_from(time_span(text)?.finite()?.as_micros()).ok()?,
            // The kernel counts whole seconds, so fractions are rounded up.
            Scale::Seconds => {
                u64::try_from(time_span(text)?.finite()?.as_micros().div_ceil(1_000_000)).ok()?
            }
            // A signed number is a nice level. The kernel stores 20 minus the level
            // (setrlimit(2)).
            Scale::Nice if matches!(text.first(), Some(b'+' | b'-')) => {
                let level: i64 = integer(text)?;
                u64::try_from(20i64.checked_sub(level)?).ok()?
            }
            Scale::Nice => integer(text)?,
        };
        Some(Some(number))
    }
}
