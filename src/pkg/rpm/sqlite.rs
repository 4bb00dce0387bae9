//! SQLite databases: the file `rpmdb.sqlite` of rpm since 4.16, and the histories of dnf
//! (<https://www.sqlite.org/fileformat2.html>).
//!
//! It reads tables with their B-trees and overflow pages. The pages of the write-ahead log replace
//! those of the file. Indexes and the free list are not used. SQLite's library is avoided because
//! it changes the files: opening a database can write the log back and remove it.

use crate::pkg::rpm::source::{Damage, Damages, MAX_HEADER, Order, PageSet, Source, fill};
use crate::pkg::rpm::wal::Wal;

const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Page types.
const INTERIOR: u8 = 5;
const LEAF: u8 = 13;
/// Most columns of a row: SQLite's default limit.
const MAX_COLUMNS: usize = 2000;

/// Whether a file that begins with these 16 bytes is such a database.
pub fn is_format(head: &[u8]) -> bool {
    head.starts_with(MAGIC)
}

/// Passes the number and the header of each package to `visit`. Returns what is damaged.
///
/// The error is the reason why nothing can be read, for example that it is not a database of rpm.
pub fn read(
    source: &dyn Source,
    log: Option<&dyn Source>,
    visit: &mut dyn FnMut(u32, &[u8]),
) -> Result<Damages, Damage> {
    let (database, mut damages) = Database::open(source, log)?;
    let (tables, schema_damages) = database.tables()?;
    damages.append(schema_damages);
    let packages = tables.iter().find(|table| table.name.eq_ignore_ascii_case(b"Packages"));
    let packages =
        packages.ok_or_else(|| Damage::at(0, "not a database of rpm: there is no table Packages"))?;
    let mut rejected = Damages::default();
    let found = database.rows(packages.root, &mut |id, values| match (u32::try_from(id), values) {
        (Ok(number), [_, Value::Blob(header), ..]) => visit(number, header),
        _ => rejected.push(Damage::at(0, format!("row {id} of the table Packages is not a package"))),
    })?;
    damages.append(found);
    damages.append(rejected);
    Ok(damages)
}

/// A value of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// No value; also the primary key of a table, which is the row's ID.
    Null,
    /// Integer of up to 64 bits.
    Integer(i64),
    /// Floating-point number.
    Real(f64),
    /// Text in UTF-8; not checked.
    Text(&'a [u8]),
    /// Bytes.
    Blob(&'a [u8]),
}

/// A table of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Name.
    pub name: Vec<u8>,
    /// Number of the root page of its B-tree.
    pub root: u32,
    /// Statement that created it, with the names of its columns.
    pub sql: Vec<u8>,
}

/// An open database.
pub struct Database<'a> {
    file: &'a dyn Source,
    log: Option<(&'a dyn Source, Wal)>,
    page_size: usize,
    /// Bytes of a page without the reserved ones at its end.
    usable: usize,
    /// Number of pages; page numbers begin at 1.
    pages: u32,
}

