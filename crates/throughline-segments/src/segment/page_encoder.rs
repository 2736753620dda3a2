//! Levels and numbers of dictionary entries as the bytes of Parquet's pages.
//!
//! Source: apache/parquet-format, Encodings.md, "RLE / bit-packing hybrid".

/// Numbers that are packed together.
const GROUP: usize = 8;

/// The rows of a page and the levels of their values.
#[derive(Debug, Clone, Default)]
pub(super) struct PageLayout {
    pub(super) rows: usize,
    /// Number of values, absent ones included.
    pub(super) values: usize,
    /// Number of values that are there.
    pub(super) present: usize,
    /// Repetition and definition levels with their lengths; empty where each row has a value.
    pub(super) levels: Vec<u8>,
}

// === impl PageLayout ===

impl PageLayout {
    /// Lays out pages of a column that has a value in every row.
    pub(super) fn required(rows: usize, page_rows: usize) -> Vec<Self> {
        let starts = (0..rows).step_by(page_rows.max(1));
        let pages = starts.map(|start| {
            let rows = page_rows.min(rows - start);
            Self {
                rows,
                values: rows,
                present: rows,
                levels: Vec::new(),
            }
        });
        pages.collect()
    }

    /// Lays out pages of a column that has a value in some rows.
    pub(super) fn optional(is_there: &[bool], page_rows: usize) -> Vec<Self> {
        let pages = is_there.chunks(page_rows).map(|rows| {
            let mut levels = LevelBits::default();
            rows.iter().for_each(|it| levels.push(*it));
            Self {
                rows: rows.len(),
                values: rows.len(),
                present: levels.ones,
                levels: levels.into_bytes(),
            }
        });
        pages.collect()
    }

    /// Lays out the page of a column that has a value in no row; `is_nested` for one in a list.
    pub(super) fn absent(rows: usize, is_nested: bool) -> Vec<Self> {
        let mut pages = Self::required(rows, rows);
        for page in &mut pages {
            let mut levels = LevelBits::default();
            levels.push_all(false, page.rows);
            let levels = levels.into_bytes();
            page.levels = if is_nested {
                [levels.as_slice(), &levels].concat()
            } else {
                levels
            };
            page.present = 0;
        }
        pages
    }

    /// Lays out pages of the keys or values of a map with as many entries in each row.
    pub(super) fn map(counts: &[u32], page_rows: usize) -> Vec<Self> {
        let pages = counts.chunks(page_rows).map(|rows| {
            let (mut repetition, mut definition) = (LevelBits::default(), LevelBits::default());
            for count in rows {
                let values = (*count).max(1) as usize;
                repetition.push(false);
                repetition.push_all(true, values - 1);
                definition.push_all(*count > 0, values);
            }
            let values = repetition.count;
            Self {
                rows: rows.len(),
                values,
                present: rows.iter().map(|count| *count as usize).sum(),
                levels: [repetition.into_bytes(), definition.into_bytes()].concat(),
            }
        });
        pages.collect()
    }
}

/// Levels of zero and one.
#[derive(Debug, Default)]
struct LevelBits {
    bits: Vec<u8>,
    count: usize,
    ones: usize,
}

// === impl LevelBits ===

impl LevelBits {
    fn push(&mut self, level: bool) {
        if self.count.is_multiple_of(GROUP) {
            self.bits.push(0);
        }
        if let Some(last) = self.bits.last_mut() {
            *last |= u8::from(level) << (self.count % GROUP);
        }
        self.count += 1;
        self.ones += usize::from(level);
    }

    fn push_all(&mut self, level: bool, count: usize) {
        for _ in 0..count {
            self.push(level);
        }
    }

    /// Encodes the levels, with the length in front.
    fn into_bytes(self) -> Vec<u8> {
        let mut out = vec![0; 4];
        if self.ones == 0 || self.ones == self.count {
            write_varint((self.count as u64) << 1, &mut out);
            out.push(u8::from(self.ones > 0));
        } else {
            write_varint((self.bits.len() as u64) << 1 | 1, &mut out);
            out.extend_from_slice(&self.bits);
        }
        let length = u32::try_from(out.len() - 4).unwrap_or(u32::MAX);
        for (to, from) in out.iter_mut().zip(length.to_le_bytes()) {
            *to = from;
        }
        out
    }
}

/// Returns the bits that a number up to this one takes.
pub(super) const fn bits_of(max: u32) -> u32 {
    u32::BITS - max.leading_zeros()
}

