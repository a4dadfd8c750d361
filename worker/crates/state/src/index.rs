//! The index of a keyed table: from a hash to a row id.
//!
//! Open addressing in segments: a hash leads to a cache line of eight slots, and if that is full on to the next
//! lines, so that nearly every key is found with one cache miss. A slot has the low half of the hash as its tag, and
//! the row id: the row itself says whether its key is the one. A small table is one segment that doubles; from
//! then on segments split one at a time in a fixed order (linear hashing: Witold Litwin, 1980), so
//! that growth never stalls.
//!
//! Of a tag the low half leads to the line within a segment and the high half to the segment. What is left of it to
//! tell keys apart that come to one line gets less as the table grows: 14 bits at a million rows, 4 at a billion.

use crate::memory::{HUGE, Halves, LINE, Words};
use crate::processor::{equal, prefetch};

/// A cache line of slots: their tags, then their row ids plus one; zero is an empty slot. Those in use come first.
pub(crate) type Line = Halves;

/// Slots of a cache line.
const SLOTS: usize = LINE;

/// Slots of a segment once there are several.
const SEGMENT: usize = HUGE / LINE * SLOTS;
const SMALLEST: usize = 64;
/// Share of slots in use above which the index grows.
const LOAD: (usize, usize) = (7, 10);
/// While a round of splits lasts, one split for so many insertions.
const SPLIT_EVERY: usize = SEGMENT / 8;

#[derive(Debug)]
pub(crate) struct Index {
    segments: Vec<Segment>,
    len: usize,
    split_at: usize,
    /// One less than the number of segments at the end of the round of splits.
    mask: usize,
    /// An empty segment, left by the last split for the next one: memory that is new has to be cleared by the system.
    spare: Option<Segment>,
}

impl Index {
    pub(crate) fn bytes(&self) -> usize {
        self.segments.iter().chain(&self.spare).map(|s| s.words.len() * size_of::<u64>()).sum()
    }

    /// What stands for an index that is elsewhere for the moment.
    pub(crate) fn nothing() -> Self {
        Self { segments: Vec::new(), len: 0, split_at: 0, mask: 0, spare: None }
    }

    /// An empty index in which so many keys have room.
    pub(crate) fn with_room(keys: usize) -> Self {
        let slots = (keys * LOAD.1 / LOAD.0 + 1).next_power_of_two().max(SMALLEST);
        let segments = (slots / SEGMENT).clamp(1, 1 << 16);
        Self {
            segments: (0..segments).map(|_| Segment::new(slots.min(SEGMENT))).collect(),
            mask: segments - 1,
            ..Self::nothing()
        }
    }

    /// The cache line to which a hash leads.
    #[inline]
    pub(crate) fn line(&self, hash: u64) -> &Line {
        let segment = self.segment(hash);
        segment.line(segment.home(hash as u32))
    }

    /// If the cache line to which a hash leads is full, has the next one loaded: a hash that is not in it may be there.
    #[inline]
    pub(crate) fn prefetch_next(&self, hash: u64) {
        let segment = self.segment(hash);
        let home = segment.home(hash as u32);
        if segment.line(home)[2 * SLOTS - 1] != 0 {
            prefetch(segment.line(segment.after(home)));
        }
    }

    /// The row id of this hash for which `same` holds.
    pub(crate) fn find(&self, hash: u64, mut same: impl FnMut(u32) -> bool) -> Option<u32> {
        let (segment, tag) = (self.segment(hash), hash as u32);
        let mut at = segment.home(tag);
        loop {
            let (tags, ids) = slots(segment.line(at));
            let mut equals = equal(tags, tag);
            while equals != 0 {
                // An empty slot may have the tag, too.
                let id = ids[equals.trailing_zeros() as usize].wrapping_sub(1);
                if id != NO_ROW && same(id) {
                    return Some(id);
                }
                equals &= equals - 1;
            }
            if ids[SLOTS - 1] == 0 {
                return None;
            }
            at = segment.after(at);
        }
    }

    /// Adds a row id; the caller has made sure that its key is not there.
    pub(crate) fn insert(&mut self, hash: u64, id: u32) {
        self.grow();
        let s = self.segment_of(hash as u32);
        // Only a few segments at the end of a round, or keys that collide, come near to this.
        if self.segments[s].used * 16 >= self.segments[s].slots() * 15 {
            self.double(s);
        }
        self.segments[s].put(hash as u32, id + 1);
        self.len += 1;
    }

    /// Takes a row id out, and closes the gap.
    pub(crate) fn remove(&mut self, hash: u64, id: u32) {
        let s = self.segment_of(hash as u32);
        if self.segments[s].remove(hash as u32, id + 1) {
            self.len -= 1;
        }
    }

