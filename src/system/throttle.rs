//! Runs this process at low priority and slows it down while other processes use the disk.
//!
//! Its requests are last in the disk's queue (the idle class of `ioprio_set(2)`). A request that
//! the disk already processes still delays other processes. So this process reads small chunks
//! without read-ahead ([`CacheNeutralReader`](super::cache_neutral::CacheNeutralReader)). It
//! writes at most 64 MiB/s while other processes transfer data.
//!
//! Every 100 ms, a thread halves the rate, down to 1 MiB/s, if two conditions hold:
//!
//! - Tasks wait for disks at least 10 % of the time (pressure stall information,
//!   `Documentation/accounting/psi.rst` of Linux).
//! - Other processes transfer data. Waiting alone is not enough, because this process also waits
//!   for each of its own reads.
//!
//! Otherwise the thread doubles the rate until this process no longer pauses.
//!
//! The kernel shares the CPU by weight (sched(7)). At nice 19, a run next to two busy processes
//! per CPU gets 0.7 % of it and does not finish. At [`NICENESS`] it gets 20 %.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{Duration, Instant};

/// Nice value of the run. Its weight is 526, that of nice 0 is 1024: next to two busy processes
/// per CPU, a run gets 20 % of it and ends within 6 times its undisturbed time.
const NICENESS: i32 = 3;
/// Time between two samples of the machine's counters.
const INTERVAL: Duration = Duration::from_millis(100);
/// Minimum share of the time that tasks wait for a disk at which this process is throttled.
const MIN_DISK_WAIT: f64 = 0.10;
/// Minimum share of the time that tasks wait for a CPU at which other processes need it. The
/// threads of a run on an otherwise idle machine wait for each other less.
const MIN_CPU_WAIT: f64 = 0.50;
/// Minimum number of bytes per second at which other processes count as active: about 50 small
/// reads.
const MIN_OTHERS_RATE: f64 = 200_000.0;
/// Shortest pause in nanoseconds per MiB: about 10 % of a disk's time.
const MIN_PAUSE: u64 = 2_000_000;
/// Longest pause in nanoseconds per MiB: 1 MiB/s.
const MAX_PAUSE: u64 = 1_000_000_000;
/// Pause in nanoseconds per MiB written while other processes are active: 64 MiB/s.
const WRITE_PAUSE: u64 = 1_000_000_000 / 64;

/// Pause of readers in nanoseconds per MiB read.
static PAUSE: AtomicU64 = AtomicU64::new(0);
/// Whether this process runs at low priority.
static THROTTLED: AtomicBool = AtomicBool::new(false);
/// Whether other processes transfer data. True until the first interval has been measured.
static OTHERS_ARE_ACTIVE: AtomicBool = AtomicBool::new(true);
/// Whether other processes need the CPU.
static CPU_IS_NEEDED: AtomicBool = AtomicBool::new(false);

/// Lowers the priority of this process for CPU, disk and memory, and starts the thread that
/// samples the machine's counters.
///
/// Ignores errors, because the result of the run does not depend on the priority.
pub fn lower_priority() {
    THROTTLED.store(true, Relaxed);
    let _ = rustix::process::setpriority_process(None, NICENESS);
    let _ = idle_io::set();
    // If memory runs out, the kernel kills this process first (proc_pid_oom_score_adj(5)).
    let _ = std::fs::write("/proc/self/oom_score_adj", "800");
    // Without the thread, only the write rate is limited.
    let _ = std::thread::Builder::new().name("pace".to_owned()).spawn(adjust_rate);
}

/// Samples the machine's counters in each interval and sets the pauses. Never returns.
fn adjust_rate() {
    let mut before = Sample::take();
    let mut writing = 0;
    loop {
        std::thread::sleep(INTERVAL);
        let now = Sample::take();
        let seen = Seen::between(&before, &now, &mut writing);
        OTHERS_ARE_ACTIVE.store(seen.others >= MIN_OTHERS_RATE, Relaxed);
        CPU_IS_NEEDED.store(seen.cpu >= MIN_CPU_WAIT, Relaxed);
        PAUSE.store(next_pause(PAUSE.load(Relaxed), &seen), Relaxed);
        before = now;
    }
}

/// Whether this process runs at low priority.
pub fn is_throttled() -> bool {
    THROTTLED.load(Relaxed)
}

