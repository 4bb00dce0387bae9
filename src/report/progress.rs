//! Progress display of a running walk.

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
    /// A bar on a terminal, otherwise nothing.
    #[default]
    Auto,
    /// One line every 10 s.
    Plain,
    /// Nothing.
    None,
}

/// Display of a running walk; it ends when it is dropped.
pub struct Display {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Display {
    /// Shows how far `progress` is of `total` objects (an estimate; 0 if unknown).
    pub fn start(mode: ProgressMode, progress: &Arc<Progress>, total: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, progress) = (Arc::clone(&stop), Arc::clone(progress));
        let show: Option<fn(&AtomicBool, &Progress, u64)> = match mode {
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

fn show_bar(stop: &AtomicBool, progress: &Progress, total: u64) {
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
    let template = match total {
        0 => "reading {spinner} {pos} paths, {msg}",
        _ => "reading {bar:30} {pos}/{len} paths, {msg}, {eta} left",
    };
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    let start = Instant::now();
    while !stop.load(Relaxed) {
        let (objects, read) = (progress.objects.load(Relaxed), progress.bytes.load(Relaxed));
        bar.set_length(total.max(objects));
        bar.set_position(objects);
        let rate = read as f64 / start.elapsed().as_secs_f64().max(0.1);
        bar.set_message(format!("{}, {}/s{}", bytes(read), bytes(rate as u64), throttled()));
        std::thread::park_timeout(Duration::from_millis(100));
    }
    bar.finish_and_clear();
}

fn show_lines(stop: &AtomicBool, progress: &Progress, total: u64) {
    let mut shown = Instant::now();
    while !stop.load(Relaxed) {
        if shown.elapsed() >= Duration::from_secs(10) {
            shown = Instant::now();
            let (objects, read) = (progress.objects.load(Relaxed), progress.bytes.load(Relaxed));
            let of_about = if total == 0 { String::new() } else { format!(" of about {total}") };
            tell(&format!("reading: {objects}{of_about} paths, {}{}", bytes(read), throttled()));
        }
        std::thread::park_timeout(Duration::from_millis(200));
    }
}

/// Returns why the run is slow, if it is: a run next to busy processes looks like one that hangs.
fn throttled() -> String {
    throttle::throttled().map(|reason| format!(", {reason}")).unwrap_or_default()
}
