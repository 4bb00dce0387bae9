//! Berkeley DB: the file `Packages` of rpm before 4.16, a hash table or a B-tree.
//!
//! Every page is read once, from the first to the last, instead of following buckets or branches:
//! the order of packages does not matter, and damage stays local. Numbers are in the byte order of
//! the machine that wrote the file; the magic number shows which one.
//!
//! ```text
//! meta page     8 page number  12 magic  16 version  20 page size  24 encryption  25 type
//!               26 flags  32 last page
//! page header   8 page number  16 next page  20 entries (u16)  22 data bytes (u16)  25 type
//! entry table   u16 per item from 26 on: offset in the page; key and value alternate
//! hash item     u8 kind; 1: data up to the previous item; 3: 3 bytes, u32 page, u32 length
//! B-tree item   u16 length, u8 kind; 1: data; 3: u8, u32 page, u32 length; 0x80: deleted
//! overflow page data from 26 on; the next page continues it
//! ```

use crate::pkg::rpm::source::{Damage, Damages, MAX_HEADER, Order, PageSet, Source, fill};
use std::collections::HashSet;
use std::ops::Range;

/// Bytes of a page before its entry table.
const PAGE_HEADER: usize = 26;
const HASH_MAGIC: u32 = 0x0006_1561;
const BTREE_MAGIC: u32 = 0x0005_3162;
/// Page types (`P_HASH_UNSORTED`, `P_HASH`, `P_LBTREE`, `P_OVERFLOW`).
const HASH_UNSORTED: u8 = 2;
const HASH: u8 = 13;
const BTREE_LEAF: u8 = 5;
const OVERFLOW: u8 = 7;
/// Kinds of items.
const IN_PLACE: u8 = 1;
const ON_PAGES: u8 = 3;
const DELETED: u8 = 0x80;

/// Whether a file that begins with these 16 bytes is such a database.
pub fn is_format(head: &[u8]) -> bool {
    byte_order(head).is_some()
}

/// Passes the number and the header of each package to `visit`. Returns what is damaged.
///
/// The error is the reason why nothing can be read.
pub fn read(source: &dyn Source, visit: &mut dyn FnMut(u32, &[u8])) -> Result<Damages, Damage> {
    let (mut file, mut damages) = File::open(source)?;
    let mut numbers = HashSet::new();
    let mut page = vec![0; file.page_size];
    for number in 1..file.pages {
        if let Err(damage) = file.load(number, &mut page) {
            damages.push(damage);
            continue;
        }
        if !matches!(page[25], HASH | HASH_UNSORTED | BTREE_LEAF) {
            continue;
        }
        let mut found = |result: Result<(u32, &[u8]), Damage>| match result {
            Ok((key, header)) if numbers.insert(key) => visit(key, header),
            Ok((key, _)) => {
                damages
                    .push(Damage::at(file_offset(number, page.len()), format!("package {key} occurs twice")));
            }
            Err(damage) => damages.push(damage),
        };
        if let Err(damage) = file.read_items(number, &page, &mut found) {
            damages.push(damage);
        }
    }
    Ok(damages)
}

fn byte_order(head: &[u8]) -> Option<(Order, u32)> {
    [Order::Little, Order::Big].into_iter().find_map(|order| {
        let magic = order.u32(head, 12)?;
        matches!(magic, HASH_MAGIC | BTREE_MAGIC).then_some((order, magic))
    })
}

fn file_offset(page: u32, page_size: usize) -> u64 {
    u64::from(page) * page_size as u64
}

struct File<'a> {
    source: &'a dyn Source,
    order: Order,
    page_size: usize,
    /// Number of pages, the meta page included.
    pages: u32,
    /// Overflow pages that belong to a header already.
    used: PageSet,
}