/// Returns the reason why the run is throttled, for the progress line.
pub fn throttled() -> Option<&'static str> {
    if PAUSE.load(Relaxed) > 0 {
        Some("throttled: other processes use the disk")
    } else if CPU_IS_NEEDED.load(Relaxed) {
        Some("throttled: other processes use the CPU")
    } else {
        None
    }
}

/// Pauses after this number of bytes was read, if other processes need the disk.
pub fn pause(bytes: usize) {
    sleep(PAUSE.load(Relaxed), bytes as u64);
}

/// Pauses after this number of bytes was written, if other processes are active.
pub fn pause_after_writing(bytes: u64) {
    let least = if is_throttled() && OTHERS_ARE_ACTIVE.load(Relaxed) { WRITE_PAUSE } else { 0 };
    sleep(PAUSE.load(Relaxed).max(least), bytes);
}

fn sleep(nanoseconds_per_mebibyte: u64, bytes: u64) {
    if nanoseconds_per_mebibyte > 0 {
        std::thread::sleep(Duration::from_nanos(nanoseconds_per_mebibyte.saturating_mul(bytes) >> 20));
    }
}

/// Counters of the machine and of this process at one time.
#[derive(Clone, Copy)]
struct Sample {
    when: Instant,
    /// Microseconds that tasks have waited for disks; `None` if the kernel does not report it.
    waited: Option<u64>,
    /// Microseconds that tasks have waited for a CPU; 0 if the kernel does not report it.
    waited_for_cpu: u64,
    /// Bytes that all processes have read from disks.
    read: u64,
    /// Bytes that all processes have written to disks.
    written: u64,
    /// Bytes that this process has read from disks.
    own_read: u64,
    /// Bytes that this process has written to files. The kernel writes them to the disk later.
    own_written: u64,
}

impl Sample {
    fn take() -> Self {
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let (all, own) = (text("/proc/vmstat"), text("/proc/self/io"));
        Sample {
            when: Instant::now(),
            waited: waited(&text("/proc/pressure/io")),
            waited_for_cpu: waited(&text("/proc/pressure/cpu")).unwrap_or(0),
            read: counter(&all, "pgpgin ") << 10,
            written: counter(&all, "pgpgout ") << 10,
            own_read: counter(&own, "read_bytes: "),
            own_written: counter(&own, "write_bytes: "),
        }
    }
}

/// Activity between two samples.
struct Seen {
    /// Share of the time that tasks waited for disks.
    waiting: f64,
    /// Share of the time that tasks waited for a CPU.
    cpu: f64,
    /// Bytes per second that other processes transferred.
    others: f64,
}

impl Seen {
    /// Computes the activity between two samples. `writing` is the number of bytes that this
    /// process has written and that are not on the disk yet.
    fn between(before: &Sample, now: &Sample, writing: &mut u64) -> Self {
        let seconds = (now.when - before.when).as_secs_f64();
        let read = (now.read.saturating_sub(before.read))
            .saturating_sub(now.own_read.saturating_sub(before.own_read));
        *writing += now.own_written.saturating_sub(before.own_written);
        let written = now.written.saturating_sub(before.written);
        let own = written.min(*writing);
        *writing -= own;
        let waiting = match (before.waited, now.waited) {
            (Some(before), Some(now)) => now.saturating_sub(before) as f64 / 1e6 / seconds,
            // Without pressure information, all processes that transfer data count as waiting.
            _ => 1.0,
        };
        let cpu = now.waited_for_cpu.saturating_sub(before.waited_for_cpu) as f64 / 1e6 / seconds;
        Seen { waiting, cpu, others: (read + written - own) as f64 / seconds }
    }
}

/// Returns the microseconds in the line `some ... total=MICROSECONDS`.
fn waited(pressure: &str) -> Option<u64> {
    let some = pressure.lines().find_map(|line| line.strip_prefix("some "))?;
    some.split(' ').find_map(|field| field.strip_prefix("total="))?.trim().parse().ok()
}

/// Returns the number after a name at the start of a line, or 0.
fn counter(text: &str, name: &str) -> u64 {
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap_or(0)
}