    #[inline]
    fn segment_of(&self, tag: u32) -> usize {
        let at = (tag >> 16) as usize & self.mask;
        if at < self.segments.len() { at } else { at & (self.mask >> 1) }
    }

    #[inline]
    fn segment(&self, hash: u64) -> &Segment {
        match self.segments.as_slice() {
            [only] => only,
            several => &several[self.segment_of(hash as u32)],
        }
    }

    fn grow(&mut self) {
        let count = self.segments.len();
        if count == 1 && self.segments[0].slots() < SEGMENT {
            if self.len * LOAD.1 >= self.segments[0].slots() * LOAD.0 {
                self.double(0);
            }
            return;
        }
        if self.len < self.split_at || count > usize::from(u16::MAX) {
            return;
        }
        // Between rounds the number of segments is a power of two.
        if count == self.mask + 1 {
            if self.len * LOAD.1 < count * SEGMENT * LOAD.0 {
                return;
            }
            self.mask = self.mask * 2 + 1;
        }
        self.split_at = self.len + SPLIT_EVERY;
        self.split(count & (self.mask >> 1));
    }

    fn split(&mut self, s: usize) {
        let bit = self.mask & !(self.mask >> 1);
        let slots = self.segments[s].slots();
        let spare = self.spare.take().filter(|spare| spare.slots() == slots);
        let (mut stay, mut go) = (spare.unwrap_or_else(|| Segment::new(slots)), Segment::new(slots));
        for (tag, id) in self.segments[s].present() {
            let to = if (tag >> 16) as usize & bit == 0 { &mut stay } else { &mut go };
            to.put(tag, id);
        }
        let mut old = std::mem::replace(&mut self.segments[s], stay);
        old.clear();
        self.spare = Some(old);
        self.segments.push(go);
    }

    fn double(&mut self, s: usize) {
        let mut larger = Segment::new(self.segments[s].slots() * 2);
        self.segments[s].present().for_each(|(tag, id)| larger.put(tag, id));
        self.segments[s] = larger;
    }
}

/// Lines of slots, of which the number is a power of two.
#[derive(Debug)]
struct Segment {
    words: Words,
    used: usize,
}

impl Segment {
    fn new(slots: usize) -> Self {
        Self { words: Words::new(slots / SLOTS * LINE), used: 0 }
    }

    fn clear(&mut self) {
        self.words.fill(0);
        self.used = 0;
    }

    fn slots(&self) -> usize {
        self.words.len() / LINE * SLOTS
    }

    #[inline]
    fn line(&self, at: usize) -> &Line {
        &self.words.halves()[at]
    }

    fn line_mut(&mut self, at: usize) -> &mut Line {
        &mut self.words.halves_mut()[at]
    }

    /// The line where the search for a hash begins.
    #[inline]
    fn home(&self, tag: u32) -> usize {
        tag as usize & (self.words.len() / LINE - 1)
    }

    fn after(&self, line: usize) -> usize {
        (line + 1) & (self.words.len() / LINE - 1)
    }

    fn put(&mut self, tag: u32, id: u32) {
        let mut at = self.home(tag);
        while in_use(self.line(at)) == SLOTS {
            at = self.after(at);
        }
        let line = self.line_mut(at);
        let slot = in_use(line);
        (line[slot], line[SLOTS + slot]) = (tag, id);
        self.used += 1;
    }

    fn present(&self) -> impl Iterator<Item = (u32, u32)> {
        self.words
            .halves()
            .iter()
            .flat_map(|line| (0..in_use(line)).map(|slot| (line[slot], line[SLOTS + slot])))
    }

    /// Whether it was there.
    fn remove(&mut self, tag: u32, id: u32) -> bool {
        let mut at = self.home(tag);
        let mut slot = loop {
            let line = self.line(at);
            match (0..in_use(line)).find(|slot| line[SLOTS + slot] == id) {
                Some(slot) => break slot,
                None if in_use(line) < SLOTS => return false,
                None => at = self.after(at),
            }
        };
        self.used -= 1;
        while let Some(next) = self.close(at, slot) {
            (at, slot) = next;
        }
        true
    }

