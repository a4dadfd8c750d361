//! TUMBLE: windows of one size, side by side. A window is its own slice.

use super::{floor_multiple, size_allowed};

/// Windows `offset + k * size .. offset + (k + 1) * size` for every whole `k`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tumble {
    size: i64,
    offset: i64,
}

impl Tumble {
    /// Windows of this size, in milliseconds.
    ///
    /// # Errors
    /// A sentence that says what is allowed.
    pub fn new(size_ms: i64, offset_ms: i64) -> Result<Self, String> {
        size_allowed("TUMBLE", "size", size_ms)?;
        if offset_ms.unsigned_abs() >= size_ms.unsigned_abs() {
            return Err(format!(
                "TUMBLE: the offset ({offset_ms} ms) must be smaller than the size ({size_ms} ms)"
            ));
        }
        Ok(Self { size: size_ms, offset: offset_ms })
    }

    /// Length of a window.
    pub const fn size(self) -> i64 {
        self.size
    }

    /// Where the first window at or after the epoch would start, up to a whole number of steps.
    #[cfg(test)]
    pub(super) const fn window_offset(self) -> i64 {
        self.offset
    }

    /// The end of the window that holds a time.
    pub(super) fn slice_end(self, time: i64) -> i64 {
        floor_multiple(time, self.size, self.offset) + self.size
    }
}
