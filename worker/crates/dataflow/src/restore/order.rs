//! In which order blocks are read, and which together. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_protocol::{BlockRef, KeyGroupRange, ObjectRef, SubtaskId, TransformId};

/// Blocks of one object are read together up to this many bytes.
pub(crate) const READ_BYTES: u64 = 16 * 1024 * 1024;

/// Where the rows of a block belong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) subtask: SubtaskId,
    pub(crate) transform: TransformId,
    pub(crate) table: Arc<str>,
    /// The key groups to be taken from it.
    pub(crate) range: KeyGroupRange,
}

/// A block that is needed, by however many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) object: ObjectRef,
    pub(crate) block: BlockRef,
    pub(crate) targets: Vec<Target>,
}

impl Wanted {
    pub(crate) fn new(object: ObjectRef, block: BlockRef) -> Self {
        Self { object, block, targets: Vec::new() }
    }
}

/// Blocks of one object that are read together, with where each belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) object: ObjectRef,
    pub(crate) blocks: Vec<BlockRef>,
    pub(crate) targets: Vec<Vec<Target>>,
}

impl Read {
    /// Bytes of its blocks.
    pub(crate) fn bytes(&self) -> u64 {
        self.blocks.iter().map(|b| b.length).sum()
    }
}

/// The reads that give each table its blocks in its own order, each block once. `wanted` by object and offset;
/// `sequences`: for each table its objects in the order in which they apply (within an object, blocks apply
/// as they lie). `None` if the sequences contradict each other.
pub(crate) fn reads(wanted: BTreeMap<(String, u64), Wanted>, sequences: &[Vec<String>]) -> Option<Vec<Read>> {
    let ranks = ranks(sequences)?;
    let rank = |w: &Wanted| ranks.get(w.object.key.as_str()).copied().unwrap_or(0);
    // By object and offset already, and the sort is stable.
    let mut wanted: Vec<Wanted> = wanted.into_values().collect();
    wanted.sort_by_key(rank);
    let mut reads: Vec<Read> = Vec::new();
    for Wanted { object, block, targets } in wanted {
        let last = reads.last_mut().filter(|r| r.object.key == object.key);
        match last.filter(|r| r.bytes().saturating_add(block.length) <= READ_BYTES) {
            Some(read) => {
                read.blocks.push(block);
                read.targets.push(targets);
            }
            None => reads.push(Read { object, blocks: vec![block], targets: vec![targets] }),
        }
    }
    Some(reads)
}

/// A number for each object that rises along every sequence: the length of the longest way to it.
fn ranks(sequences: &[Vec<String>]) -> Option<BTreeMap<&str, usize>> {
    let mut ranks: BTreeMap<&str, usize> = BTreeMap::new();
    for key in sequences.iter().flatten() {
        ranks.insert(key, 0);
    }
    // Each round settles at least one more object, if they can be settled at all.
    for _ in 0..=ranks.len() {
        let mut changed = false;
        for (before, after) in sequences.iter().flat_map(|s| s.iter().zip(s.iter().skip(1))) {
            let least = ranks.get(before.as_str())? + 1;
            let rank = ranks.get_mut(after.as_str())?;
            if *rank < least {
                *rank = least;
                changed = true;
            }
        }
        if !changed {
            return Some(ranks);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_protocol::VertexId;

    fn wanted(blocks: &[(&str, u64, u64)]) -> BTreeMap<(String, u64), Wanted> {
        let subtask = SubtaskId { vertex: VertexId(1), index: 0 };
        let range = KeyGroupRange { start: 0, end: 8 };
        let target = Target { subtask, transform: TransformId(1), table: "t".into(), range };
        let one = |(key, offset, length): &(&str, u64, u64)| {
            let object = ObjectRef { key: (*key).to_owned(), size: 1 << 40, digest: String::new() };
            let block = BlockRef { object: 0, offset: *offset, length: *length, crc: 0, rows: 1 };
            (((*key).to_owned(), *offset), Wanted { object, block, targets: vec![target.clone()] })
        };
        blocks.iter().map(one).collect()
    }

    fn order(blocks: &[(&str, u64, u64)], sequences: &[&[&str]]) -> Option<Vec<(String, Vec<u64>)>> {
        let sequences: Vec<Vec<String>> =
            sequences.iter().map(|s| s.iter().map(|k| (*k).to_owned()).collect()).collect();
        let reads = reads(wanted(blocks), &sequences)?;
        let read = |r: Read| (r.object.key, r.blocks.iter().map(|b| b.offset).collect());
        Some(reads.into_iter().map(read).collect())
    }

    fn read(key: &str, offsets: &[u64]) -> (String, Vec<u64>) {
        (key.to_owned(), offsets.to_vec())
    }

    #[test]
    fn objects_come_in_an_order_that_suits_every_table() {
        let blocks = [("a", 5, 1), ("b", 9, 1), ("b", 2, 1), ("c", 0, 1)];
        let expected = vec![read("c", &[0]), read("b", &[2, 9]), read("a", &[5])];
        assert_eq!(order(&blocks, &[&["c", "a"], &["c", "b", "a"]]), Some(expected));
        assert_eq!(order(&blocks, &[&["a", "b"], &["b", "c"], &["c", "a"]]), None, "no order suits all");
        assert_eq!(order(&[], &[]), Some(Vec::new()));
    }

    #[test]
    fn a_read_is_bounded_but_for_a_block_that_is_larger() {
        let half = READ_BYTES / 2;
        let blocks = [("a", 0, half), ("a", half, half), ("a", 2 * half, 1), ("a", 3 * half, 4 * half)];
        let expected = vec![read("a", &[0, half]), read("a", &[2 * half]), read("a", &[3 * half])];
        assert_eq!(order(&blocks, &[&["a"]]), Some(expected));
    }
}
