//! What a `.timer` says (`systemd.timer(5)`).

use super::amount::{self, TimeSpan};
use super::load::Loaded;
use super::names;
use super::section::Section;
use super::service::Relations;
use super::specifiers::Host;
use crate::model::findings::Findings;

/// A timer unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimerUnit {
    /// The name after aliases.
    pub name: Vec<u8>,
    /// The unit that it starts.
    pub unit: Vec<u8>,
    /// `OnCalendar=` as written (`systemd.time(7)`, "CALENDAR EVENTS").
    pub on_calendar: Vec<Vec<u8>>,
    /// Times after an event.
    pub after: Vec<(Event, TimeSpan)>,
    /// `Persistent=`: what was missed while the machine was off is made up for.
    pub persistent: bool,
    /// `RandomizedDelaySec=`.
    pub randomized_delay: Option<TimeSpan>,
    /// `AccuracySec=`.
    pub accuracy: Option<TimeSpan>,
    /// Other units.
    pub relations: Relations,
}

/// What a time is counted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// `OnActiveSec=`: the timer was started.
    TimerStarted,
    /// `OnBootSec=`: the machine was started.
    Boot,
    /// `OnStartupSec=`: the manager was started.
    ManagerStarted,
    /// `OnUnitActiveSec=`: the unit was last started.
    UnitStarted,
    /// `OnUnitInactiveSec=`: the unit last ended.
    UnitEnded,
}

const EVENTS: &[(&str, Event)] = &[
    ("OnActiveSec", Event::TimerStarted),
    ("OnBootSec", Event::Boot),
    ("OnStartupSec", Event::ManagerStarted),
    ("OnUnitActiveSec", Event::UnitStarted),
    ("OnUnitInactiveSec", Event::UnitEnded),
];

impl TimerUnit {
    /// What a loaded `.timer` means. Times that are not understood are notes.
    pub fn new(loaded: &Loaded, host: &Host, findings: &mut Findings) -> Self {
        let mut section = Section::new(loaded, "Unit", host, findings);
        let relations = Relations::read(&mut section, loaded);
        section.switch("Timer");
        let mut after = Vec::new();
        for (key, event) in EVENTS {
            for line in section.lines(key) {
                match amount::time_span(&line) {
                    Some(span) => after.push((*event, span)),
                    None => section.mistake(key, "no time span"),
                }
            }
        }
        let unit = section.text("Unit");
        let timer = TimerUnit {
            name: loaded.name.clone(),
            unit: unit.unwrap_or_else(|| names::with_type(&loaded.name, "service")),
            on_calendar: section.lines("OnCalendar"),
            after,
            persistent: section.flag("Persistent").unwrap_or(false),
            randomized_delay: section.span("RandomizedDelaySec"),
            accuracy: section.span("AccuracySec"),
            relations,
        };
        section.finish();
        timer
    }
}