impl<'a> Database<'a> {
    /// Opens a database. `log` is the file with the suffix `-wal`, if there is one. A log that
    /// SQLite would ignore is returned as damage.
    pub fn open(file: &'a dyn Source, log: Option<&'a dyn Source>) -> Result<(Self, Damages), Damage> {
        let mut damages = Damages::default();
        let mut header = [0; 100];
        fill(file, 0, &mut header)?;
        if !is_format(&header) {
            return Err(Damage::at(0, "not a SQLite database"));
        }
        let wal = log.and_then(|log| match Wal::read(log) {
            Ok(wal) => Some((log, wal?)),
            Err(Damage { offset, reason }) => {
                damages.push(Damage::at(offset, format!("the write-ahead log is not used: {reason}")));
                None
            }
        });
        if let Some((log, wal)) = &wal
            && let Some(&offset) = wal.offsets.get(&1)
        {
            fill(*log, offset, &mut header)?;
        }
        let page_size = match Order::Big.u16(&header, 16) {
            Some(1) => 65_536,
            size => usize::from(size.unwrap_or_default()),
        };
        if !(512..=65_536).contains(&page_size) || !page_size.is_power_of_two() {
            return Err(Damage::at(16, format!("page size {page_size} is not valid")));
        }
        if header[19] > 2 {
            return Err(Damage::at(19, format!("SQLite read version {} is not supported", header[19])));
        }
        let usable = page_size - usize::from(header[20]);
        if usable < 480 {
            return Err(Damage::at(20, format!("{} reserved bytes are not valid", header[20])));
        }
        let encoding = Order::Big.u32(&header, 56);
        if !matches!(encoding, Some(0 | 1)) {
            return Err(Damage::at(56, "text in UTF-16 is not supported"));
        }
        if let Some((_, wal)) = &wal
            && wal.page_size != page_size
        {
            return Err(Damage::at(16, "the write-ahead log has another page size"));
        }
        let in_file = u32::try_from(file.length() / page_size as u64).unwrap_or(u32::MAX);
        let pages = wal.as_ref().map_or(in_file, |(_, wal)| {
            let last = wal.offsets.keys().max().copied().unwrap_or_default();
            wal.pages.min(in_file.max(last))
        });
        Ok((Database { file, log: wal, page_size, usable, pages }, damages))
    }

    /// Returns the tables, without views, virtual tables and SQLite's own ones.
    pub fn tables(&self) -> Result<(Vec<Table>, Damages), Damage> {
        let mut tables = Vec::new();
        let damages = self.rows(1, &mut |_, values| {
            if let [Value::Text(b"table"), Value::Text(name), _, Value::Integer(root), Value::Text(sql), ..] =
                values
                && let Ok(root @ 1..) = u32::try_from(*root)
            {
                tables.push(Table { name: name.to_vec(), root, sql: sql.to_vec() });
            }
        })?;
        Ok((tables, damages))
    }

