//! Text output, one module per command. Pure functions return text, and
//! [`crate::system::console`] prints it.

pub mod apply;
pub mod clean;
pub mod convert;
pub mod findings;
pub mod inspect;
pub mod progress;
pub mod verify;

use crate::detect::Inventory;
use crate::model::escape;
use crate::model::size::bytes;

/// Maximum number of list entries in the output.
const SHOWN: usize = 10;

fn table(lines: &[(&str, String)]) -> String {
    lines.iter().map(|(name, text)| format!("{name:<18} {text}\n")).collect()
}

fn machine_line(machine: &Inventory) -> String {
    let os = if machine.os.pretty_name.is_empty() { "unknown distribution" } else { &machine.os.pretty_name };
    let mut text =
        format!("{} ({}, {})", escape_text(&machine.hostname), escape_text(os), machine.architecture);
    if let Some(live) = &machine.live {
        text += &format!(
            ", kernel {}, {} CPUs, {}",
            escape_text(&live.hardware.kernel),
            live.hardware.processors.online,
            bytes(live.hardware.memory.total)
        );
    }
    text
}

fn escape_text(text: &str) -> String {
    escape::escape(text.as_bytes())
}

fn cut(names: &[String]) -> String {
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(" ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} ... and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_long_list_states_number_of_remaining_entries() {
        let names: Vec<String> = (0..12).map(|number| number.to_string()).collect();
        assert_eq!(cut(&names), "0 1 2 3 4 5 6 7 8 9 ... and 2 more");
        assert_eq!(cut(&names[..2]), "0 1");
    }
}
