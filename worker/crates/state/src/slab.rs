//! Values of varying length behind a 64-bit handle. A value never changes; its place is used again
//! after it was freed.

/// Values up to this length share blocks with others of their size class (a power of two).
const LARGEST_SHARED: usize = 1 << 15;
const SMALLEST: usize = 16;
const BLOCK: usize = 1 << 16;
/// Nothing that a row holds is longer.
pub(crate) const LONGEST: usize = (1 << 31) - 1;

/// Handle 0 is no value.
#[derive(Debug, Default)]
pub(crate) struct Slab {
    classes: Vec<Class>,
    large: Vec<Box<[u8]>>,
    large_free: Vec<u32>,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Class {
    blocks: Vec<Box<[u8]>>,
    len: u32,
    free: Vec<u32>,
}

impl Slab {
    /// Keeps a value of at most [`LONGEST`] bytes.
    pub(crate) fn put(&mut self, value: &[u8]) -> u64 {
        let slot = match class_of(value.len()) {
            Some(c) => self.put_shared(c, value),
            None => {
                self.bytes += value.len();
                let value = value.to_vec().into_boxed_slice();
                if let Some(slot) = self.large_free.pop() {
                    self.large[slot as usize] = value;
                    slot
                } else {
                    self.large.push(value);
                    (self.large.len() - 1) as u32
                }
            }
        };
        (u64::from(slot) + 1) << 31 | value.len() as u64
    }

    fn put_shared(&mut self, c: usize, value: &[u8]) -> u32 {
        if c >= self.classes.len() {
            self.classes.resize_with(c + 1, Class::default);
        }
        let class = &mut self.classes[c];
        let size = SMALLEST << c;
        let per_block = BLOCK / size;
        let slot = class.free.pop().unwrap_or_else(|| {
            if class.len as usize == class.blocks.len() * per_block {
                class.blocks.push(vec![0; BLOCK].into_boxed_slice());
                self.bytes += BLOCK;
            }
            class.len += 1;
            class.len - 1
        });
        let at = slot as usize % per_block * size;
        class.blocks[slot as usize / per_block][at..at + value.len()].copy_from_slice(value);
        slot
    }

    /// The value of a handle that was put and not freed.
    pub(crate) fn get(&self, handle: u64) -> &[u8] {
        let (slot, len) = parts(handle);
        match class_of(len) {
            Some(c) => {
                let size = SMALLEST << c;
                let at = slot % (BLOCK / size) * size;
                &self.classes[c].blocks[slot / (BLOCK / size)][at..at + len]
            }
            None => &self.large[slot],
        }
    }

    pub(crate) fn free(&mut self, handle: u64) {
        let (slot, len) = parts(handle);
        match class_of(len) {
            Some(c) => self.classes[c].free.push(slot as u32),
            None => {
                self.large[slot] = Box::default();
                self.large_free.push(slot as u32);
                self.bytes -= len;
            }
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Adds a value to others that lie one after the other; the handle by which [`appended`] finds it there.
pub(crate) fn append(to: &mut Vec<u8>, value: &[u8]) -> u64 {
    let handle = (to.len() as u64 + 1) << 31 | value.len() as u64;
    to.extend_from_slice(value);
    handle
}

/// The value that [`append`] added to these.
pub(crate) fn appended(values: &[u8], handle: u64) -> &[u8] {
    let (start, len) = parts(handle);
    &values[start..start + len]
}

fn parts(handle: u64) -> (usize, usize) {
    ((handle >> 31) as usize - 1, handle as usize & LONGEST)
}

fn class_of(len: usize) -> Option<usize> {
    (len <= LARGEST_SHARED).then(|| (len.max(SMALLEST).next_power_of_two() / SMALLEST).ilog2() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_all_lengths_are_read_back_and_their_room_is_used_again() {
        let mut slab = Slab::default();
        let mut before = 0;
        for round in 0..3_u8 {
            let values: Vec<Vec<u8>> =
                (0..400_usize).map(|i| vec![round.wrapping_add(i as u8); i * i % 70_000]).collect();
            let handles: Vec<u64> = values.iter().map(|v| slab.put(v)).collect();
            for (handle, value) in handles.iter().zip(&values) {
                assert!(*handle != 0 && slab.get(*handle) == value);
            }
            assert!(round == 0 || slab.bytes() == before);
            before = slab.bytes();
            handles.iter().for_each(|h| slab.free(*h));
        }
    }
}
