//! Key groups: the unit of keyed state that moves when a job is rescaled.
//!
//! `key group = (hash(key) >> 32) mod maxParallelism`, where `hash` is the 64-bit function below.
//! It decides where state lives in every checkpoint ever written, so it never changes: the
//! golden vectors in the tests hold it in place. The low half of the hash is left to hash tables,
//! so that the keys of one subtask still spread over the whole table.
//!
//! | value | hash |
//! | --- | --- |
//! | NULL | `0x6e75_6c6c_6b65_7973` |
//! | boolean, integer, date, time, timestamp | [`hash_u64`] of the value sign-extended to 64 bits |
//! | FLOAT, DOUBLE | [`hash_u64`] of the bits as a double; `-0.0` as `0.0`, every NaN as one |
//! | DECIMAL | [`combine`] of [`hash_u64`] of the high and the low 64 bits of the unscaled value |
//! | strings and binary | xxh3-64 of the bytes, seed 0 |
//! | several columns | [`combine`] from left to right |

use serde::{Deserialize, Serialize};

/// A key group's number, `0 .. maxParallelism`.
pub type KeyGroup = u32;

/// The hash of NULL.
pub const HASH_NULL: u64 = 0x6e75_6c6c_6b65_7973;

/// The hash of a 64-bit value: the finaliser of MurmurHash3 (Austin Appleby, public domain) over
/// the value with a constant mixed in.
#[inline]
pub const fn hash_u64(value: u64) -> u64 {
    let mut h = value ^ 0x9e37_79b9_7f4a_7c15;
    h ^= h >> 33;
    h = h.wrapping_mul(0xff51_afd7_ed55_8ccd);
    h ^= h >> 33;
    h = h.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ (h >> 33)
}

/// The hash of a floating point value.
#[inline]
pub fn hash_f64(value: f64) -> u64 {
    let canonical = if value.is_nan() {
        f64::NAN
    } else if value == 0.0 {
        0.0
    } else {
        value
    };
    hash_u64(canonical.to_bits())
}

/// The hash of a 128-bit value.
#[inline]
pub const fn hash_i128(value: i128) -> u64 {
    combine(hash_u64((value >> 64) as u64), hash_u64(value as u64))
}

/// The hash of a string or of binary data.
#[inline]
pub fn hash_bytes(value: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(value)
}

/// The hash of two values in a row.
#[inline]
pub const fn combine(left: u64, right: u64) -> u64 {
    hash_u64(left.wrapping_mul(0x9fb2_1c65_1e98_df25) ^ right)
}

/// The key group of a key with this hash.
#[inline]
pub const fn of_hash(hash: u64, max_parallelism: u32) -> KeyGroup {
    (hash >> 32) as u32 % max_parallelism
}

/// The subtask that owns a key group.
#[inline]
pub const fn owner(group: KeyGroup, max_parallelism: u32, parallelism: u32) -> u32 {
    (group as u64 * parallelism as u64 / max_parallelism as u64) as u32
}

/// A contiguous range of key groups, `start .. end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KeyGroupRange {
    /// The first group.
    pub start: KeyGroup,
    /// One past the last group.
    pub end: KeyGroup,
}

impl KeyGroupRange {
    /// The groups that subtask `index` of `parallelism` owns.
    ///
    /// ```
    /// use weir_protocol::KeyGroupRange;
    /// assert_eq!(KeyGroupRange::of_subtask(0, 128, 3), KeyGroupRange { start: 0, end: 43 });
    /// assert_eq!(KeyGroupRange::of_subtask(2, 128, 3), KeyGroupRange { start: 86, end: 128 });
    /// ```
    pub const fn of_subtask(index: u32, max_parallelism: u32, parallelism: u32) -> Self {
        Self {
            start: (index as u64 * max_parallelism as u64).div_ceil(parallelism as u64) as u32,
            end: ((index as u64 + 1) * max_parallelism as u64).div_ceil(parallelism as u64) as u32,
        }
    }

    /// All groups of a job.
    pub const fn all(max_parallelism: u32) -> Self {
        Self { start: 0, end: max_parallelism }
    }

    /// Whether the group lies in the range.
    pub const fn contains(self, group: KeyGroup) -> bool {
        self.start <= group && group < self.end
    }

    /// The groups that lie in both; empty (`start == end`) if there are none.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        let start = if self.start > other.start { self.start } else { other.start };
        let end = if self.end < other.end { self.end } else { other.end };
        Self { start, end: if end > start { end } else { start } }
    }

    /// Whether the two ranges have a group in common.
    pub const fn overlaps(self, other: Self) -> bool {
        self.start < other.end && other.start < self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_vectors_hold_the_hash_in_place() {
        let golden: [(u64, u64); 11] = GOLDEN;
        let computed = [
            hash_u64(0),
            hash_u64(1),
            hash_u64(-1_i64 as u64),
            hash_f64(1.5),
            hash_f64(-0.0),
            hash_f64(f64::NAN),
            hash_i128(-7),
            hash_bytes(b""),
            hash_bytes(b"weir"),
            hash_bytes("überlauf".as_bytes()),
            combine(hash_u64(1), HASH_NULL),
        ];
        for (i, (want, got)) in golden.iter().zip(computed).enumerate() {
            assert_eq!(want.0, got, "vector {i}: got {got:#018x}");
            assert_eq!(u64::from(of_hash(got, 128)), want.1, "key group of vector {i}");
        }
    }

    #[test]
    fn ranges_of_subtasks_cover_every_group_once() {
        for max in [1, 2, 7, 128, 1000, 32768] {
            for parallelism in [1, 2, 3, 5, 7, 100, 128, 1000].into_iter().filter(|p| *p <= max) {
                let mut next = 0;
                for index in 0..parallelism {
                    let range = KeyGroupRange::of_subtask(index, max, parallelism);
                    assert_eq!(range.start, next);
                    for group in range.start..range.end {
                        assert_eq!(owner(group, max, parallelism), index);
                    }
                    next = range.end;
                }
                assert_eq!(next, max);
            }
        }
    }

    /// Hash and, for 128 key groups, the group; computed by a separate implementation in Python.
    const GOLDEN: [(u64, u64); 11] = [
        (0x9ca066f1a4ab2eea, 113),
        (0x25b775faeca8f520, 122),
        (0x3cd617bbbcc39640, 59),
        (0x35afcf05f2013659, 5),
        (0x9ca066f1a4ab2eea, 113),
        (0x7f9a866907b600aa, 105),
        (0xe2346e8e6d1ccd5a, 14),
        (0x2d06800538d394c2, 5),
        (0x09831dc741817118, 71),
        (0xdd9f4d4a8dd0d426, 74),
        (0xcb7636df2c79a3ad, 95),
    ];
}
