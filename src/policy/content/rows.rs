//! Passwords in SQLite databases (<https://sqlite.org/fileformat.html>): a value next to its name,
//! as tables of settings have them, and values of columns whose names say so.

use super::{Detection, Tier, assignments};
use crate::policy::names;
use std::collections::HashMap;

const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Most columns of a row that are looked at.
const COLUMNS: usize = 64;
/// Longest name of a setting.
const LONGEST_NAME: usize = 64;
/// Depth of a tree of pages; a billion rows need fewer.
const DEPTH: u32 = 20;

/// Whether a file that begins so is a database.
pub(super) fn is_database(head: &[u8]) -> bool {
    head.starts_with(MAGIC) && head.len() >= 100
}

/// Returns a secret in a row. Damaged pages are skipped: the file is searched as bytes as well.
pub(super) fn search(file: &[u8], tier: Tier) -> Option<Detection> {
    let size = match u16::from_be_bytes([*file.get(16)?, *file.get(17)?]) {
        1 => 65536,
        size if size >= 512 && size.is_power_of_two() => usize::from(size),
        _ => return None,
    };
    let database = Database { file, size, reserved: usize::from(*file.get(20)?) };
    // The schema is the table on page 1: type, name, table, root page, SQL.
    let mut columns: HashMap<usize, Vec<Vec<u8>>> = HashMap::new();
    let mut seen = vec![false; file.len() / size + 1];
    database.rows(1, &mut seen, DEPTH, &mut |row| {
        if let [Cell::Text(b"table"), _, _, Cell::Number(root), Cell::Text(sql), ..] = row {
            columns.insert(*root as usize, column_names(sql));
        }
    });
    let mut best: Option<Detection> = None;
    let none = Vec::new();
    for root in columns.keys().copied().collect::<std::collections::BTreeSet<usize>>() {
        let names = columns.get(&root).unwrap_or(&none);
        database.rows(root, &mut seen, DEPTH, &mut |row| {
            let found = judge(row, names, tier);
            best = found.filter(|found| found.certain || best.is_none()).or(best);
        });
    }
    best
}

/// Judges the values of a row.
fn judge(row: &[Cell<'_>], columns: &[Vec<u8>], tier: Tier) -> Option<Detection> {
    let mut best: Option<Detection> = None;
    for (at, cell) in row.iter().enumerate() {
        let Cell::Text(value) = cell else { continue };
        let before = at.checked_sub(1).and_then(|at| row.get(at));
        let setting = if let Some(Cell::Text(name)) = before { Some(*name) } else { None };
        let column = columns.get(at).map(|name| &name[..]);
        for name in setting.into_iter().chain(column).filter(|name| name.len() <= LONGEST_NAME) {
            let found = names::meaning(name).and_then(|meaning| assignments::judge(value, meaning, tier));
            best = found.filter(|found| found.certain || best.is_none()).or(best);
        }
    }
    best
}

/// Names of the columns in `CREATE TABLE`.
fn column_names(sql: &[u8]) -> Vec<Vec<u8>> {
    let open = memchr::memchr(b'(', sql).map_or(sql.len(), |at| at + 1);
    let mut depth = 0_u32;
    let parts = sql[open..].split(|byte| {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        *byte == b',' && depth == 0
    });
    let first_word = |part: &[u8]| {
        let part = part.trim_ascii();
        let end = part.iter().position(u8::is_ascii_whitespace).unwrap_or(part.len());
        part[..end].iter().copied().filter(|byte| !b"\"'`[]".contains(byte)).collect()
    };
    parts.take(COLUMNS).map(first_word).collect()
}

/// A value of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cell<'a> {
    Number(u64),
    Text(&'a [u8]),
    Other,
}

struct Database<'a> {
    file: &'a [u8],
    size: usize,
    reserved: usize,
}

impl<'a> Database<'a> {
    /// Calls `found` with each row of the table whose root is this page. Each page is read once.
    fn rows(&self, page: usize, seen: &mut [bool], depth: u32, found: &mut impl FnMut(&[Cell<'a>])) {
        let Some(start) = page.checked_sub(1).and_then(|number| number.checked_mul(self.size)) else {
            return;
        };
        let Some(bytes) = self.file.get(start..start + self.size) else { return };
        let is_new = seen.get_mut(page).is_some_and(|seen| !std::mem::replace(seen, true));
        if !is_new || depth == 0 {
            return;
        }
        let header = if page == 1 { 100 } else { 0 };
        let number =
            |at: usize| Some(usize::from(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?])));
        let child = |at: usize| {
            let four = bytes.get(at..at + 4)?.first_chunk()?;
            Some(u32::from_be_bytes(*four) as usize)
        };
        let count = number(header + 3).unwrap_or(0);
        match bytes[header] {
            // A leaf of a table.
            0x0d => {
                for index in 0..count {
                    let Some(cell) = number(header + 8 + 2 * index).and_then(|at| bytes.get(at..)) else {
                        break;
                    };
                    if let Some(row) = self.row(cell) {
                        found(&row);
                    }
                }
            }
            // An inner page: the left children, then the rightmost one.
            0x05 => {
                let cells = (0..count).map_while(|index| number(header + 12 + 2 * index));
                for page in cells.filter_map(child).chain(child(header + 8)).collect::<Vec<_>>() {
                    self.rows(page, seen, depth - 1, found);
                }
            }
            _ => {}
        }
    }