impl<'a> File<'a> {
    fn open(source: &'a dyn Source) -> Result<(Self, Damages), Damage> {
        let mut meta = [0; 72];
        fill(source, 0, &mut meta)?;
        let (order, magic) = byte_order(&meta).ok_or_else(|| Damage::at(12, "not a Berkeley DB file"))?;
        let number = |at| order.u32(&meta, at).unwrap_or_default();
        let (version, page_size) = (number(16), number(20));
        let (name, known) = if magic == HASH_MAGIC { ("hash", 7..=10) } else { ("B-tree", 8..=10) };
        if !known.contains(&version) {
            return Err(Damage::at(16, format!("Berkeley DB {name} version {version} is not supported")));
        }
        if !(512..=65_536).contains(&page_size) || !page_size.is_power_of_two() {
            return Err(Damage::at(20, format!("page size {page_size} is not valid")));
        }
        // Encrypted pages and pages with checksums have longer headers; rpm never writes them.
        if meta[24] != 0 || meta[26] & 1 != 0 {
            return Err(Damage::at(24, "encrypted or checksummed pages are not supported"));
        }
        let mut damages = Damages::default();
        let present = source.length() / u64::from(page_size);
        let stated = u64::from(number(32)) + 1;
        if stated > present {
            let reason = format!("the file is truncated: {present} of {stated} pages are present");
            damages.push(Damage::at(source.length(), reason));
        }
        let pages = u32::try_from(stated.min(present)).unwrap_or(u32::MAX);
        let page_size = page_size as usize;
        Ok((File { source, order, page_size, pages, used: PageSet::new(pages) }, damages))
    }

    /// Reads a page and checks its own number. Pages that were never written are zeros.
    fn load(&self, number: u32, page: &mut [u8]) -> Result<(), Damage> {
        let offset = file_offset(number, self.page_size);
        fill(self.source, offset, page)?;
        let stated = self.order.u32(page, 8);
        if page[25] != 0 && stated != Some(number) {
            return Err(Damage::at(offset + 8, format!("page {number} states another page number")));
        }
        Ok(())
    }

    /// Passes each package of a hash page or leaf to `found`. The error is damage of the page as a
    /// whole.
    fn read_items(&mut self, number: u32, page: &[u8], found: Found<'_>) -> Result<(), Damage> {
        let start = file_offset(number, page.len());
        let entries = usize::from(self.order.u16(page, 20).unwrap_or_default());
        let first_item = PAGE_HEADER + 2 * entries;
        if first_item > page.len() {
            return Err(Damage::at(start + 20, format!("{entries} entries do not fit into a page")));
        }
        let mut taken = first_item;
        let mut previous = page.len();
        for entry in (0..entries.saturating_sub(1)).step_by(2) {
            let offset_of =
                |entry: usize| self.order.u16(page, PAGE_HEADER + 2 * entry).map_or(0, usize::from);
            let (key, value) = (offset_of(entry), offset_of(entry + 1));
            if key.min(value) < first_item || key.max(value) + 3 > page.len() {
                found(Err(Damage::at(
                    start + (PAGE_HEADER + 2 * entry) as u64,
                    "an item is not in its page",
                )));
                continue;
            }
            let items = if page[25] == BTREE_LEAF {
                self.btree_pair(page, key, value)
            } else {
                hash_pair(page, self.order, key, value, previous)
            };
            previous = value;
            let damage = |reason| Damage::at(start + key as u64, reason);
            match items {
                Err(reason) => found(Err(damage(reason))),
                Ok(None) => {}
                Ok(Some((id, Item::InPlace(range)))) => {
                    // Items of an intact page do not overlap: this limits the work per page.
                    taken += range.len();
                    if taken > page.len() {
                        return Err(damage("items of the page overlap"));
                    }
                    found(Ok((id, &page[range])));
                }
                Ok(Some((id, Item::OnPages { first, length }))) => {
                    let header = self.read_chain(first, length, start + value as u64);
                    match header {
                        Ok(header) => found(Ok((id, &header))),
                        Err(damage) => found(Err(damage)),
                    }
                }
            }
        }
        Ok(())
    }