    /// Passes the ID and the values of each row of a table to `visit`, in ascending order of IDs.
    /// Values at the end of a row can be absent. Returns what is damaged.
    pub fn rows(&self, root: u32, visit: &mut dyn FnMut(i64, &[Value<'_>])) -> Result<Damages, Damage> {
        let mut damages = Damages::default();
        // Each page is used once, so a cycle ends. Page 0 does not exist.
        let mut used = PageSet::new(self.pages.saturating_add(1));
        if root == 0 || !used.insert(root) {
            return Err(Damage::at(0, format!("the root page {root} does not exist")));
        }
        let mut open = vec![root];
        let mut page = vec![0; self.page_size];
        while let Some(number) = open.pop() {
            let result = self.load(number, &mut page).and_then(|()| {
                let node = Node::of(number, &page).map_err(|(at, reason)| self.damage(number, at, reason))?;
                if node.kind == LEAF {
                    return self.read_leaf(&node, &mut used, visit, &mut damages);
                }
                // The last child is pushed first, because the stack returns the first one next.
                for child in node.children().rev() {
                    if child == 0 || !used.insert(child) {
                        let reason = format!("page {child} is used twice or does not exist");
                        damages.push(self.damage(number, 0, reason));
                    } else {
                        open.push(child);
                    }
                }
                Ok(())
            });
            if let Err(damage) = result {
                damages.push(damage);
            }
        }
        Ok(damages)
    }

    fn read_leaf(
        &self,
        node: &Node<'_>,
        used: &mut PageSet,
        visit: &mut dyn FnMut(i64, &[Value<'_>]),
        damages: &mut Damages,
    ) -> Result<(), Damage> {
        let mut local_bytes = 0;
        let mut long = Vec::new();
        for at in node.cells() {
            let Some(cell) = Cell::parse(node.page, at, self.usable) else {
                damages.push(self.damage(node.number, at, "a cell is damaged"));
                continue;
            };
            // Cells of an intact page do not overlap: this limits the work per page.
            local_bytes += cell.local.len();
            if local_bytes > self.usable {
                return Err(self.damage(node.number, at, "cells of the page overlap"));
            }
            let payload = match cell.overflow {
                None => Ok(cell.local),
                Some(first) => self.read_overflow(&cell, first, used, &mut long).map(|()| long.as_slice()),
            };
            match payload.and_then(parse_record) {
                Ok(values) => visit(cell.id, &values),
                Err(reason) => {
                    damages.push(self.damage(node.number, at, format!("row {}: {reason}", cell.id)))
                }
            }
        }
        Ok(())
    }

    /// Reads a payload that continues on overflow pages into `payload`.
    fn read_overflow(
        &self,
        cell: &Cell<'_>,
        first: u32,
        used: &mut PageSet,
        payload: &mut Vec<u8>,
    ) -> Result<(), &'static str> {
        payload.clear();
        payload.extend_from_slice(cell.local);
        let mut page = vec![0; self.page_size];
        let mut number = first;
        while payload.len() < cell.length {
            if number == 0 || !used.insert(number) {
                return Err("its chain of overflow pages ends too early");
            }
            self.load(number, &mut page).map_err(|_| "an overflow page cannot be read")?;
            let wanted = (cell.length - payload.len()).min(self.usable - 4);
            payload.extend_from_slice(&page[4..4 + wanted]);
            number = Order::Big.u32(&page, 0).unwrap_or_default();
        }
        Ok(())
    }

    /// Reads the latest committed version of a page.
    fn load(&self, number: u32, page: &mut [u8]) -> Result<(), Damage> {
        let (source, offset) = self.place(number);
        fill(source, offset, page).map_err(|damage| self.damage(number, 0, damage.reason))
    }

    fn place(&self, number: u32) -> (&'a dyn Source, u64) {
        let logged = self.log.as_ref().and_then(|(log, wal)| Some((*log, *wal.offsets.get(&number)?)));
        logged.unwrap_or_else(|| (self.file, u64::from(number.saturating_sub(1)) * self.page_size as u64))
    }

    fn damage(&self, number: u32, at: usize, reason: impl Into<String>) -> Damage {
        let (_, offset) = self.place(number);
        let is_logged = self.log.as_ref().is_some_and(|(_, wal)| wal.offsets.contains_key(&number));
        let suffix = if is_logged { ", in the write-ahead log" } else { "" };
        Damage::at(offset + at as u64, format!("page {number}: {}{suffix}", reason.into()))
    }
}

/// A page of a table's B-tree.
struct Node<'a> {
    number: u32,
    page: &'a [u8],
    kind: u8,
    /// Offset of the page's header.
    start: usize,
    /// Offset of the table of cells.
    table: usize,
    cells: usize,
}

impl<'a> Node<'a> {
    fn of(number: u32, page: &'a [u8]) -> Result<Self, (usize, String)> {
        // The first page has the header of the file before its own.
        let start = if number == 1 { 100 } else { 0 };
        let kind = page[start];
        let table = match kind {
            INTERIOR => start + 12,
            LEAF => start + 8,
            _ => return Err((start, format!("type {kind} is not a page of a table"))),
        };
        let cells = usize::from(Order::Big.u16(page, start + 3).unwrap_or_default());
        if table + 2 * cells > page.len() {
            return Err((start + 3, format!("{cells} cells do not fit into a page")));
        }
        Ok(Node { number, page, kind, start, table, cells })
    }

    fn cells(&self) -> impl DoubleEndedIterator<Item = usize> {
        let offset = |index: usize| Order::Big.u16(self.page, self.table + 2 * index).map_or(0, usize::from);
        (0..self.cells).map(offset)
    }

    /// Returns the page numbers of the children of an interior page. A damaged cell gives 0, which
    /// is not a page.
    fn children(&self) -> impl DoubleEndedIterator<Item = u32> {
        let number = |at: usize| Order::Big.u32(self.page, at).unwrap_or_default();
        self.cells().map(number).chain(std::iter::once(number(self.start + 8)))
    }
}

/// A cell of a leaf.
struct Cell<'a> {
    id: i64,
    /// Length of the whole payload in bytes.
    length: usize,
    /// Part of the payload that is in the page.
    local: &'a [u8],
    /// First overflow page, if the payload is longer.
    overflow: Option<u32>,
}

impl<'a> Cell<'a> {
    fn parse(page: &'a [u8], at: usize, usable: usize) -> Option<Self> {
        let page = page.get(..usable)?;
        let (length, at) = varint(page, at)?;
        let (id, at) = varint(page, at)?;
        let length = usize::try_from(length).ok().filter(|&length| length <= MAX_HEADER)?;
        let most = usable - 35;
        let local = if length <= most {
            length
        } else {
            let least = (usable - 12) * 32 / 255 - 23;
            let kept = least + (length - least) % (usable - 4);
            if kept <= most { kept } else { least }
        };
        let rest = page.get(at + local..)?;
        let overflow = if local < length { Some(Order::Big.u32(rest, 0)?) } else { None };
        Some(Cell { id: id.cast_signed(), length, local: &page[at..at + local], overflow })
    }
}

/// Parses a row: types of all values, then the values.
fn parse_record(record: &[u8]) -> Result<Vec<Value<'_>>, &'static str> {
    const DAMAGED: &str = "its record is damaged";
    let (header, mut at) = varint(record, 0).ok_or(DAMAGED)?;
    let header = usize::try_from(header).ok().filter(|&end| end <= record.len()).ok_or(DAMAGED)?;
    let mut rest = &record[header..];
    let mut values = Vec::new();
    while at < header {
        if values.len() == MAX_COLUMNS {
            return Err("it has too many columns");
        }
        let (kind, next) = varint(&record[..header], at).ok_or(DAMAGED)?;
        let length = match kind {
            0 | 8 | 9 => 0,
            1..=4 => kind as usize,
            5 => 6,
            6 | 7 => 8,
            10 | 11 => return Err(DAMAGED),
            _ => usize::try_from((kind - 12) / 2).map_err(|_| DAMAGED)?,
        };
        let (bytes, tail) = rest.split_at_checked(length).ok_or(DAMAGED)?;
        values.push(match kind {
            0 => Value::Null,
            7 => Value::Real(f64::from_be_bytes(*bytes.first_chunk().ok_or(DAMAGED)?)),
            8 => Value::Integer(0),
            9 => Value::Integer(1),
            1..=6 => Value::Integer(integer(bytes)),
            kind if kind % 2 == 0 => Value::Blob(bytes),
            _ => Value::Text(bytes),
        });
        (rest, at) = (tail, next);
    }
    Ok(values)
}

/// Returns a big-endian integer of 1 to 8 bytes with sign.
fn integer(bytes: &[u8]) -> i64 {
    let sign = if bytes.first().is_some_and(|first| first & 0x80 != 0) { -1 } else { 0 };
    bytes.iter().fold(sign, |value, &byte| value << 8 | i64::from(byte))
}

/// Parses a number of 1 to 9 bytes: 7 bits per byte, 8 in the ninth. Returns it with the position
/// after it.
fn varint(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut value = 0;
    for index in 0..8 {
        let byte = *bytes.get(at + index)?;
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((value, at + index + 1));
        }
    }
    Some((value << 8 | u64::from(*bytes.get(at + 8)?), at + 9))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varint_lengths_of_the_format() {
        for (bytes, expected) in [
            (&[0][..], Some((0, 1))),
            (&[0x7f, 9], Some((0x7f, 1))),
            (&[0x81, 0], Some((0x80, 2))),
            (&[0x81, 0x80, 0x80, 0], Some((1 << 21, 4))),
            (&[0xff; 9], Some((u64::MAX, 9))),
            (&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 5], Some((5, 9))),
            (&[0xff; 8], None),
            (&[0x80], None),
            (&[], None),
        ] {
            assert_eq!(varint(bytes, 0), expected, "{bytes:?}");
        }
    }

    #[test]
    fn parse_record_every_type_returns_value() {
        let record = [
            &[12, 0, 1, 2, 3, 5, 6, 7, 8, 9, 16, 17][..],
            &[0xff, 1, 0, 0xff, 0xff, 0xfe, 0, 0, 0, 0, 1, 0],
            &i64::MIN.to_be_bytes(),
            &1.5_f64.to_be_bytes(),
            b"\x01\x02hi",
        ];
        let expected = [
            Value::Null,
            Value::Integer(-1),
            Value::Integer(256),
            Value::Integer(-2),
            Value::Integer(256),
            Value::Integer(i64::MIN),
            Value::Real(1.5),
            Value::Integer(0),
            Value::Integer(1),
            Value::Blob(&[1, 2]),
            Value::Text(b"hi"),
        ];
        let record = record.concat();
        assert_eq!(parse_record(&record).unwrap(), expected);
        for length in 0..record.len() {
            assert!(parse_record(&record[..length]).is_err(), "{length}");
        }
        assert!(parse_record(&[2, 10]).is_err());
        assert_eq!(parse_record(&[&[0x98, 0x00][..], &[0; 3070]].concat()), Err("it has too many columns"));
    }

    /// Returns a database with a page for the schema and one for the table `t`.
    fn database(cells: &[&[u8]]) -> Vec<u8> {
        let mut file = vec![0; 1024];
        file[..16].copy_from_slice(MAGIC);
        file[16..24].copy_from_slice(&[2, 0, 1, 1, 0, 64, 32, 32]);
        let mut leaf = |start: usize, header: usize, cells: &[&[u8]]| {
            file[start + header] = LEAF;
            file[start + header + 4] = cells.len() as u8;
            let mut end = 512;
            for (index, cell) in cells.iter().enumerate() {
                end -= cell.len();
                file[start + end..start + end + cell.len()].copy_from_slice(cell);
                let at = start + header + 8 + 2 * index;
                file[at..at + 2].copy_from_slice(&(end as u16).to_be_bytes());
            }
        };
        leaf(0, 100, &[b"\x0f\x01\x06\x17\x0f\x0f\x01\x0ftablett\x02s"]);
        leaf(512, 0, cells);
        file
    }

    fn rows(file: &[u8]) -> (Vec<i64>, Vec<String>) {
        let (database, _) = Database::open(&file, None).unwrap();
        let (tables, _) = database.tables().unwrap();
        assert_eq!(tables, [Table { name: b"t".to_vec(), root: 2, sql: b"s".to_vec() }]);
        let mut found = Vec::new();
        let damages = database.rows(2, &mut |id, _| found.push(id)).unwrap();
        (found, damages.list.iter().map(Damage::to_string).collect())
    }

    #[test]
    fn rows_damaged_cell_keeps_the_other_rows() {
        let good: &[u8] = &[3, 1, 2, 1, 7];
        assert_eq!(rows(&database(&[good, &[3, 2, 2, 1, 7]])), (vec![1, 2], vec![]));
        let (found, damages) =
            rows(&database(&[&[3, 5, 9, 9, 9], good, &[0xff, 0xff, 0xff, 0xff, 0x7f, 3, 0]]));
        assert_eq!(found, [1]);
        assert_eq!(
            damages,
            [
                "page 2: row 5: its record is damaged at offset 1019",
                "page 2: a cell is damaged at offset 1007"
            ]
        );
    }

    #[test]
    fn rows_overlapping_cells_end_the_page() {
        let long = [&[0x83, 0x20, 1, 3, 0x86, 0x40][..], &[0; 414]].concat();
        assert_eq!(rows(&database(&[&long])), (vec![1], vec![]));
        // The second cell is at the offset of the first.
        let (found, damages) = rows(&database(&[&long, &[]]));
        assert_eq!(
            (found.len(), damages),
            (1, vec!["page 2: cells of the page overlap at offset 604".to_owned()])
        );
    }

    #[test]
    fn open_pages_come_from_the_log() {
        let file = database(&[&[3, 1, 2, 1, 7]]);
        let changed = database(&[&[3, 9, 2, 1, 7]]);
        let log = crate::pkg::rpm::wal::tests::log(512, &[(2, 2, &changed[512..])]);
        let (source, log) = (file.as_slice(), log.as_slice());
        let (database, damages) = Database::open(&source, Some(&log)).unwrap();
        assert!(damages.is_empty());
        let mut found = Vec::new();
        database.rows(2, &mut |id, _| found.push(id)).unwrap();
        assert_eq!(found, [9]);
        assert!(database.rows(3, &mut |_, _| ()).is_err() && database.rows(0, &mut |_, _| ()).is_err());
    }
}
