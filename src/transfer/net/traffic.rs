//! State that all requests of a run share: the time budget, the number of connections per host,
//! hosts that do not respond, and statistics.

use super::failure::Failure;
use super::url::Origin;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Maximum number of simultaneous connections to one host.
const MAX_CONNECTIONS: usize = 4;

/// State that a client shares with the bodies that are still being read.
#[derive(Debug)]
pub(super) struct Traffic {
    budget: Duration,
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Number of running calls. Time counts against the budget only while there are some.
    busy: usize,
    since: Option<Instant>,
    spent: Duration,
    open: BTreeMap<Origin, usize>,
    silent: BTreeMap<Origin, Failure>,
    hosts: BTreeSet<String>,
    requests: u64,
    received: u64,
}

/// Statistics of the network access of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Stats {
    /// Number of requests, with redirects and retries.
    pub requests: u64,
    /// Received bytes of bodies.
    pub received: u64,
    /// Hosts that requests were sent to, as `NAME:PORT`.
    pub hosts: Vec<String>,
    /// Time spent waiting for the network.
    pub time: Duration,
}

impl Traffic {
    pub(super) fn new(budget: Duration) -> Arc<Self> {
        Arc::new(Traffic { budget, state: Mutex::default(), freed: Condvar::new() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the clock of the budget; it runs until the returned value is dropped.
    ///
    /// Fails if the budget is used up.
    pub(super) fn begin(self: &Arc<Self>) -> Result<Busy, Failure> {
        self.time_left()?;
        let mut state = self.state();
        state.busy += 1;
        state.since.get_or_insert_with(Instant::now);
        Ok(Busy(Arc::clone(self)))
    }

    /// Returns the rest of the budget. Fails if it is used up.
    pub(super) fn time_left(&self) -> Result<Duration, Failure> {
        let left = self.budget.saturating_sub(self.state().used());
        if left.is_zero() { Err(Failure::Budget) } else { Ok(left) }
    }

    /// Waits until fewer than [`MAX_CONNECTIONS`] connections to this origin are open.
    ///
    /// Fails at once if the origin did not respond earlier in this run.
    pub(super) fn connect(self: &Arc<Self>, origin: &Origin) -> Result<Slot, Failure> {
        loop {
            let left = self.time_left()?;
            let mut state = self.state();
            if let Some(failure) = state.silent.get(origin) {
                return Err(failure.clone());
            }
            let open = state.open.entry(origin.clone()).or_default();
            if *open < MAX_CONNECTIONS {
                *open += 1;
                state.requests += 1;
                state.hosts.insert(origin.text());
                return Ok(Slot { traffic: Arc::clone(self), origin: origin.clone() });
            }
            // Another thread can take the slot before this one wakes up; so check again.
            drop(self.freed.wait_timeout(state, left));
        }
    }

    /// Makes all later requests to this origin fail with `failure`.
    pub(super) fn block(&self, origin: &Origin, failure: &Failure) {
        self.state().silent.insert(origin.clone(), failure.clone());
    }

    /// Counts received bytes.
    pub(super) fn receive(&self, bytes: u64) {
        self.state().received += bytes;
    }

    /// Returns the statistics so far.
    pub(super) fn stats(&self) -> Stats {
        let state = self.state();
        Stats {
            requests: state.requests,
            received: state.received,
            hosts: state.hosts.iter().cloned().collect(),
            time: state.used(),
        }
    }
}

impl State {
    fn used(&self) -> Duration {
        self.spent + self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

/// Running call; the clock of the budget runs while it exists.
#[derive(Debug)]
pub(super) struct Busy(Arc<Traffic>);

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.busy -= 1;
        if state.busy == 0 {
            state.spent = state.used();
            state.since = None;
        }
    }
}

/// One of the [`MAX_CONNECTIONS`] connections to a host; free again when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    traffic: Arc<Traffic>,
    origin: Origin,
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(open) = self.traffic.state().open.get_mut(&self.origin) {
            *open -= 1;
        }
        self.traffic.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transfer::net::url::Url;

    fn origin(text: &str) -> Origin {
        Url::parse(text).unwrap().origin()
    }

    #[test]
    fn traffic_begin_counts_time_of_calls_only() {
        let traffic = Traffic::new(Duration::from_secs(60));
        let pause = Duration::from_millis(20);
        std::thread::sleep(pause);
        assert_eq!(traffic.stats().time, Duration::ZERO);
        let first = traffic.begin().unwrap();
        let second = traffic.begin().unwrap();
        std::thread::sleep(pause);
        drop(first);
        assert!(traffic.stats().time >= pause);
        drop(second);
        let spent = traffic.stats().time;
        std::thread::sleep(pause);
        assert_eq!(traffic.stats().time, spent);
        assert_eq!(Traffic::new(Duration::ZERO).begin().unwrap_err(), Failure::Budget);
    }

    #[test]
    fn traffic_connect_fifth_connection_waits() {
        let traffic = Traffic::new(Duration::from_millis(100));
        let _busy = traffic.begin().unwrap();
        let here = origin("http://a.example/");
        let mut slots: Vec<Slot> = (0..4).map(|_| traffic.connect(&here).unwrap()).collect();
        assert!(traffic.connect(&origin("http://a.example:81/")).is_ok());
        std::thread::scope(|threads| {
            let fifth = threads.spawn(|| traffic.connect(&here).map(drop));
            slots.pop();
            assert_eq!(fifth.join().unwrap(), Ok(()));
        });
        slots.push(traffic.connect(&here).unwrap());
        assert_eq!(traffic.connect(&here).unwrap_err(), Failure::Budget);
    }

    #[test]
    fn traffic_connect_blocked_origin_fails() {
        let traffic = Traffic::new(Duration::from_secs(60));
        let (dead, alive) = (origin("https://a.example/"), origin("http://a.example/"));
        let failure = Failure::Offline { host: "a.example:443".to_owned(), cause: "nothing".to_owned() };
        traffic.block(&dead, &failure);
        assert_eq!(traffic.connect(&dead).unwrap_err(), failure);
        assert!(traffic.connect(&alive).is_ok());
        assert_eq!((traffic.stats().requests, traffic.stats().hosts), (1, vec!["a.example:80".to_owned()]));
    }
}
