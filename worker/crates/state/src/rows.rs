//! Rows of 64-bit words under stable ids, in blocks of about 2 MiB that never move; the first block
//! starts small, so that a small table is small.

/// Words of a block.
const BLOCK_WORDS: usize = 1 << 18;
const FIRST_ROWS: usize = 64;
/// A row that is not longer than this never lies across two cache lines.
const LINE_WORDS: usize = 8;

#[derive(Debug)]
pub(crate) struct Rows {
    stride: usize,
    /// Rows of a block are `1 << shift`.
    shift: u32,
    blocks: Vec<Block>,
    len: usize,
}

#[derive(Debug)]
struct Block {
    words: Vec<u64>,
    /// Where the first row starts: on a cache line.
    start: usize,
    rows: usize,
}

impl Block {
    fn new(rows: usize, stride: usize) -> Self {
        let words = vec![0_u64; rows * stride + LINE_WORDS - 1];
        let misaligned = words.as_ptr() as usize / 8 % LINE_WORDS;
        Self { start: (LINE_WORDS - misaligned) % LINE_WORDS, words, rows }
    }
}

impl Rows {
    /// Rows of at least `width` words.
    pub(crate) fn new(width: usize) -> Self {
        let stride = match width {
            0 | 1 => 1,
            w if w <= LINE_WORDS => w.next_power_of_two(),
            w => w.next_multiple_of(LINE_WORDS / 2),
        };
        Self { stride, shift: (BLOCK_WORDS / stride).max(1).ilog2(), blocks: Vec::new(), len: 0 }
    }

    /// How many ids were given.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn bytes(&self) -> usize {
        self.blocks.iter().map(|b| b.words.len() * 8).sum()
    }

    pub(crate) fn row_bytes(&self) -> usize {
        self.stride * 8
    }

    /// The next id, with a row of zeros.
    pub(crate) fn push(&mut self) -> u32 {
        let id = self.len;
        let full = 1 << self.shift;
        if id >> self.shift == self.blocks.len() {
            let rows = if self.blocks.is_empty() { FIRST_ROWS.min(full) } else { full };
            self.blocks.push(Block::new(rows, self.stride));
        } else if let [first] = self.blocks.as_mut_slice()
            && id == first.rows
        {
            let mut larger = Block::new((first.rows * 2).min(full), self.stride);
            let words = first.rows * self.stride;
            larger.words[larger.start..larger.start + words]
                .copy_from_slice(&first.words[first.start..first.start + words]);
            *first = larger;
        }
        self.len += 1;
        u32::try_from(id).unwrap_or(u32::MAX)
    }

    #[inline]
    pub(crate) fn get(&self, id: u32) -> &[u64] {
        let block = &self.blocks[id as usize >> self.shift];
        let at = block.start + (id as usize & ((1 << self.shift) - 1)) * self.stride;
        &block.words[at..at + self.stride]
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, id: u32) -> &mut [u64] {
        let block = &mut self.blocks[id as usize >> self.shift];
        let at = block.start + (id as usize & ((1 << self.shift) - 1)) * self.stride;
        &mut block.words[at..at + self.stride]
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
                    row.len() >= width
                        && (width > LINE_WORDS || row.as_ptr() as usize % 64 + row.len() * 8 <= 64)
                );
                row.fill(u64::from(i));
            }
            assert!((0..200_000).all(|i| rows.get(i).iter().all(|w| *w == u64::from(i))));
        }
    }
}
