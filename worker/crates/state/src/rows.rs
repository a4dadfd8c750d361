//! Rows of 64-bit words under stable ids, in blocks of about 2 MiB that never move; the first block
//! starts small, so that a small table is small.

use crate::memory::{HUGE, LINE, Words};
use crate::processor::prefetch;

/// Words of a block.
const BLOCK_WORDS: usize = HUGE;
const FIRST_ROWS: usize = 64;

#[derive(Debug)]
pub(crate) struct Rows {
    stride: usize,
    /// Rows of a block are `1 << shift`.
    shift: u32,
    blocks: Vec<Words>,
    len: usize,
}

impl Rows {
    /// Rows of at least `width` words. One of up to a cache line never lies across two of them.
    pub(crate) fn new(width: usize) -> Self {
        let stride = match width {
            0 | 1 => 1,
            w if w <= LINE => w.next_power_of_two(),
            w => w.next_multiple_of(LINE / 2),
        };
        Self { stride, shift: (BLOCK_WORDS / stride).max(1).ilog2(), blocks: Vec::new(), len: 0 }
    }

    /// How many ids were given.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn bytes(&self) -> usize {
        self.blocks.iter().map(|b| b.len() * 8).sum()
    }

    pub(crate) fn row_bytes(&self) -> usize {
        self.stride * 8
    }

    /// The next id, with a row of zeros.
    pub(crate) fn push(&mut self) -> u32 {
        let id = self.len;
        let full = self.stride << self.shift;
        if id >> self.shift == self.blocks.len() {
            let words = if self.blocks.is_empty() { full.min(FIRST_ROWS * self.stride) } else { full };
            self.blocks.push(Words::new(words));
        } else if let [first] = self.blocks.as_mut_slice()
            && id * self.stride == first.len()
        {
            let mut larger = Words::new((first.len() * 2).min(full));
            larger[..first.len()].copy_from_slice(first);
            *first = larger;
        }
        self.len += 1;
        u32::try_from(id).unwrap_or(u32::MAX)
    }

    /// Has a row loaded.
    #[inline]
    pub(crate) fn prefetch(&self, id: u32) {
        prefetch(&self.get(id)[0]);
    }

    #[inline]
    pub(crate) fn get(&self, id: u32) -> &[u64] {
        let at = self.place(id);
        &self.blocks[id as usize >> self.shift][at..at + self.stride]
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, id: u32) -> &mut [u64] {
        let at = self.place(id);
        &mut self.blocks[id as usize >> self.shift][at..at + self.stride]
    }

    /// Where a row lies in its block.
    #[inline]
    fn place(&self, id: u32) -> usize {
        (id as usize & ((1 << self.shift) - 1)) * self.stride
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_keep_their_ids_and_values_as_the_table_grows() {
        for width in [0, 1, 3, 4, 5, 8, 9, 17] {
            let mut rows = Rows::new(width);
            for i in 0..200_000_u32 {
                assert_eq!(rows.push(), i);
                let row = rows.get_mut(i);
                assert!(row.iter().all(|w| *w == 0));
                assert!(
                    row.len() >= width && (width > LINE || row.as_ptr() as usize % 64 + row.len() * 8 <= 64)
                );
                row.fill(u64::from(i));
            }
            assert!((0..200_000).all(|i| rows.get(i).iter().all(|w| *w == u64::from(i))));
        }
    }
}
