//! A number for each row of a table that a batch touches.
//!
//! Kept beside the table and not in its rows: those of a count are half as long without it.

use weir_state::prefetch;

/// Open addressing over at least twice as many slots as there can be rows, which stay near the core.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// A row id plus one in the high half, its number in the low half; zero is an empty slot.
    slots: Vec<u64>,
    /// The number of slots is `1 << bits`.
    bits: u32,
}

impl Places {
    /// Forgets all, and makes room for so many rows.
    pub(super) fn start(&mut self, rows: usize) {
        let len = (rows * 2).next_power_of_two().max(64);
        self.bits = len.ilog2();
        self.slots.clear();
        self.slots.resize(len, 0);
    }

    /// The number of a row, if it has one.
    #[inline]
    pub(super) fn find(&self, id: u32) -> Option<u32> {
        let mask = self.slots.len() - 1;
        let mut at = self.home(id);
        loop {
            match self.slots[at] {
                0 => return None,
                slot if slot >> 32 == u64::from(id) + 1 => return Some(slot as u32),
                _ => at = (at + 1) & mask,
            }
        }
    }

    /// Where the search for a row begins.
    #[inline]
    fn home(&self, id: u32) -> usize {
        // Ids of a small table lie side by side. Those of a large one may come in equal steps: the second part
        // keeps them apart.
        (id as usize).wrapping_add((id >> self.bits) as usize * 0x9e37) & (self.slots.len() - 1)
    }

    /// Has the place where a row has its number loaded.
    #[inline]
    pub(super) fn prefetch(&self, id: u32) {
        prefetch(&self.slots[self.home(id)]);
    }

    /// Gives a row that has none its number.
    #[inline]
    pub(super) fn put(&mut self, id: u32, number: u32) {
        let mask = self.slots.len() - 1;
        let mut at = self.home(id);
        while self.slots[at] != 0 {
            at = (at + 1) & mask;
        }
        self.slots[at] = (u64::from(id) + 1) << 32 | u64::from(number);
    }

    /// The number of a row that has one.
    #[inline]
    pub(super) fn get(&self, id: u32) -> usize {
        self.find(id).unwrap_or_default() as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_a_batch_keeps_its_number_until_the_next_batch() {
        let mut places = Places::default();
        for (rows, step) in [(1, 1), (3, 1 << 20), (1_000, 1), (1_000, 4_096), (8_192, 1 << 18)] {
            places.start(rows);
            let ids: Vec<u32> = (0..rows as u32).map(|i| i.wrapping_mul(step)).collect();
            for (number, id) in ids.iter().enumerate() {
                assert_eq!(places.find(*id), None, "new");
                places.put(*id, number as u32);
            }
            for (number, id) in ids.iter().enumerate() {
                assert_eq!(places.get(*id), number);
            }
        }
    }
}
