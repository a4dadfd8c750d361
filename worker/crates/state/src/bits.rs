//! A bit per row.

use crate::processor::prefetch;

/// Bits that grow with the table; absent ones are zero.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bits(Vec<u64>);

impl Bits {
    /// Makes room for `len` bits.
    pub(crate) fn reserve(&mut self, len: usize) {
        let words = len.div_ceil(64);
        if words > self.0.len() {
            self.0.resize(words.next_power_of_two(), 0);
        }
    }

    /// The first `len` bits one.
    pub(crate) fn ones(len: usize) -> Self {
        let mut words = vec![u64::MAX; len.div_ceil(64)];
        if let Some(last) = words.last_mut().filter(|_| !len.is_multiple_of(64)) {
            *last = (1 << (len % 64)) - 1;
        }
        Self(words)
    }

    /// Has the place of a bit loaded.
    #[inline]
    pub(crate) fn prefetch(&self, i: u32) {
        if let Some(word) = self.0.get(i as usize / 64) {
            prefetch(word);
        }
    }

    #[inline]
    pub(crate) fn get(&self, i: u32) -> bool {
        self.0.get(i as usize / 64).is_some_and(|w| w >> (i % 64) & 1 == 1)
    }

    /// Sets a bit for which there is room.
    #[inline]
    pub(crate) fn set(&mut self, i: u32) {
        self.0[i as usize / 64] |= 1 << (i % 64);
    }

    #[inline]
    pub(crate) fn clear(&mut self, i: u32) {
        if let Some(word) = self.0.get_mut(i as usize / 64) {
            *word &= !(1 << (i % 64));
        }
    }

    pub(crate) fn or(&mut self, other: &Self) {
        self.reserve(other.0.len() * 64);
        self.0.iter_mut().zip(&other.0).for_each(|(a, b)| *a |= b);
    }

    pub(crate) fn and_not(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(a, b)| *a &= !b);
    }

    pub(crate) fn count(&self) -> usize {
        self.0.iter().map(|w| w.count_ones() as usize).sum()
    }

    /// The first set bit at `from` or later.
    pub(crate) fn next(&self, from: u32) -> Option<u32> {
        let mut at = from as usize / 64;
        let mut word = self.0.get(at)? & (u64::MAX << (from % 64));
        while word == 0 {
            at += 1;
            word = *self.0.get(at)?;
        }
        Some((at * 64) as u32 + word.trailing_zeros())
    }

    pub(crate) fn bytes(&self) -> usize {
        self.0.len() * 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_set_cleared_counted_and_found() {
        let mut bits = Bits::default();
        bits.reserve(200);
        for i in [0, 63, 64, 199] {
            bits.set(i);
        }
        bits.clear(64);
        bits.clear(100_000);
        assert_eq!(bits.count(), 3);
        assert_eq!(
            [bits.next(0), bits.next(1), bits.next(64), bits.next(200)],
            [Some(0), Some(63), Some(199), None]
        );
        let mut all = Bits::ones(130);
        assert_eq!(all.count(), 130);
        all.and_not(&bits);
        assert_eq!(all.count(), 128);
        all.or(&bits);
        assert_eq!(all.count(), 131);
        assert!(all.get(199) && !all.get(131) && !all.get(1 << 30));
    }
}
