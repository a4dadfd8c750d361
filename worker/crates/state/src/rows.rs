//! Rows of 64-bit words under stable ids, side by side.

use crate::memory::{HUGE, LINE, Words};
use crate::processor::prefetch;

const FIRST_ROWS: usize = 64;

#[derive(Debug)]
pub(crate) struct Rows {
    stride: usize,
    words: Words,
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
        Self { stride, words: Words::new(FIRST_ROWS * stride), len: 0 }
    }

    /// How many ids were given.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The memory that was written: what is mapped beyond it takes none.
    pub(crate) fn bytes(&self) -> usize {
        let written = (self.len * self.stride).next_multiple_of(HUGE);
        self.words.len().min(written) * 8
    }

    #[inline]
    pub(crate) fn row_bytes(&self) -> usize {
        self.stride * 8
    }

    /// Words of a row.
    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    /// The next id, with a row of zeros.
    pub(crate) fn push(&mut self) -> u32 {
        let id = self.len;
        self.len += 1;
        if self.len * self.stride > self.words.len() {
            self.words.grow(self.words.len() * 2);
        }
        u32::try_from(id).unwrap_or(u32::MAX)
    }

    /// Has a row loaded.
    #[inline]
    pub(crate) fn prefetch(&self, id: u32) {
        if let Some(word) = self.words.get(id as usize * self.stride) {
            prefetch(word);
        }
    }

    #[inline]
    pub(crate) fn get(&self, id: u32) -> &[u64] {
        let at = id as usize * self.stride;
        &self.words[at..at + self.stride]
    }

    /// So many rows from one on, one after the other.
    #[inline]
    pub(crate) fn run(&self, id: u32, rows: u32) -> &[u64] {
        let at = id as usize * self.stride;
        &self.words[at..at + rows as usize * self.stride]
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, id: u32) -> &mut [u64] {
        let at = id as usize * self.stride;
        &mut self.words[at..at + self.stride]
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
