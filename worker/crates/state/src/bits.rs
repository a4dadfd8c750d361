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

    /// Clears about so many bits, the first ones from a word on; the next call goes on there. `run` gets the first
    /// bit of each run, and how many there are.
    pub(crate) fn take(&mut self, from: &mut usize, about: usize, mut run: impl FnMut(u32, u32)) {
        let mut taken = 0;
        while taken < about
            && let Some(word) = self.0.get_mut(*from)
        {
            let mut bits = std::mem::take(word);
            taken += bits.count_ones() as usize;
            let mut at = (*from * 64) as u32;
            while bits != 0 {
                let zeros = bits.trailing_zeros();
                bits >>= zeros;
                let ones = bits.trailing_ones();
                run(at + zeros, ones);
                at += zeros + ones;
                bits = bits.checked_shr(ones).unwrap_or(0);
            }
            *from += 1;
        }
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
        let (mut from, mut runs, mut rest) = (0, Vec::new(), bits.clone());
        [66, 67].into_iter().chain(128..192).for_each(|bit| rest.set(bit));
        rest.take(&mut from, 1, |at, len| runs.push((at, len)));
        assert_eq!((from, runs.as_slice()), (1, [(0, 1), (63, 1)].as_slice()), "a word at a time");
        rest.take(&mut from, 99, |at, len| runs.push((at, len)));
        assert_eq!(runs[2..], [(66, 2), (128, 64), (199, 1)]);
        assert_eq!(rest.count(), 0);
        let mut all = Bits::ones(130);
        assert_eq!(all.count(), 130);
        all.and_not(&bits);
        assert_eq!(all.count(), 128);
        all.or(&bits);
        assert_eq!(all.count(), 131);
        assert!(all.get(199) && !all.get(131) && !all.get(1 << 30));
    }
}
