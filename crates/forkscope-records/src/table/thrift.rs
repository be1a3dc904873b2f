//! The few fields of Parquet's own structures that say how much memory and
//! stack a decoder will take, read without decoding.
//!
//! Thrift compact protocol: a field is a byte `delta << 4 | type` (delta 0: the
//! id follows as a zigzag varint), a stop is 0. `PageHeader`: 1 type,
//! 2 uncompressed size, 3 compressed size, 5 data page (1 num_values),
//! 7 dictionary page (1 num_values), 8 data page v2 (1 num_values).
//! `FileMetaData`: 2 list of schema elements (5 num_children), depth first.
//! Source: apache/parquet-format, `parquet.thrift` and the Thrift compact
//! protocol specification.

/// What a page header claims.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct PageClaim {
    /// Bytes after decompression.
    pub uncompressed: i64,
    /// Bytes in the file.
    pub compressed: i64,
    /// Values (definition levels) of a data page; 0 for other pages.
    pub values: i64,
    /// Values of a dictionary page; 0 for other pages.
    pub dictionary: i64,
}

/// Structs in structs deeper than this are no page header.
const MAX_DEPTH: usize = 8;

/// The claim of the header at the start of `bytes`, and the header's length.
pub(super) fn page_header(bytes: &[u8]) -> Option<(PageClaim, usize)> {
    let mut cursor = Cursor { bytes, at: 0 };
    let mut claim = PageClaim::default();
    cursor.fields(|c, id, kind| match (id, kind) {
        (2, I32) => c.zigzag().map(|n| claim.uncompressed = n),
        (3, I32) => c.zigzag().map(|n| claim.compressed = n),
        (5 | 8, STRUCT) => c.number_at(1).map(|n| claim.values = n),
        (7, STRUCT) => c.number_at(1).map(|n| claim.dictionary = n),
        _ => c.skip(kind, 0),
    })?;
    Some((claim, cursor.at))
}

/// The deepest nesting of the schema in a footer, or `most` + 1 if it is deeper
/// than that.
pub(super) fn schema_depth(footer: &[u8], most: usize) -> Option<usize> {
    let mut cursor = Cursor {
        bytes: footer,
        at: 0,
    };
    let mut deepest = 0;
    cursor.fields(|c, id, kind| match (id, kind) {
        (2, LIST) => {
            let head = c.byte()?;
            let n = c.list_len(head)?;
            // Children still to come on each level that is open.
            let mut open: Vec<i64> = Vec::new();
            for _ in 0..n {
                let children = c.number_at(5)?;
                while open.last() == Some(&0) {
                    open.pop();
                }
                if let Some(left) = open.last_mut() {
                    *left -= 1;
                }
                if children > 0 {
                    open.push(children);
                }
                deepest = deepest.max(open.len());
                if deepest > most {
                    return None;
                }
            }
            Some(())
        }
        _ => c.skip(kind, 0),
    });
    (deepest > 0).then_some(deepest)
}

const I32: u8 = 5;
const LIST: u8 = 9;
const STRUCT: u8 = 12;

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn byte(&mut self) -> Option<u8> {
        let b = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(b)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let b = self.byte()?;
            value |= u64::from(b & 0x7f) << shift;
            if b & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn zigzag(&mut self) -> Option<i64> {
        let v = self.varint()?;
        Some((v >> 1) as i64 ^ -((v & 1) as i64))
    }

    /// Calls `each` with every field of a struct until its stop byte.
    fn fields(&mut self, mut each: impl FnMut(&mut Self, i64, u8) -> Option<()>) -> Option<()> {
        let mut id = 0i64;
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Some(());
            }
            id = match head >> 4 {
                0 => self.zigzag()?,
                delta => id.checked_add(i64::from(delta))?,
            };
            each(self, id, head & 15)?;
        }
    }

    /// The 32-bit integer field `id` of a struct, 0 if it has none; the rest is
    /// skipped.
    fn number_at(&mut self, id: i64) -> Option<i64> {
        let mut found = 0;
        self.fields(|c, field, kind| match kind {
            I32 if field == id => c.zigzag().map(|n| found = n),
            _ => c.skip(kind, 1),
        })?;
        Some(found)
    }

    fn forward(&mut self, n: u64) -> Option<()> {
        let to = self.at.checked_add(usize::try_from(n).ok()?)?;
        self.at = to;
        (to <= self.bytes.len()).then_some(())
    }

    fn skip(&mut self, kind: u8, depth: usize) -> Option<()> {
        if depth > MAX_DEPTH {
            return None;
        }
        match kind {
            1 | 2 => Some(()),
            3 => self.forward(1),
            4..=6 => self.varint().map(drop),
            7 => self.forward(8),
            8 => {
                let n = self.varint()?;
                self.forward(n)
            }
            9 | 10 => self.skip_list(depth),
            STRUCT => self.fields(|c, _, kind| c.skip(kind, depth + 1)),
            _ => None,
        }
    }

    fn list_len(&mut self, head: u8) -> Option<u64> {
        match head >> 4 {
            15 => self.varint(),
            n => Some(u64::from(n)),
        }
    }

    fn skip_list(&mut self, depth: usize) -> Option<()> {
        let head = self.byte()?;
        let n = self.list_len(head)?;
        let kind = head & 15;
        // A boolean in a list takes a byte, in a struct none; every element takes
        // at least one, which bounds the loop by the file.
        (0..n).try_for_each(|_| {
            if kind <= 2 {
                self.forward(1)
            } else {
                self.skip(kind, depth + 1)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_page_header_says_its_sizes() {
        // type 0, uncompressed 100, compressed 60, data page {values 7, enc 0, 3, 3}
        let bytes = [
            0x15, 0, 0x15, 200, 1, 0x15, 120, 0x2c, 0x15, 14, 0x15, 0, 0x15, 6, 0x15, 6, 0, 0,
        ];
        let (claim, len) = page_header(&bytes).unwrap();
        assert_eq!(
            claim,
            PageClaim {
                uncompressed: 100,
                compressed: 60,
                values: 7,
                dictionary: 0
            }
        );
        assert_eq!(len, bytes.len());
        for cut in 0..bytes.len() {
            assert!(page_header(&bytes[..cut]).is_none());
        }
    }

    #[test]
    fn a_schema_is_as_deep_as_its_groups() {
        // version 1, then: root(2 children), leaf, group(1 child), leaf
        let element = |children: u8| [0x48, 1, b'x', 0x15, children << 1, 0];
        let elements = [element(2), element(0), element(1), element(0)].concat();
        let footer = [&[0x15, 2, 0x19, 0x4c][..], &elements, &[0]].concat();
        assert_eq!(schema_depth(&footer, 64), Some(2));
        assert_eq!(schema_depth(&footer, 1), Some(2));
        assert_eq!(schema_depth(b"\xff", 64), None);
    }

    #[test]
    fn nesting_without_end_is_refused() {
        assert!(page_header(&[0x1c; 4096]).is_none());
    }
}
