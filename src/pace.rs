//! Production comes first: this process asks for little, and gives way to others who want the disk.
//!
//! Others are in need when tasks of the machine wait for their disk a good part of the time (pressure stall information,
//! `Documentation/accounting/psi.rst` of Linux) *and* somebody else than this process moves data. Waiting alone means nothing:
//! whoever reads from a disk waits for it. Then the rate halves with every look, down to 1 MiB/s, and doubles again when the
//! need is over.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Between two looks at the machine.
const INTERVAL: Duration = Duration::from_millis(250);
/// The share of the time that somebody waits, from which on it is need.
const NEED: f64 = 0.10;
/// Bytes a second that others move, from which on they are there at all: some fifty small reads.
const OTHERS: f64 = 200_000.0;
/// Nanoseconds of rest for each mebibyte: the first step, about a tenth of a disk's time, and the last, 1 MiB/s.
const FIRST: u64 = 2_000_000;
const LAST: u64 = 1_000_000_000;

/// Nanoseconds that a reader rests for each mebibyte that it has read.
static REST: AtomicU64 = AtomicU64::new(0);
/// Whether this process was told to be polite.
static POLITE: AtomicBool = AtomicBool::new(false);

/// Takes the back seat for processor, disk and memory, and begins to look after the machine's need. What the kernel does not
/// let this process do is left out: none of it is needed for the result.
pub fn be_polite() {
    POLITE.store(true, Relaxed);
    // The disk's priority follows from this where its scheduler knows priorities (ioprio_set(2), "IOPRIO_CLASS_NONE").
    let _ = rustix::process::setpriority_process(None, 19);
    // When memory runs out, this process is the one to end (proc_pid_oom_score_adj(5)).
    let _ = std::fs::write("/proc/self/oom_score_adj", "800");
    let watch = || {
        let mut before = Sample::take();
        loop {
            std::thread::sleep(INTERVAL);
            let now = Sample::take();
            REST.store(next(REST.load(Relaxed), &before, &now), Relaxed);
            before = now;
        }
    };
    // Without the thread the run is as fast as it can be.
    let _ = std::thread::Builder::new().name("pace".to_owned()).spawn(watch);
}

/// Whether this process takes the back seat.
pub fn is_polite() -> bool {
    POLITE.load(Relaxed)
}

/// Rests, if others are in need, for as long as so many bytes are worth.
pub fn rest(bytes: usize) {
    let rest = REST.load(Relaxed);
    if rest > 0 {
        std::thread::sleep(Duration::from_nanos(rest.saturating_mul(bytes as u64) >> 20));
    }
}

/// Counters of the machine at one moment.
struct Sample {
    when: Instant,
    /// Microseconds that some task has waited for a disk; nothing where the kernel does not tell.
    waited: Option<u64>,
    /// Bytes that all processes have moved from and to disks, and this one.
    all: u64,
    own: u64,
}

impl Sample {
    fn take() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        Sample {
            when: Instant::now(),
            waited: waited(&read("/proc/pressure/io")),
            all: moved(&read("/proc/vmstat"), ' ', &["pgpgin", "pgpgout"]) << 10,
            own: moved(&read("/proc/self/io"), ':', &["read_bytes", "write_bytes"]),
        }
    }
}

/// `some ... total=MICROSECONDS`.
fn waited(pressure: &str) -> Option<u64> {
    let some = pressure.lines().find_map(|line| line.strip_prefix("some "))?;
    some.split(' ').find_map(|field| field.strip_prefix("total="))?.trim().parse().ok()
}

/// The sum of some counters, `NAME VALUE` a line.
fn moved(text: &str, separator: char, names: &[&str]) -> u64 {
    let value = |line: &str| {
        let (name, value) = line.split_once(separator)?;
        names.contains(&name).then(|| value.trim().parse::<u64>().ok())?
    };
    text.lines().filter_map(value).sum()
}

/// The rest for each mebibyte after one more look.
fn next(rest: u64, before: &Sample, now: &Sample) -> u64 {
    let seconds = (now.when - before.when).as_secs_f64();
    let others = (now.all - before.all.min(now.all)).saturating_sub(now.own - before.own.min(now.own));
    let waiting = match (before.waited, now.waited) {
        (Some(before), Some(now)) => (now - before.min(now)) as f64 / 1e6 / seconds,
        // Where the kernel does not tell, whoever moves data is taken to be in need.
        _ => 1.0,
    };
    if waiting >= NEED && others as f64 / seconds >= OTHERS {
        (rest * 2).clamp(FIRST, LAST)
    } else if rest > FIRST {
        rest / 2
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_as_the_kernel_writes_them() {
        let pressure = "some avg10=0.12 avg60=0.00 avg300=0.00 total=4242\nfull avg10=0.00 total=17\n";
        assert_eq!(waited(pressure), Some(4242));
        assert_eq!(waited(""), None);
        assert_eq!(moved("pgpgin 5\npgpgout 7\npgpgin_x 9\n", ' ', &["pgpgin", "pgpgout"]), 12);
        assert_eq!(
            moved("rchar: 9\nread_bytes: 4096\nwrite_bytes: 1\n", ':', &["read_bytes", "write_bytes"]),
            4097
        );
        assert!(Sample::take().all > 0 || !std::path::Path::new("/proc/vmstat").exists());
    }

    #[test]
    fn the_rate_gives_way_only_to_others_in_need() {
        let begun = Instant::now();
        let at =
            |quarter: u32, waited, all, own| Sample { when: begun + INTERVAL * quarter, waited, all, own };
        let zero = at(0, Some(0), 0, 0);
        // Waiting for oneself, and others who do not wait.
        assert_eq!(next(0, &zero, &at(1, Some(200_000), 1 << 20, 1 << 20)), 0);
        assert_eq!(next(0, &zero, &at(1, Some(1_000), 9 << 20, 1 << 20)), 0);
        let needy = at(1, Some(100_000), 2 << 20, 1 << 20);
        assert_eq!(next(0, &zero, &needy), FIRST);
        let mut rest = 0;
        for _ in 0..8 {
            rest = next(rest, &zero, &needy);
        }
        assert!(rest >= FIRST * 100, "halved every quarter of a second: {rest}");
        for _ in 0..8 {
            rest = next(rest, &zero, &needy);
        }
        assert_eq!(rest, LAST, "1 MiB/s and no less");
        for _ in 0..10 {
            rest = next(rest, &zero, &zero.at_rest());
        }
        assert_eq!(rest, 0, "over within three seconds");
        assert_eq!(
            next(0, &at(0, None, 0, 0), &at(1, None, 1 << 20, 0)),
            FIRST,
            "a kernel that does not tell"
        );
    }

    impl Sample {
        fn at_rest(&self) -> Self {
            Sample { when: self.when + INTERVAL, ..*self }
        }
    }
}