    /// Parses a cell of a leaf: lengths, then the types of all values, then the values. What is on
    /// overflow pages is not read.
    fn row(&self, cell: &'a [u8]) -> Option<Vec<Cell<'a>>> {
        let (length, cell) = varint(cell)?;
        let (_, cell) = varint(cell)?;
        let usable = self.size.saturating_sub(self.reserved);
        let payload = &cell[..cell.len().min(usable).min(usize::try_from(length).ok()?)];
        let (header, types) = varint(payload)?;
        let header = usize::try_from(header).ok()?;
        let mut types = types.get(..header.checked_sub(payload.len() - types.len())?)?;
        let mut values = payload.get(header..)?;
        let mut row = Vec::new();
        while !types.is_empty() && row.len() < COLUMNS {
            let (kind, rest) = varint(types)?;
            types = rest;
            let length = match kind {
                0 | 8..=11 => 0,
                1..=4 => kind,
                5 => 6,
                6 | 7 => 8,
                kind => (kind - 12) / 2,
            };
            let Some((value, rest)) = values.split_at_checked(usize::try_from(length).ok()?) else { break };
            values = rest;
            row.push(match kind {
                1..=6 => Cell::Number(value.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))),
                8 | 9 => Cell::Number(kind - 8),
                kind if kind >= 12 => Cell::Text(value),
                _ => Cell::Other,
            });
        }
        Some(row)
    }
}

/// A number of one to nine bytes.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0_u64;
    for (at, byte) in bytes.iter().take(9).enumerate() {
        if at == 8 {
            return Some((number << 8 | u64::from(*byte), &bytes[9..]));
        }
        number = number << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((number, &bytes[at + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn column_names_of_table_are_its_columns() {
        let names =
            column_names(b"CREATE TABLE u (id INTEGER PRIMARY KEY, \"password\" VARCHAR(1, 2), [k] TEXT)");
        assert_eq!(names, [&b"id"[..], b"password", b"k"]);
    }

    #[test]
    fn varint_of_each_length_is_read() {
        assert_eq!(varint(&[5, 9]), Some((5, &[9][..])));
        assert_eq!(varint(&[0x81, 0]), Some((128, &[][..])));
        assert_eq!(varint(&[0xff; 9]), Some((u64::MAX, &[][..])));
        assert_eq!(varint(&[0xff; 8]), None);
    }

    #[test]
    fn search_settings_table_finds_password() {
        let value = b"NpR7cVbX0wLsD4fGhJ9uEe3T";
        assert_eq!(
            search(&database(b"smtp_password", value), Tier::Data).map(|found| found.certain),
            Some(true)
        );
        assert_eq!(search(&database(b"smtp_host", value), Tier::Data), None);
        assert_eq!(search(&database(b"smtp_password", value)[..700], Tier::Data), None);
    }

    /// A database with the table `s(k,v)` and one row.
    fn database(name: &[u8], value: &[u8]) -> Vec<u8> {
        let mut file = vec![0; 1024];
        file[..16].copy_from_slice(MAGIC);
        file[16..18].copy_from_slice(&512_u16.to_be_bytes());
        let text = |text: &[u8]| (text.len() * 2 + 13) as u8;
        let row = |types: &[u8], values: &[&[u8]]| {
            let payload = [&[types.len() as u8 + 1], types, &values.concat()].concat();
            [&[payload.len() as u8, 1], &payload[..]].concat()
        };
        let sql = b"CREATE TABLE s(k,v)";
        let schema =
            row(&[text(b"table"), text(b"s"), text(b"s"), 1, text(sql)], &[b"table", b"s", b"s", &[2], sql]);
        let cell = row(&[text(name), text(value)], &[name, value]);
        for (page, header, cell) in [(0, 100, schema), (512, 0, cell)] {
            let at = 512 - cell.len();
            file[page + header] = 0x0d;
            file[page + header + 4] = 1;
            file[page + header + 8..page + header + 10].copy_from_slice(&(at as u16).to_be_bytes());
            file[page + at..page + 512].copy_from_slice(&cell);
        }
        file
    }
}
