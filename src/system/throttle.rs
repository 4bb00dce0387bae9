//! Production comes first: this process asks for little, and gives way to others who want the disk.
//!
//! In the disk's own queue it stands behind everybody (the idle class, `ioprio_set(2)`). What the disk has begun makes all
//! others wait all the same: so it reads in small pieces without the kernel's reading ahead ([`crate::system::cache_neutral::CacheNeutralReader`]), and, as
//! long as others move data, writes no faster than 64 MiB/s.
//!
//! Others are in need when tasks of the machine wait for their disk a good part of the time (pressure stall information,
//! `Documentation/accounting/psi.rst` of Linux) *and* somebody else than this process moves data. Waiting alone means nothing:
//! whoever reads from a disk waits for it. Then the rate halves with every look, down to 1 MiB/s, and doubles again when the
//! need is over.
//!
//! The CPU is shared by weight (sched(7)): at nice 19 a run next to two busy processes per CPU
//! has 0.7 % of it and does not end. [`NICENESS`] leaves it a fifth, and the others four.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{Duration, Instant};

/// The weight of nice 3 is 526, that of nice 0 is 1024: next to two busy processes per CPU a run
/// has 20 % of it, so that it ends within 6 times its undisturbed time.
const NICENESS: i32 = 3;
/// Between two looks at the machine.
const INTERVAL: Duration = Duration::from_millis(100);
/// The share of the time that somebody waits, from which on it is need.
const NEED: f64 = 0.10;
/// The share of the time that some process waits for a CPU, from which on other processes want
/// it: the threads of a run that has the machine for itself wait for each other less.
const BUSY: f64 = 0.50;
/// Bytes a second that others move, from which on they are there at all: some fifty small reads.
const OTHERS: f64 = 200_000.0;
/// Nanoseconds of rest for each mebibyte: the first step, about a tenth of a disk's time, and the last, 1 MiB/s.
const FIRST: u64 = 2_000_000;
const LAST: u64 = 1_000_000_000;
/// Nanoseconds for each mebibyte that is written while others are there: 64 MiB/s.
const WRITING: u64 = 1_000_000_000 / 64;

/// Nanoseconds that a reader rests for each mebibyte that it has read.
static REST: AtomicU64 = AtomicU64::new(0);
/// Whether this process was told to be polite.
static POLITE: AtomicBool = AtomicBool::new(false);
/// Whether somebody else moves data: supposed, until it is known.
static OTHERS_ARE_THERE: AtomicBool = AtomicBool::new(true);
/// Whether other processes want the CPU.
static CPU_IS_WANTED: AtomicBool = AtomicBool::new(false);

/// Takes the back seat for processor, disk and memory, and begins to look after the machine's need. What the kernel does not
/// let this process do is left out: none of it is needed for the result.
pub fn lower_priority() {
    POLITE.store(true, Relaxed);
    let _ = rustix::process::setpriority_process(None, NICENESS);
    let _ = idle_io::set();
    // When memory runs out, this process is the one to end (proc_pid_oom_score_adj(5)).
    let _ = std::fs::write("/proc/self/oom_score_adj", "800");
    let watch = || {
        let mut before = Sample::take();
        let mut writing = 0;
        loop {
            std::thread::sleep(INTERVAL);
            let now = Sample::take();
            let seen = Seen::between(&before, &now, &mut writing);
            OTHERS_ARE_THERE.store(seen.others >= OTHERS, Relaxed);
            CPU_IS_WANTED.store(seen.cpu >= BUSY, Relaxed);
            REST.store(next(REST.load(Relaxed), &seen), Relaxed);
            before = now;
        }
    };
    // Without the thread the run is as fast as it can be.
    let _ = std::thread::Builder::new().name("pace".to_owned()).spawn(watch);
}

/// Whether this process takes the back seat.
pub fn is_throttled() -> bool {
    POLITE.load(Relaxed)
}

/// What the progress line says while the run is slower than the machine allows.
pub fn throttled() -> Option<&'static str> {
    if REST.load(Relaxed) > 0 {
        Some("throttled: other processes use the disk")
    } else if CPU_IS_WANTED.load(Relaxed) {
        Some("throttled: other processes use the CPU")
    } else {
        None
    }
}

/// Rests, if others are in need, for as long as so many bytes that were read are worth.
pub fn pause(bytes: usize) {
    sleep(REST.load(Relaxed), bytes as u64);
}

/// Rests, if others are there, for as long as so many bytes that were written are worth.
pub fn pause_after_writing(bytes: u64) {
    let least = if is_throttled() && OTHERS_ARE_THERE.load(Relaxed) { WRITING } else { 0 };
    sleep(REST.load(Relaxed).max(least), bytes);
}

