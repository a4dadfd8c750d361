//! The index of a keyed table: from a 64-bit tag (the key itself, or its hash) to a row id.
//!
//! Open addressing in segments: a hash leads to a cache line of four slots, and from there on slots are
//! probed one after the other, so that nearly every key is found with one cache miss. A small table is one segment that doubles; from
//! then on segments split one at a time in a fixed order (linear hashing: Witold Litwin, 1980), so
//! that growth never stalls. It does not know keys: the caller says whether a row is the one.

use weir_protocol::key_group::hash_u64;

use crate::memory::{HUGE, LINE, Words};
use crate::prefetch::prefetch;

/// A tag, and a row id plus one; zero is an empty slot.
type Slot = [u64; SLOT];

/// Words of a slot, and slots that share a cache line.
const SLOT: usize = 2;
const SLOTS: usize = LINE / SLOT;

/// Slots of a segment once there are several.
const SEGMENT: usize = HUGE / SLOT;
const SMALLEST: usize = 64;
/// Share of slots in use above which the index grows.
const LOAD: (usize, usize) = (7, 10);
/// While a round of splits lasts, one split for so many insertions.
const SPLIT_EVERY: usize = SEGMENT / 8;

#[derive(Debug)]
pub(crate) struct Index {
    segments: Vec<Segment>,
    used: Vec<u32>,
    len: usize,
    split_at: usize,
    /// One less than the number of segments at the end of the round of splits.
    mask: usize,
    /// Whether a tag is a key (and its hash is [`hash_u64`]) or a hash.
    tag_is_key: bool,
}

impl Index {
    pub(crate) fn new(tag_is_key: bool) -> Self {
        Self {
            segments: vec![Segment::new(SMALLEST)],
            used: vec![0],
            len: 0,
            split_at: 0,
            mask: 0,
            tag_is_key,
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.segments.iter().map(|s| s.slots() * size_of::<Slot>()).sum()
    }

    /// Has the cache line to which a hash leads loaded.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        prefetch(self.segment(hash).line(hash));
    }

    /// The row id that the cache line to which a hash leads holds for a tag, else [`NO_ROW`].
    #[inline]
    pub(crate) fn candidate(&self, tag: u64, hash: u64) -> u32 {
        let line = self.segment(hash).line(hash);
        // Which slot it is can't be predicted, so all are compared without a branch. The first that
        // matches counts: different keys may have one hash.
        let matches = (0..SLOTS).fold(1 << SLOTS, |all, at| all | usize::from(line[at * SLOT] == tag) << at);
        match matches.trailing_zeros() as usize {
            SLOTS.. => NO_ROW,
            at => row_id(line[at * SLOT + 1]),
        }
    }

    /// The row id with this tag for which `same` holds.
    pub(crate) fn find(&self, tag: u64, hash: u64, mut same: impl FnMut(u32) -> bool) -> Option<u32> {
        let segment = &self.segments[self.segment_of(hash)];
        let mut at = segment.home(hash);
        loop {
            let [found, id] = segment.get(at);
            if id == 0 {
                return None;
            }
            if found == tag && same(row_id(id)) {
                return Some(row_id(id));
            }
            at = segment.after(at);
        }
    }

    /// Adds a row id; the caller has made sure that its key is not there.
    pub(crate) fn insert(&mut self, tag: u64, hash: u64, id: u32) {
        self.grow();
        let s = self.segment_of(hash);
        // Only a few segments at the end of a round, or keys that collide, come near to this.
        if self.used[s] as usize * 16 >= self.segments[s].slots() * 15 {
            self.double(s);
        }
        self.segments[s].put(hash, [tag, u64::from(id) + 1]);
        self.used[s] += 1;
        self.len += 1;
    }

    /// Takes a row id out, and closes the gap.
    pub(crate) fn remove(&mut self, tag: u64, hash: u64, id: u32) {
        let s = self.segment_of(hash);
        let tag_is_key = self.tag_is_key;
        let segment = &mut self.segments[s];
        let mask = segment.slots() - 1;
        let mut at = segment.home(hash);
        while segment.get(at) != [tag, u64::from(id) + 1] {
            if segment.get(at)[1] == 0 {
                return;
            }
            at = segment.after(at);
        }
        let mut next = segment.after(at);
        while segment.get(next)[1] != 0 {
            let home = segment.home(hash_of(segment.get(next)[0], tag_is_key));
            // The slot may move into the gap unless its home lies between the gap and it.
            if (next.wrapping_sub(home) & mask) >= (next.wrapping_sub(at) & mask) {
                segment.set(at, segment.get(next));
                at = next;
            }
            next = segment.after(next);
        }
        segment.set(at, [0; 2]);
        self.used[s] -= 1;
        self.len -= 1;
    }