    /// Returns the number of a package and the place of its header. `None` for the counter with
    /// key 0 and for deleted items.
    fn btree_pair(&self, page: &[u8], key: usize, value: usize) -> Result<Option<(u32, Item)>, &'static str> {
        if (page[key + 2] | page[value + 2]) & DELETED != 0 {
            return Ok(None);
        }
        let in_place = |at: usize| {
            let length = usize::from(self.order.u16(page, at)?);
            (page[at + 2] == IN_PLACE && at + 3 + length <= page.len()).then(|| at + 3..at + 3 + length)
        };
        let key = in_place(key).ok_or("a key is damaged")?;
        let Some(id) = package_number(self.order, &page[key])? else {
            return Ok(None);
        };
        let item = match page[value + 2] {
            ON_PAGES => on_pages(page, self.order, value),
            _ => in_place(value).map(Item::InPlace),
        };
        Ok(Some((id, item.ok_or("a value is damaged")?)))
    }

    /// Reads a header that fills a chain of overflow pages. `origin` is the offset of its item.
    fn read_chain(&mut self, first: u32, length: u32, origin: u64) -> Result<Vec<u8>, Damage> {
        let length = length as usize;
        if length > MAX_HEADER || length as u64 > self.source.length() {
            return Err(Damage::at(origin, format!("a header of {length} bytes is longer than possible")));
        }
        let mut header = Vec::with_capacity(length);
        let mut page = vec![0; self.page_size];
        let mut number = first;
        while header.len() < length {
            if number == 0 || !self.used.insert(number) {
                let reason =
                    format!("the chain of overflow pages ends after {} of {length} bytes", header.len());
                return Err(Damage::at(origin, reason));
            }
            self.load(number, &mut page)?;
            let offset = file_offset(number, self.page_size);
            if page[25] != OVERFLOW {
                return Err(Damage::at(offset + 25, format!("page {number} is not an overflow page")));
            }
            let used = usize::from(self.order.u16(&page, 22).unwrap_or_default());
            if used == 0 || used > page.len() - PAGE_HEADER || used > length - header.len() {
                return Err(Damage::at(offset + 22, format!("an overflow page cannot hold {used} bytes")));
            }
            header.extend_from_slice(&page[PAGE_HEADER..PAGE_HEADER + used]);
            number = self.order.u32(&page, 16).unwrap_or_default();
        }
        Ok(header)
    }
}

/// Receiver of the number and the header of a package, or of damage.
type Found<'a> = &'a mut dyn FnMut(Result<(u32, &[u8]), Damage>);

/// Place of a value.
enum Item {
    /// In its page.
    InPlace(Range<usize>),
    /// On a chain of overflow pages.
    OnPages { first: u32, length: u32 },
}

/// Returns the number of a package and the place of its header; `previous` is the offset of the
/// item before the key, or the length of the page. `None` for the counter with key 0.
fn hash_pair(
    page: &[u8],
    order: Order,
    key: usize,
    value: usize,
    previous: usize,
) -> Result<Option<(u32, Item)>, &'static str> {
    if key >= previous || value >= key || page[key] != IN_PLACE {
        return Err("a key is damaged");
    }
    let Some(id) = package_number(order, &page[key + 1..previous])? else {
        return Ok(None);
    };
    let item = match page[value] {
        IN_PLACE => Some(Item::InPlace(value + 1..key)),
        ON_PAGES => on_pages(page, order, value),
        _ => None,
    };
    Ok(Some((id, item.ok_or("a value is damaged")?)))
}

fn on_pages(page: &[u8], order: Order, at: usize) -> Option<Item> {
    Some(Item::OnPages { first: order.u32(page, at + 4)?, length: order.u32(page, at + 8)? })
}

/// Returns the number that a key contains. `None` for 0, where rpm keeps its last number.
fn package_number(order: Order, key: &[u8]) -> Result<Option<u32>, &'static str> {
    match order.u32(key, 0) {
        Some(number) if key.len() == 4 => Ok(Some(number).filter(|&number| number != 0)),
        _ => Err("a key is not a package number"),
    }
}
