//! A bit per row.

use std::ops::Range;

use crate::processor::prefetch;

/// Bits of a word of [`Bits`].
pub(crate) const WORD: usize = u64::BITS as usize;

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

    /// The words from one on that have about so many bits set, and how many that are.
    pub(crate) fn span(&self, from: usize, about: usize) -> (Range<usize>, usize) {
        let (mut end, mut ones) = (from, 0);
        while ones < about
            && let Some(word) = self.0.get(end)
        {
            ones += word.count_ones() as usize;
            end += 1;
        }
        (from..end, ones)
    }

    /// Some of the words.
    pub(crate) fn some(&mut self, words: Range<usize>) -> &mut [u64] {
        &mut self.0[words]
    }

    /// Words that hold them.
    #[inline]
    pub(crate) fn words(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.0.len() * 8
    }
}

/// The runs of bits that are set in a word: the first one of each, and how many there are.
#[inline]
pub(crate) fn runs(mut word: u64, mut run: impl FnMut(u32, u32)) {
    let mut at = 0;
    while word != 0 {
        let zeros = word.trailing_zeros();
        word >>= zeros;
        let ones = word.trailing_ones();
        run(at + zeros, ones);
        at += zeros + ones;
        word = word.checked_shr(ones).unwrap_or(0);
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
        let (mut found, mut rest) = (Vec::new(), bits.clone());
        [66, 67].into_iter().chain(128..192).for_each(|bit| rest.set(bit));
        assert_eq!(rest.span(0, 1), (0..1, 2), "whole words");
        assert_eq!(rest.span(1, 99), (1..4, 67), "to the end");
        for (at, word) in rest.some(1..4).iter().enumerate() {
            runs(*word, |bit, len| found.push((at, bit, len)));
        }
        rest.some(1..4).fill(0);
        assert_eq!(found, [(0, 2, 2), (1, 0, 64), (2, 7, 1)]);
        assert_eq!(rest.count(), 2, "in the others");
        let mut all = Bits::ones(130);
        assert_eq!(all.count(), 130);
        all.and_not(&bits);
        assert_eq!(all.count(), 128);
        all.or(&bits);
        assert_eq!(all.count(), 131);
        assert!(all.get(199) && !all.get(131) && !all.get(1 << 30));
    }
}