    /// Closes the gap that a slot leaves behind: with the last one of its line, and if that line was full with one
    /// further on that had no place in it. Gives the slot which that one leaves behind.
    fn close(&mut self, at: usize, slot: usize) -> Option<(usize, usize)> {
        let line = self.line_mut(at);
        let last = in_use(line) - 1;
        (line[slot], line[SLOTS + slot]) = (line[last], line[SLOTS + last]);
        (line[last], line[SLOTS + last]) = (0, 0);
        if last + 1 < SLOTS {
            return None;
        }
        let mask = self.words.len() / LINE - 1;
        let mut next = self.after(at);
        loop {
            let line = *self.line(next);
            let passed = |tag| next.wrapping_sub(self.home(tag)) & mask >= next.wrapping_sub(at) & mask;
            if let Some(moves) = (0..in_use(&line)).find(|slot| passed(line[*slot])) {
                let gap = self.line_mut(at);
                (gap[last], gap[SLOTS + last]) = (line[moves], line[SLOTS + moves]);
                return Some((next, moves));
            }
            if in_use(&line) < SLOTS {
                return None;
            }
            next = self.after(next);
        }
    }
}

/// A row id that the cache line to which a hash leads holds for it, else [`NO_ROW`]. Most likely it is the only
/// one.
#[inline]
pub(crate) fn candidate(line: &Line, hash: u64) -> u32 {
    let (tags, ids) = slots(line);
    // Which slot it is can't be predicted, so all are compared without a branch.
    match equal(tags, hash as u32).trailing_zeros() as usize {
        // An empty slot gives NO_ROW, too.
        at @ 0..SLOTS => ids[at].wrapping_sub(1),
        _ => NO_ROW,
    }
}

/// The tags and the row ids of a line.
#[inline]
fn slots(line: &Line) -> (&[u32; SLOTS], &[u32; SLOTS]) {
    match line.as_chunks().0 {
        [tags, ids] => (tags, ids),
        _ => (&[0; SLOTS], &[0; SLOTS]),
    }
}

/// How many slots of a line are in use.
fn in_use(line: &Line) -> usize {
    SLOTS - equal(slots(line).1, 0).count_ones() as usize
}

/// No row has this id.
pub(crate) const NO_ROW: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use weir_protocol::key_group::hash_u64;

    use super::*;

    #[test]
    fn finds_what_was_inserted_through_growth_splits_and_removals() {
        through_growth(Index::with_room(0));
        through_growth(Index::with_room(1_000));
        through_growth(Index::with_room(400_000));
    }

    #[test]
    fn an_index_with_room_does_not_grow_within_it() {
        for keys in [0, 1, 44, 45, 1_000, 183_000, 184_000, 700_000] {
            let mut index = Index::with_room(keys);
            let bytes = index.bytes();
            (0..keys as u64).for_each(|key| index.insert(hash_u64(key), key as u32));
            assert_eq!(index.bytes(), bytes, "{keys}");
        }
    }

    fn through_growth(mut index: Index) {
        let count = 3_000_000_u64;
        for key in 0..count {
            index.insert(hash_u64(key), key as u32);
            if key % 3 == 2 {
                index.remove(hash_u64(key - 1), (key - 1) as u32);
            }
        }
        assert!(index.segments.len() > 8, "{} segments", index.segments.len());
        assert!(index.segments.iter().all(|s| s.slots() == SEGMENT));
        for key in 0..count + 1_000 {
            let gone = key % 3 == 1 && key + 1 < count;
            let expected = (key < count && !gone).then_some(key as u32);
            assert_eq!(index.find(hash_u64(key), |id| id == key as u32), expected, "{key}");
        }
    }

    /// Hashes of few values: lines overflow, and their keys lie in others.
    #[test]
    fn what_lies_beyond_full_lines_is_found_when_others_are_removed() {
        for homes in [1, 2, 5, 40] {
            let mut index = Index::with_room(0);
            let mut there = Vec::new();
            let mut random = 88_172_645_463_325_252_u64;
            for id in 0..20_000_u32 {
                random = hash_u64(random);
                let hash = (random % homes) | (random << 40);
                if there.len() > 300 || (random >> 20) & 3 == 0 && !there.is_empty() {
                    let (hash, id) = there.swap_remove(random as usize % there.len());
                    index.remove(hash, id);
                    assert_eq!(index.find(hash, |found| found == id), None);
                }
                index.insert(hash, id);
                there.push((hash, id));
                if id % 64 == 0 {
                    for (hash, id) in &there {
                        assert_eq!(index.find(*hash, |found| found == *id), Some(*id), "{homes} {id}");
                    }
                }
            }
            assert_eq!(index.len, there.len());
        }
    }

    #[test]
    fn hashes_that_collide_are_told_apart_by_the_caller() {
        let mut index = Index::with_room(0);
        for id in 0..1_000 {
            index.insert(7, id);
        }
        for id in 0..1_000 {
            assert_eq!(index.find(7, |found| found == id), Some(id));
        }
        assert_eq!(index.find(7, |_| false), None);
    }
}