    /// The highest bits choose the segment, the lowest the slot: the bits between decide the key
    /// group and are not evenly spread within one subtask.
    #[inline]
    fn segment_of(&self, hash: u64) -> usize {
        let at = (hash >> 48) as usize & self.mask;
        if at < self.segments.len() { at } else { at & (self.mask >> 1) }
    }

    #[inline]
    fn segment(&self, hash: u64) -> &Segment {
        match self.segments.as_slice() {
            [only] => only,
            several => &several[self.segment_of(hash)],
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
        let old = std::mem::replace(&mut self.segments[s], Segment::new(slots));
        let mut new = Segment::new(slots);
        let mut moved = 0;
        for slot in old.present() {
            let hash = hash_of(slot[0], self.tag_is_key);
            if (hash >> 48) as usize & bit == 0 {
                self.segments[s].put(hash, *slot);
            } else {
                new.put(hash, *slot);
                moved += 1;
            }
        }
        self.segments.push(new);
        self.used[s] -= moved;
        self.used.push(moved);
    }

    fn double(&mut self, s: usize) {
        let mut larger = Segment::new(self.segments[s].slots() * 2);
        for slot in self.segments[s].present() {
            larger.put(hash_of(slot[0], self.tag_is_key), *slot);
        }
        self.segments[s] = larger;
    }
}

/// Slots, of which the number is a power of two.
#[derive(Debug)]
struct Segment(Words);

impl Segment {
    fn new(slots: usize) -> Self {
        Self(Words::new(slots * SLOT))
    }

    fn slots(&self) -> usize {
        self.0.len() / SLOT
    }

    #[inline]
    fn get(&self, at: usize) -> Slot {
        [self.0[at * SLOT], self.0[at * SLOT + 1]]
    }

    fn set(&mut self, at: usize, slot: Slot) {
        self.0[at * SLOT..][..SLOT].copy_from_slice(&slot);
    }

    /// Where the search for a hash begins.
    #[inline]
    fn home(&self, hash: u64) -> usize {
        (hash as usize & (self.0.len() / LINE - 1)) * SLOTS
    }

    #[inline]
    fn after(&self, at: usize) -> usize {
        (at + 1) & (self.slots() - 1)
    }

    fn put(&mut self, hash: u64, slot: Slot) {
        let mut at = self.home(hash);
        while self.get(at)[1] != 0 {
            at = self.after(at);
        }
        self.set(at, slot);
    }

    fn present(&self) -> impl Iterator<Item = &Slot> {
        self.0.as_chunks().0.iter().filter(|slot: &&Slot| slot[1] != 0)
    }

    /// The cache line to which a hash leads.
    #[inline]
    fn line(&self, hash: u64) -> &[u64; LINE] {
        let (lines, _) = self.0.as_chunks();
        &lines[hash as usize & (lines.len() - 1)]
    }
}

/// No row has this id.
pub(crate) const NO_ROW: u32 = u32::MAX;

/// An empty slot gives [`NO_ROW`].
#[inline]
fn row_id(id: u64) -> u32 {
    (id as u32).wrapping_sub(1)
}

#[inline]
fn hash_of(tag: u64, tag_is_key: bool) -> u64 {
    if tag_is_key { hash_u64(tag) } else { tag }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_inserted_through_growth_splits_and_removals() {
        for tag_is_key in [true, false] {
            let tag = |key: u64| if tag_is_key { key } else { hash_u64(key) };
            let mut index = Index::new(tag_is_key);
            let count = 1_500_000_u64;
            for key in 0..count {
                index.insert(tag(key), hash_u64(key), key as u32);
                if key % 3 == 2 {
                    index.remove(tag(key - 1), hash_u64(key - 1), (key - 1) as u32);
                }
            }
            assert!(index.segments.len() > 8, "{} segments", index.segments.len());
            assert!(index.segments.iter().all(|s| s.slots() == SEGMENT));
            for key in 0..count + 1_000 {
                let gone = key % 3 == 1 && key + 1 < count;
                let expected = (key < count && !gone).then_some(key as u32);
                assert_eq!(index.find(tag(key), hash_u64(key), |id| id == key as u32), expected, "{key}");
            }
        }
    }

    #[test]
    fn tags_that_collide_are_told_apart_by_the_caller() {
        let mut index = Index::new(false);
        for id in 0..1_000 {
            index.insert(7, 7, id);
        }
        for id in 0..1_000 {
            assert_eq!(index.find(7, 7, |found| found == id), Some(id));
        }
        assert_eq!(index.find(7, 7, |_| false), None);
    }
}
