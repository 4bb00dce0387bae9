//! Parses `.timer` units (`systemd.timer(5)`).

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
    /// Name after following aliases.
    pub name: Vec<u8>,
    /// Unit that it activates.
    pub unit: Vec<u8>,
    /// `OnCalendar=` as written (`systemd.time(7)`, "CALENDAR EVENTS").
    pub on_calendar: Vec<Vec<u8>>,
    /// Time spans after events.
    pub after: Vec<(Event, TimeSpan)>,
    /// Whether a run that was missed while the machine was off is made up (`Persistent=`).
    pub persistent: bool,
    /// `RandomizedDelaySec=`.
    pub randomized_delay: Option<TimeSpan>,
    /// `AccuracySec=`.
    pub accuracy: Option<TimeSpan>,
    /// Relations to other units.
    pub relations: Relations,
}

/// The event from which a time span counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// `OnActiveSec=`: start of the timer.
    TimerStarted,
    /// `OnBootSec=`: boot of the machine.
    Boot,
    /// `OnStartupSec=`: start of the service manager.
    ManagerStarted,
    /// `OnUnitActiveSec=`: last start of the unit.
    UnitStarted,
    /// `OnUnitInactiveSec=`: last end of the unit.
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
    /// Interprets a loaded `.timer` unit. Invalid time spans are notes.
    pub fn new(loaded: &Loaded, host: &Host, findings: &mut Findings) -> Self {
        let mut section = Section::new(loaded, "Unit", host, findings);
        let relations = Relations::read(&mut section, loaded);
        section.switch("Timer");
        let mut after = Vec::new();
        for (key, event) in EVENTS {
            for line in section.lines(key) {
                match amount::time_span(&line) {
                    Some(span) => after.push((*event, span)),
                    None => section.invalid(key, "invalid time span"),
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
