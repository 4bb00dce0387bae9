//! What all requests of a run share: the time they may take, connections a host, hosts that do not answer, figures.

use super::failure::Failure;
use super::url::Origin;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Connections to one host at a time.
const MAX_CONNECTIONS: usize = 4;

/// Shared by a client and the bodies that are still being read.
#[derive(Debug)]
pub(super) struct Traffic {
    budget: Duration,
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Calls under way; the budget is used up only while there are some.
    busy: usize,
    since: Option<Instant>,
    spent: Duration,
    open: BTreeMap<Origin, usize>,
    silent: BTreeMap<Origin, Failure>,
    asked: BTreeSet<String>,
    requests: u64,
    received: u64,
}

/// What has come over the network.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Stats {
    /// Requests sent, redirects and repetitions included.
    pub requests: u64,
    /// Bytes of bodies.
    pub received: u64,
    /// Hosts asked, as name and port.
    pub hosts: Vec<String>,
    /// Time during which the network was waited for.
    pub time: Duration,
}

impl Traffic {
    pub(super) fn new(budget: Duration) -> Arc<Self> {
        Arc::new(Traffic { budget, state: Mutex::default(), freed: Condvar::new() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The clock runs until what is returned is dropped. An error if there is no time left.
    pub(super) fn begin(self: &Arc<Self>) -> Result<Busy, Failure> {
        self.left()?;
        let mut state = self.state();
        state.busy += 1;
        state.since.get_or_insert_with(Instant::now);
        Ok(Busy(Arc::clone(self)))
    }

    /// The time that is left; an error if there is none.
    pub(super) fn left(&self) -> Result<Duration, Failure> {
        let left = self.budget.saturating_sub(self.state().used());
        if left.is_zero() { Err(Failure::Budget) } else { Ok(left) }
    }

    /// Waits until there are fewer than four connections there. Fails at once where nothing answered before.
    pub(super) fn connect(self: &Arc<Self>, origin: &Origin) -> Result<Slot, Failure> {
        loop {
            let left = self.left()?;
            let mut state = self.state();
            if let Some(failure) = state.silent.get(origin) {
                return Err(failure.clone());
            }
            let open = state.open.entry(origin.clone()).or_default();
            if *open < MAX_CONNECTIONS {
                *open += 1;
                state.requests += 1;
                state.asked.insert(origin.text());
                return Ok(Slot { traffic: Arc::clone(self), origin: origin.clone() });
            }
            // Whoever was first may have taken the place that became free.
            drop(self.freed.wait_timeout(state, left));
        }
    }

    /// From now on nothing is asked there.
    pub(super) fn silence(&self, origin: &Origin, failure: &Failure) {
        self.state().silent.insert(origin.clone(), failure.clone());
    }

    pub(super) fn receive(&self, bytes: u64) {
        self.state().received += bytes;
    }

    pub(super) fn figures(&self) -> Stats {
        let state = self.state();
        Stats {
            requests: state.requests,
            received: state.received,
            hosts: state.asked.iter().cloned().collect(),
            time: state.used(),
        }
    }
}

impl State {
    fn used(&self) -> Duration {
        self.spent + self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

/// A call under way.
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

/// One of a host's connections.
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
    fn the_clock_runs_only_during_calls() {
        let traffic = Traffic::new(Duration::from_secs(60));
        let pause = Duration::from_millis(20);
        std::thread::sleep(pause);
        assert_eq!(traffic.figures().time, Duration::ZERO);
        let first = traffic.begin().unwrap();
        let second = traffic.begin().unwrap();
        std::thread::sleep(pause);
        drop(first);
        assert!(traffic.figures().time >= pause);
        drop(second);
        let spent = traffic.figures().time;
        std::thread::sleep(pause);
        assert_eq!(traffic.figures().time, spent);
        assert_eq!(Traffic::new(Duration::ZERO).begin().unwrap_err(), Failure::Budget);
    }

    #[test]
    fn a_host_has_four_connections_at_most() {
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
    fn a_silent_host_is_asked_once() {
        let traffic = Traffic::new(Duration::from_secs(60));
        let (dead, alive) = (origin("https://a.example/"), origin("http://a.example/"));
        let failure = Failure::Offline { host: "a.example:443".to_owned(), cause: "nothing".to_owned() };
        traffic.silence(&dead, &failure);
        assert_eq!(traffic.connect(&dead).unwrap_err(), failure);
        assert!(traffic.connect(&alive).is_ok());
        assert_eq!(
            (traffic.figures().requests, traffic.figures().hosts),
            (1, vec!["a.example:80".to_owned()])
        );
    }
}
