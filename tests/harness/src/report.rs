//! Groups the problems of a check and prints the line that the driver adds to its table.

use crate::Result;
use std::collections::BTreeMap;

/// Kinds of problems that are shown; the rest is counted.
const SHOWN: usize = 100;
/// Characters of a command's output that are shown with a problem.
const DETAIL: usize = 400;

/// Problems by what they are, with how often each was seen and how it looked first.
#[derive(Default)]
pub struct Problems(BTreeMap<String, (usize, String)>);

impl Problems {
    /// Adds one.
    pub fn add(&mut self, what: &str, detail: &str) {
        let entry =
            self.0.entry(what.to_owned()).or_insert_with(|| (0, detail.chars().take(DETAIL).collect()));
        entry.0 += 1;
    }

    /// How many were added.
    pub fn count(&self) -> usize {
        self.0.values().map(|(count, _)| count).sum()
    }

    /// Prints them.
    pub fn show(&self) {
        for (what, (count, detail)) in self.0.iter().take(SHOWN) {
            println!("  {count} x {what}");
            detail.lines().for_each(|line| println!("      {line}"));
        }
        if self.0.len() > SHOWN {
            println!("  ... and {} more kinds", self.0.len() - SHOWN);
        }
    }
}

/// Prints the problems and the line for the table; whether there were none.
pub fn end(name: &str, count: usize, note: &str, problems: &Problems) -> Result<bool> {
    problems.show();
    let failures = problems.count();
    println!("RESULT\t{name}\t{count}\t{failures}\t{note}");
    Ok(failures == 0)
}