/// Returns the new pause in nanoseconds per MiB after one more interval.
fn next_pause(pause: u64, seen: &Seen) -> u64 {
    if seen.waiting >= MIN_DISK_WAIT && seen.others >= MIN_OTHERS_RATE {
        (pause * 2).clamp(MIN_PAUSE, MAX_PAUSE)
    } else if pause > MIN_PAUSE {
        pause / 2
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_kernel_text_is_parsed() {
        let pressure = "some avg10=0.12 avg60=0.00 avg300=0.00 total=4242\nfull avg10=0.00 total=17\n";
        assert_eq!(waited(pressure), Some(4242));
        assert_eq!(waited(""), None);
        assert_eq!(counter("xpgpgin 3\npgpgin 5\npgpgin_x 9\npgpgout 7\n", "pgpgin "), 5);
        assert_eq!(counter("rchar: 9\nread_bytes: 4096\n", "read_bytes: "), 4096);
        assert_eq!(counter("rchar: 9\n", "read_bytes: "), 0);
        assert!(Sample::take().read > 0 || !std::path::Path::new("/proc/vmstat").exists());
    }

    fn zero() -> Sample {
        Sample {
            when: Instant::now(),
            waited: Some(0),
            waited_for_cpu: 0,
            read: 0,
            written: 0,
            own_read: 0,
            own_written: 0,
        }
    }

    fn seen(before: &Sample, change: impl Fn(&mut Sample), writing: &mut u64) -> Seen {
        let mut now = Sample { when: before.when + INTERVAL, ..*before };
        change(&mut now);
        Seen::between(before, &now, writing)
    }

    #[test]
    fn seen_own_transfers_are_not_counted_as_others() {
        let mut writing = 0;
        let own = seen(&zero(), |now| (now.read, now.own_read) = (1 << 20, 1 << 20), &mut writing);
        assert_eq!(own.others, 0.0);
        let both = seen(&zero(), |now| (now.read, now.own_read) = (3 << 19, 1 << 20), &mut writing);
        assert_eq!(both.others, f64::from(1 << 19) / INTERVAL.as_secs_f64());
        // The kernel writes it to the disk in the next interval, with data of another process.
        let now = seen(&zero(), |now| now.own_written = 1 << 20, &mut writing);
        assert_eq!((now.others, writing), (0.0, 1 << 20));
        let later = seen(&zero(), |now| now.written = 3 << 19, &mut writing);
        assert_eq!((later.others, writing), (f64::from(1 << 19) / INTERVAL.as_secs_f64(), 0));
    }

    #[test]
    fn seen_cpu_pressure_is_share_of_interval() {
        let busy = seen(&zero(), |now| now.waited_for_cpu = 80_000, &mut 0);
        let idle = seen(&zero(), |now| now.waited_for_cpu = 5_000, &mut 0);
        assert!(busy.cpu >= MIN_CPU_WAIT && idle.cpu < MIN_CPU_WAIT, "{} {}", busy.cpu, idle.cpu);
    }

    #[test]
    fn next_pause_grows_only_if_others_wait() {
        let step = |rest, waited, read, own_read| {
            let change = |now: &mut Sample| {
                (now.waited, now.read, now.own_read) = (Some(waited), read, own_read);
            };
            next_pause(rest, &seen(&zero(), change, &mut 0))
        };
        // This process waits for its own reads. Then others transfer data without waiting.
        assert_eq!(step(0, 80_000, 1 << 20, 1 << 20), 0);
        assert_eq!(step(0, 1_000, 9 << 20, 1 << 20), 0);
        let needy = |rest| step(rest, 40_000, 2 << 20, 1 << 20);
        assert_eq!(needy(0), MIN_PAUSE);
        let eight = |rest| (0..8).fold(rest, |rest, _| needy(rest));
        assert!(eight(0) >= MIN_PAUSE * 100, "halved with every look: {}", eight(0));
        assert_eq!(eight(eight(0)), MAX_PAUSE, "1 MiB/s and no less");
        let over = (0..10).fold(MAX_PAUSE, |rest, _| step(rest, 0, 0, 0));
        assert_eq!(over, 0, "over within a second");
        let silent = seen(&Sample { waited: None, ..zero() }, |now| now.read = 1 << 20, &mut 0);
        assert_eq!(next_pause(0, &silent), MIN_PAUSE, "a kernel without pressure information");
    }
}
