//! HOP: windows of one size that start a slide apart. Slices are as wide as the greatest common
//! divisor of size and slide, so that every window is made of whole slices and every row is kept once.

use super::{floor_multiple, size_allowed};

/// Windows `offset + k * slide .. offset + k * slide + size` for every whole `k`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hop {
    size: i64,
    slide: i64,
    offset: i64,
    pane: i64,
}

impl Hop {
    /// Windows of this size and slide, in milliseconds.
    ///
    /// # Errors
    /// A sentence that says what is allowed.
    pub fn new(size_ms: i64, slide_ms: i64, offset_ms: i64) -> Result<Self, String> {
        size_allowed("HOP", "size", size_ms)?;
        size_allowed("HOP", "slide", slide_ms)?;
        if offset_ms.unsigned_abs() >= slide_ms.unsigned_abs() {
            return Err(format!(
                "HOP: the offset ({offset_ms} ms) must be smaller than the slide ({slide_ms} ms)"
            ));
        }
        let pane = gcd(size_ms, slide_ms);
        if size_ms / pane > MAX_SLICES {
            return Err(format!(
                "HOP: a size of {size_ms} ms and a slide of {slide_ms} ms cut each window into {} slices: \
                 at most {MAX_SLICES} are allowed; choose a size that is a multiple of the slide",
                size_ms / pane
            ));
        }
        Ok(Self { size: size_ms, slide: slide_ms, offset: offset_ms, pane })
    }

    /// Length of a window.
    pub const fn size(self) -> i64 {
        self.size
    }

    /// From one window to the next.
    pub const fn slide(self) -> i64 {
        self.slide
    }

    pub(super) const fn pane(self) -> i64 {
        self.pane
    }

    /// Where the first window at or after the epoch would start, up to a whole number of steps.
    #[cfg(test)]
    pub(super) const fn window_offset(self) -> i64 {
        self.offset
    }

    /// The end of the slice that holds a time.
    pub(super) fn slice_end(self, time: i64) -> i64 {
        floor_multiple(time, self.pane, self.offset) + self.pane
    }

    /// The end of the first window that ends at `time` or later.
    pub(super) fn window_end_from(self, time: i64) -> i64 {
        let base = self.offset + self.size;
        let floor = floor_multiple(time, self.slide, base);
        if floor == time { time } else { floor + self.slide }
    }
}

/// A window of more slices would take too long to put together.
const MAX_SLICES: i64 = 100_000;

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
