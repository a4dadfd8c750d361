//! What is written and read at a time, so that checkpoints and restores take a bounded share of the memory
//! limit, whatever the size of the state. Pure.

/// Memory is counted in so many bytes: a semaphore has too few permits for single ones.
const UNIT: u64 = 1024;

/// Least and most bytes of a data object.
const OBJECT: (u64, u64) = (64 * 1024, 32 * 1024 * 1024);

/// Sizes in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// From here on a data object is full, and goes out.
    pub(crate) object: u64,
    /// From here on rows are enough for a block, as they are in memory.
    pub(crate) block: u64,
    /// Of frozen rows that wait to be encoded, over all slots: when there are more, no rows are swept out.
    pub(crate) frozen: u64,
    /// Of objects that are on their way out.
    pub(crate) uploads: u64,
    /// Of state that is read ahead at a restore.
    pub(crate) ahead: u64,
    /// Of what waits to be written to this machine's disk.
    pub(crate) local: u64,
}

impl Sizes {
    /// The shares of a worker's memory limit: an object is a thirty-second of it, two are on their way out, one
    /// is in the making.
    pub(crate) fn of(memory_limit: u64) -> Self {
        let object = (memory_limit / 32).clamp(OBJECT.0, OBJECT.1);
        Self {
            object,
            block: object / 4,
            frozen: object / 2,
            uploads: 2 * object,
            ahead: 2 * object,
            local: 4 * object,
        }
    }
}

/// A size as permits of a semaphore; at least one.
pub(crate) fn units(bytes: u64) -> u32 {
    u32::try_from(bytes / UNIT + 1).unwrap_or(MOST).min(MOST)
}

/// What any semaphore can give at once.
const MOST: u32 = u32::MAX >> 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_takes_an_eighth_of_the_memory_limit_at_most() {
        for shift in 21..44 {
            let limit = 1_u64 << shift;
            let sizes = Sizes::of(limit);
            assert!((sizes.uploads + sizes.object + sizes.frozen) * 8 <= limit, "{limit}");
            assert!(sizes.block < sizes.object && sizes.object <= sizes.uploads, "{limit}");
        }
        assert_eq!(Sizes::of(1 << 30).object, 32 << 20);
        assert_eq!(Sizes::of(0).object, 64 << 10);
    }

    #[test]
    fn sizes_fit_into_semaphores() {
        assert_eq!([0, 1, 1023, 1024, 1 << 20].map(units), [1, 1, 1, 2, 1025]);
        assert!(units(u64::MAX) as usize <= tokio::sync::Semaphore::MAX_PERMITS);
    }
}