fn sleep(nanoseconds_a_mebibyte: u64, bytes: u64) {
    if nanoseconds_a_mebibyte > 0 {
        std::thread::sleep(Duration::from_nanos(nanoseconds_a_mebibyte.saturating_mul(bytes) >> 20));
    }
}

/// Counters of the machine at one moment.
#[derive(Clone, Copy)]
struct Sample {
    when: Instant,
    /// Microseconds that some task has waited for a disk; nothing where the kernel does not tell.
    waited: Option<u64>,
    /// Microseconds that some task has waited for a CPU; 0 where the kernel does not tell.
    waited_for_cpu: u64,
    /// Bytes that all processes have moved from and to disks.
    read: u64,
    written: u64,
    /// What this process has read from disks, and written to files: to a disk that goes later.
    own_read: u64,
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

/// What happened between two moments.
struct Seen {
    /// The share of the time that somebody waited for a disk.
    waiting: f64,
    /// The share of the time that some process waited for a CPU.
    cpu: f64,
    /// Bytes a second that others moved.
    others: f64,
}

impl Seen {
    /// `writing` is what this process has written that is not on the disk yet, in bytes.
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
            // Where the kernel does not tell, whoever moves data is taken to be in need.
            _ => 1.0,
        };
        let cpu = now.waited_for_cpu.saturating_sub(before.waited_for_cpu) as f64 / 1e6 / seconds;
        Seen { waiting, cpu, others: (read + written - own) as f64 / seconds }
    }
}

/// `some ... total=MICROSECONDS`.
fn waited(pressure: &str) -> Option<u64> {
    let some = pressure.lines().find_map(|line| line.strip_prefix("some "))?;
    some.split(' ').find_map(|field| field.strip_prefix("total="))?.trim().parse().ok()
}

/// The number after a name at the beginning of a line.
fn counter(text: &str, name: &str) -> u64 {
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap_or(0)
}

/// The rest for each mebibyte after one more look.
fn next(rest: u64, seen: &Seen) -> u64 {
    if seen.waiting >= NEED && seen.others >= OTHERS {
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
    fn what_this_process_moves_is_not_others() {
        let mut writing = 0;
        let own = seen(&zero(), |now| (now.read, now.own_read) = (1 << 20, 1 << 20), &mut writing);
        assert_eq!(own.others, 0.0);
        let both = seen(&zero(), |now| (now.read, now.own_read) = (3 << 19, 1 << 20), &mut writing);
        assert_eq!(both.others, f64::from(1 << 19) / INTERVAL.as_secs_f64());
        // Written now, on the disk at the next look, with something of somebody else.
        let now = seen(&zero(), |now| now.own_written = 1 << 20, &mut writing);
        assert_eq!((now.others, writing), (0.0, 1 << 20));
        let later = seen(&zero(), |now| now.written = 3 << 19, &mut writing);
        assert_eq!((later.others, writing), (f64::from(1 << 19) / INTERVAL.as_secs_f64(), 0));
    }

    #[test]
    fn seen_cpu_pressure_is_share_of_interval() {
        let busy = seen(&zero(), |now| now.waited_for_cpu = 80_000, &mut 0);
        let idle = seen(&zero(), |now| now.waited_for_cpu = 5_000, &mut 0);
        assert!(busy.cpu >= BUSY && idle.cpu < BUSY, "{} {}", busy.cpu, idle.cpu);
    }

    #[test]
    fn the_rate_gives_way_only_to_others_in_need() {
        let step = |rest, waited, read, own_read| {
            let change = |now: &mut Sample| {
                (now.waited, now.read, now.own_read) = (Some(waited), read, own_read);
            };
            next(rest, &seen(&zero(), change, &mut 0))
        };
        // Waiting for oneself, and others who do not wait.
        assert_eq!(step(0, 80_000, 1 << 20, 1 << 20), 0);
        assert_eq!(step(0, 1_000, 9 << 20, 1 << 20), 0);
        let needy = |rest| step(rest, 40_000, 2 << 20, 1 << 20);
        assert_eq!(needy(0), FIRST);
        let eight = |rest| (0..8).fold(rest, |rest, _| needy(rest));
        assert!(eight(0) >= FIRST * 100, "halved with every look: {}", eight(0));
        assert_eq!(eight(eight(0)), LAST, "1 MiB/s and no less");
        let over = (0..10).fold(LAST, |rest, _| step(rest, 0, 0, 0));
        assert_eq!(over, 0, "over within a second");
        let silent = seen(&Sample { waited: None, ..zero() }, |now| now.read = 1 << 20, &mut 0);
        assert_eq!(next(0, &silent), FIRST, "a kernel that does not tell");
    }
}
