//! Progress of a conversion: the name of each phase, and a display of the walk.

use crate::model::size::bytes;
use crate::system::console::tell;
use crate::system::throttle;
use crate::walk::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// `--progress`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ProgressMode {
    /// A line per phase, and a bar for the walk on a terminal.
    #[default]
    Auto,
    /// A line per phase, and one every 10 s of the walk.
    Plain,
    /// Nothing.
    None,
}

/// Phase of a conversion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Reads the configuration of the machine, its processes and its packages.
    Detect,
    /// Reads the base image and the package indexes.
    Base,
    /// Reads all files.
    Walk,
    /// Decides about each path and each service.
    Plan,
    /// Writes the context.
    Write,
}

impl Phase {
    /// Prints the name of the phase when it starts.
    pub fn start(self, mode: ProgressMode) {
        let text = match self {
            Phase::Detect => "detecting the machine",
            Phase::Base => "reading the base image and the package indexes",
            Phase::Walk => "reading files",
            Phase::Plan => "planning",
            Phase::Write => "writing the context",
        };
        if mode != ProgressMode::None {
            tell(&format!("[{}/5] {text}", self as u8 + 1));
        }
    }
}

/// Estimate of what a walk finds; 0 where it is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Estimate {
    /// Number of objects.
    pub objects: u64,
    /// Bytes of content.
    pub bytes: u64,
}

/// Display of a running walk; it ends when it is dropped.
pub struct Display {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Display {
    /// Shows how far `progress` is of `total`.
    pub fn start(mode: ProgressMode, progress: &Arc<Progress>, total: Estimate) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, progress) = (Arc::clone(&stop), Arc::clone(progress));
        let show: Option<fn(&AtomicBool, &Progress, Estimate)> = match mode {
            ProgressMode::None => None,
            ProgressMode::Plain => Some(show_lines),
            ProgressMode::Auto => std::io::stderr().is_terminal().then_some(show_bar),
        };
        let thread = show.map(|show| std::thread::spawn(move || show(&stopped, &progress, total)));
        Display { stop, thread }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic in the display must not fail the run.
            let _ = thread.join();
        }
    }
}

/// Shows a bar by bytes: a few large files take longer than many small ones.
fn show_bar(stop: &AtomicBool, progress: &Progress, total: Estimate) {
    let bar = ProgressBar::with_draw_target(Some(total.bytes), ProgressDrawTarget::stderr());
    // `wide_msg` is cut at the width of the terminal.
    let template = match total.bytes {
        0 => "      {spinner} {wide_msg}",
        _ => "      {bar:20} {eta} left, {wide_msg}",
    };
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    while !stop.load(Relaxed) {
        let (objects, read) = (progress.objects.load(Relaxed), progress.bytes.load(Relaxed));
        bar.set_length(total.bytes.max(read));
        bar.set_position(read);
        bar.set_message(format!("{}, {objects} paths{}", bytes(read), throttled()));
        std::thread::park_timeout(Duration::from_millis(100));
    }
    bar.finish_and_clear();
}

fn show_lines(stop: &AtomicBool, progress: &Progress, total: Estimate) {
    let mut shown = Instant::now();
    while !stop.load(Relaxed) {
        if shown.elapsed() >= Duration::from_secs(10) {
            shown = Instant::now();
            let (objects, read) = (progress.objects.load(Relaxed), progress.bytes.load(Relaxed));
            let of_about = |number: String| {
                if total.objects == 0 { String::new() } else { format!(" of about {number}") }
            };
            tell(&format!(
                "      {}{}, {objects} paths{}{}",
                bytes(read),
                of_about(bytes(total.bytes)),
                of_about(total.objects.to_string()),
                throttled()
            ));
        }
        std::thread::park_timeout(Duration::from_millis(200));
    }
}

/// Returns why the run is slow, if it is: a run next to busy processes looks like one that hangs.
fn throttled() -> String {
    throttle::throttled().map(|reason| format!(", {reason}")).unwrap_or_default()
}