/// Encodes numbers of this many bits: repeated ones as runs, others packed.
pub(super) fn write_hybrid(numbers: &[u32], bits: u32, out: &mut Vec<u8>) {
    let mut rest = numbers;
    while let Some(first) = rest.first() {
        let run = rest.iter().take_while(|it| *it == first).count();
        let is_last = run == rest.len();
        // A run may end anywhere at the end only: packed numbers come in groups of eight.
        let run = if is_last { run } else { run / GROUP * GROUP };
        if run >= GROUP || (is_last && run > 0) {
            write_varint((run as u64) << 1, out);
            let bytes = first.to_le_bytes();
            let width = bits.div_ceil(8) as usize;
            out.extend_from_slice(bytes.get(..width).unwrap_or_default());
            rest = rest.get(run..).unwrap_or_default();
            continue;
        }
        let packed = packed_groups(rest);
        write_varint((packed as u64) << 1 | 1, out);
        let end = (packed * GROUP).min(rest.len());
        pack(rest.get(..end).unwrap_or_default(), bits, packed, out);
        rest = rest.get(end..).unwrap_or_default();
    }
}

/// Returns the number of groups before the next one that is a run.
fn packed_groups(numbers: &[u32]) -> usize {
    let mut groups = 0;
    for group in numbers.chunks(GROUP) {
        let is_run = group.iter().all(|it| Some(it) == group.first());
        if groups > 0 && is_run {
            break;
        }
        groups += 1;
    }
    groups
}

/// Packs numbers into groups, the lowest bit first; missing ones of the last group are zero.
fn pack(numbers: &[u32], bits: u32, groups: usize, out: &mut Vec<u8>) {
    let end = out.len() + groups * bits as usize;
    let (mut buffer, mut filled) = (0u64, 0);
    for number in numbers {
        buffer |= u64::from(*number) << filled;
        filled += bits;
        while filled >= 32 {
            out.extend_from_slice(&low_word(buffer).to_le_bytes());
            buffer >>= 32;
            filled -= 32;
        }
    }
    out.extend_from_slice(&buffer.to_le_bytes());
    out.resize(end, 0);
}

const fn low_word(buffer: u64) -> u32 {
    (buffer & 0xffff_ffff) as u32
}

fn write_varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes as the format describes it.
    fn read(mut bytes: &[u8], bits: u32, count: usize) -> Vec<u32> {
        let mut out = Vec::new();
        while out.len() < count {
            let (mut header, mut shift) = (0u64, 0);
            loop {
                let byte = bytes[0];
                bytes = &bytes[1..];
                header |= u64::from(byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            let length = usize::try_from(header >> 1).unwrap();
            if header & 1 == 0 {
                let width = bits.div_ceil(8) as usize;
                let mut value = [0; 4];
                value[..width].copy_from_slice(&bytes[..width]);
                bytes = &bytes[width..];
                out.extend(std::iter::repeat_n(u32::from_le_bytes(value), length));
            } else {
                let size = length * bits as usize;
                let bit = |at: usize| u32::from(bytes[at / 8] >> (at % 8) & 1);
                for number in 0..length * GROUP {
                    let first = number * bits as usize;
                    let value = (0..bits as usize).map(|at| bit(first + at) << at).sum();
                    out.push(value);
                }
                bytes = &bytes[size..];
            }
        }
        assert!(bytes.is_empty());
        out.truncate(count);
        out
    }

    #[test]
    fn runs_and_packed_numbers_are_read_as_they_were() {
        for bits in [1, 2, 3, 7, 8, 9, 17, 31] {
            let mask = (1u64 << bits) - 1;
            for seed in 0..60u64 {
                let number = |at: u64| {
                    let block = at / (1 + seed % 23);
                    let mixed = (block ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
                    u32::try_from(mixed & mask).unwrap()
                };
                let numbers: Vec<u32> = (0..seed * 7).map(number).collect();
                let mut bytes = Vec::new();
                write_hybrid(&numbers, bits, &mut bytes);
                assert_eq!(read(&bytes, bits, numbers.len()), numbers, "{bits} {seed}");
            }
        }
    }

    #[test]
    fn a_map_has_a_level_for_each_entry_and_each_empty_row() {
        let pages = PageLayout::map(&[2, 0, 3, 1], 3);
        let sizes: Vec<_> = pages
            .iter()
            .map(|it| (it.rows, it.values, it.present))
            .collect();
        assert_eq!(sizes, [(3, 6, 5), (1, 1, 1)]);
        let levels = |bytes: &[u8]| {
            let length = u32::from_le_bytes(bytes[..4].try_into().unwrap()) as usize;
            (read(&bytes[4..4 + length], 1, 6), 4 + length)
        };
        let (repetition, end) = levels(&pages[0].levels);
        let (definition, _) = levels(&pages[0].levels[end..]);
        assert_eq!(repetition, [0, 1, 0, 0, 1, 1]);
        assert_eq!(definition, [1, 1, 0, 1, 1, 1]);
    }
}
