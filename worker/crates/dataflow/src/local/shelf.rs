//! Which copies are kept, within a limit. Pure.

use std::collections::BTreeMap;

/// What of an object a copy holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Holds {
    /// All of it, as it is.
    Whole,
    /// Some blocks: offset in the object to position in the copy.
    Blocks(BTreeMap<u64, u64>),
}

#[derive(Debug)]
struct Copy {
    key: String,
    holds: Holds,
    bytes: u64,
    written: bool,
}

/// The copies by number, which is also their age. One being written counts from its beginning.
#[derive(Debug)]
pub(super) struct Shelf {
    limit: u64,
    used: u64,
    next: u64,
    copies: BTreeMap<u64, Copy>,
}

impl Shelf {
    pub(super) fn new(limit: u64) -> Self {
        Self { limit, used: 0, next: 0, copies: BTreeMap::new() }
    }

    /// Makes room for a copy: gives its number, and the oldest ones that have to go for it. `None`: it is larger
    /// than all the room there is.
    pub(super) fn begin(&mut self, key: &str, holds: Holds, bytes: u64) -> Option<(u64, Vec<u64>)> {
        if bytes > self.limit {
            return None;
        }
        let mut gone = Vec::new();
        while self.used.saturating_add(bytes) > self.limit {
            let (oldest, copy) = self.copies.pop_first()?;
            self.used -= copy.bytes;
            gone.push(oldest);
        }
        self.used += bytes;
        self.next += 1;
        self.copies.insert(self.next, Copy { key: key.to_owned(), holds, bytes, written: false });
        Some((self.next, gone))
    }

    /// A copy is complete. False: it had to go meanwhile.
    pub(super) fn written(&mut self, copy: u64) -> bool {
        self.copies.get_mut(&copy).map(|c| c.written = true).is_some()
    }

    /// A copy is gone. Whether it was there.
    pub(super) fn remove(&mut self, copy: u64) -> bool {
        let removed = self.copies.remove(&copy);
        self.used -= removed.as_ref().map_or(0, |c| c.bytes);
        removed.is_some()
    }

    /// Lets go of copies of objects that are not wanted; gives their numbers.
    pub(super) fn retain(&mut self, wanted: impl Fn(&str) -> bool) -> Vec<u64> {
        let gone: Vec<u64> =
            self.copies.iter().filter(|(_, c)| !wanted(&c.key)).map(|(copy, _)| *copy).collect();
        for copy in &gone {
            self.remove(*copy);
        }
        gone
    }

    /// Whether none is being written.
    #[cfg(test)]
    pub(super) fn complete(&self) -> bool {
        self.copies.values().all(|c| c.written)
    }

    /// A copy that holds the block at this offset of an object, and where.
    pub(super) fn find(&self, key: &str, offset: u64) -> Option<(u64, u64)> {
        self.copies.iter().rev().filter(|(_, c)| c.written && c.key == key).find_map(|(copy, c)| {
            let at = match &c.holds {
                Holds::Whole => offset,
                Holds::Blocks(blocks) => *blocks.get(&offset)?,
            };
            Some((*copy, at))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_first_when_room_runs_out() {
        let mut shelf = Shelf::new(100);
        assert_eq!(shelf.begin("a", Holds::Whole, 40), Some((1, vec![])));
        assert_eq!(shelf.begin("b", Holds::Whole, 60), Some((2, vec![])));
        assert_eq!(shelf.find("a", 7), None, "it is not complete");
        assert!(shelf.written(1) && shelf.written(2));
        assert_eq!(shelf.find("a", 7), Some((1, 7)));
        assert_eq!(shelf.begin("c", Holds::Whole, 101), None, "larger than everything");
        assert_eq!(shelf.begin("c", Holds::Whole, 100), Some((3, vec![1, 2])));
        assert_eq!(shelf.find("a", 7), None);
        assert_eq!(shelf.begin("d", Holds::Whole, 1), Some((4, vec![3])));
        assert!(!shelf.written(3), "it had to go while it was written");
        assert!(shelf.remove(4) && !shelf.remove(4));
        assert_eq!(shelf.begin("e", Holds::Whole, 100), Some((5, vec![])));
    }

    #[test]
    fn what_is_not_wanted_any_more_makes_room() {
        let mut shelf = Shelf::new(10);
        for key in ["a", "b", "a"] {
            let (copy, gone) = shelf.begin(key, Holds::Whole, 3).unwrap();
            assert!(shelf.written(copy) && gone.is_empty());
        }
        assert_eq!(shelf.retain(|key| key == "b"), [1, 3]);
        assert_eq!((shelf.find("a", 0), shelf.find("b", 0)), (None, Some((2, 0))));
        assert_eq!(shelf.begin("c", Holds::Whole, 7), Some((4, vec![])));
    }

    #[test]
    fn blocks_are_found_where_they_lie() {
        let mut shelf = Shelf::new(10);
        let holds = |blocks: &[(u64, u64)]| Holds::Blocks(blocks.iter().copied().collect());
        for blocks in [&[(8, 0), (900, 5)][..], &[(17, 0)]] {
            let (copy, _) = shelf.begin("a", holds(blocks), 5).unwrap();
            shelf.written(copy);
        }
        let found = [8, 900, 17, 18].map(|offset| shelf.find("a", offset));
        assert_eq!(found, [Some((1, 0)), Some((1, 5)), Some((2, 0)), None]);
    }
}
