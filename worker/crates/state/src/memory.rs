//! Zeroed words that begin on a cache line.
//!
//! From [`HUGE`] on they come straight from the system and may lie in huge pages: in a large table,
//! translating addresses of small ones takes longer than all other work.

#![allow(unsafe_code, reason = "no safe container gives aligned, zeroed memory in huge pages")]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// Words of a cache line.
pub(crate) const LINE: usize = 8;
/// Words of a huge page.
pub(crate) const HUGE: usize = (2 << 20) / size_of::<u64>();

/// A cache line as halves of words.
pub(crate) type Halves = [u32; 2 * LINE];

/// A fixed number of words, zero at first.
#[derive(Debug)]
pub(crate) struct Words {
    start: NonNull<u64>,
    len: usize,
}

// SAFETY: it owns its words as a `Box<[u64]>` does.
unsafe impl Send for Words {}
// SAFETY: as above; shared references only read.
unsafe impl Sync for Words {}

impl Words {
    /// `len`, which is not zero, words.
    pub(crate) fn new(len: usize) -> Self {
        let layout = Self::layout(len);
        let start = if len.is_multiple_of(HUGE) {
            huge::map(layout)
        } else {
            // SAFETY: the layout is not of size zero.
            unsafe { alloc_zeroed(layout) }
        };
        let start = NonNull::new(start).unwrap_or_else(|| handle_alloc_error(layout));
        Self { start: start.cast(), len }
    }

    /// At least `len` words, of which those that it has stay as they are and the others are zero. From [`HUGE`]
    /// on nothing is copied: pages move, and new ones are taken only when they are written.
    pub(crate) fn grow(&mut self, len: usize) {
        let mut larger = Self::new(if len > HUGE { len.next_multiple_of(HUGE) } else { len });
        if self.len.is_multiple_of(HUGE) && larger.len > self.len {
            // SAFETY: both came from `map` with these layouts, the second is longer, and nothing refers to them.
            unsafe {
                huge::move_pages(
                    self.start.as_ptr().cast(),
                    Self::layout(self.len),
                    larger.start.as_ptr().cast(),
                );
            }
            // Its pages are the larger one's now.
            self.len = larger.len;
            std::mem::swap(&mut self.start, &mut larger.start);
            std::mem::forget(larger);
        } else {
            larger[..self.len].copy_from_slice(self);
            *self = larger;
        }
    }

    /// Its whole cache lines.
    #[inline]
    pub(crate) fn halves(&self) -> &[Halves] {
        // SAFETY: as in `deref`; a line of halves takes as much place as one of words, and is aligned to less.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast(), self.len / LINE) }
    }

    /// The same, to be written.
    pub(crate) fn halves_mut(&mut self) -> &mut [Halves] {
        // SAFETY: as in `halves`, and nothing else refers to them.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().cast(), self.len / LINE) }
    }

    fn layout(len: usize) -> Layout {
        assert!(len > 0, "no words");
        let bytes = len.checked_mul(size_of::<u64>()).expect("fewer words than the address space has");
        let align = if len.is_multiple_of(HUGE) { HUGE } else { LINE } * size_of::<u64>();
        Layout::from_size_align(bytes, align).expect("fewer words than the address space has")
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        let layout = Self::layout(self.len);
        // SAFETY: the memory came from `new` with this layout, and nothing refers to it any more.
        unsafe {
            if self.len.is_multiple_of(HUGE) {
                huge::unmap(self.start.as_ptr().cast(), layout);
            } else {
                dealloc(self.start.as_ptr().cast(), layout);
            }
        }
    }
}

impl Deref for Words {
    type Target = [u64];

    #[inline]
    fn deref(&self) -> &[u64] {
        // SAFETY: `start` leads to `len` words that are initialised, aligned and its own.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for Words {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u64] {
        // SAFETY: as in `deref`, and nothing else refers to them.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

#[cfg(target_os = "linux")]
mod huge {
    use std::alloc::{Layout, handle_alloc_error};
    use std::ptr::null_mut;

    /// Zeroed memory of this layout, of which size and alignment are multiples of a page; null if
    /// there is none.
    pub(super) fn map(layout: Layout) -> *mut u8 {
        let (bytes, align) = (layout.size(), layout.align());
        // SAFETY: a new private mapping; what is cut off of it below and not returned is not used.
        unsafe {
            // Of what is mapped ahead no more than what is written needs memory.
            let (protection, flags) = (
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            );
            // The system aligns mappings to small pages only: the part that is aligned is kept.
            let mapped = libc::mmap(null_mut(), bytes + align, protection, flags, -1, 0);
            if mapped == libc::MAP_FAILED {
                return null_mut();
            }
            let before = mapped.align_offset(align);
            let start = mapped.add(before);
            if before > 0 {
                libc::munmap(mapped, before);
            }
            libc::munmap(start.add(bytes), align - before);
            // A hint: without huge pages all works the same.
            libc::madvise(start, bytes, libc::MADV_HUGEPAGE);
            start.cast()
        }
    }

    /// Moves what lies in memory to the beginning of another, and gives the first one back.
    ///
    /// # Safety
    /// Both came from [`map`], the first with this layout and the other with a larger one; nothing refers to them.
    pub(super) unsafe fn move_pages(from: *mut u8, layout: Layout, to: *mut u8) {
        let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
        // SAFETY: the caller's promise; what was mapped at the target is replaced, and nothing else.
        let moved = unsafe { libc::mremap(from.cast(), layout.size(), layout.size(), flags, to) };
        if moved == libc::MAP_FAILED {
            // The system has no memory for it, and what was mapped at the target may be gone.
            handle_alloc_error(layout);
        }
    }

    /// Gives memory back.
    ///
    /// # Safety
    /// It came from [`map`] with this layout and is not used any more.
    pub(super) unsafe fn unmap(start: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe {
            libc::munmap(start.cast(), layout.size());
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod huge {
    pub(super) use std::alloc::dealloc as unmap;
    use std::alloc::{Layout, alloc_zeroed};

    pub(super) fn map(layout: Layout) -> *mut u8 {
        // SAFETY: the layout is not of size zero.
        unsafe { alloc_zeroed(layout) }
    }

    pub(super) unsafe fn move_pages(from: *mut u8, layout: Layout, to: *mut u8) {
        // SAFETY: the caller's promise, as of that for Linux.
        unsafe {
            std::ptr::copy_nonoverlapping(from, to, layout.size());
            unmap(from, layout);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_zero_aligned_and_their_own() {
        for len in [1, 8, 100, HUGE - 8, HUGE, 2 * HUGE] {
            let mut all: Vec<Words> = (0..3).map(|_| Words::new(len)).collect();
            for (number, words) in all.iter_mut().enumerate() {
                assert!(words.len() == len && words.iter().all(|w| *w == 0));
                let line = if len.is_multiple_of(HUGE) { HUGE } else { LINE };
                assert_eq!(words.as_ptr() as usize % (line * 8), 0, "{len}");
                words.fill(number as u64 + 1);
            }
            for (number, words) in all.iter().enumerate() {
                assert!(words.iter().all(|w| *w == number as u64 + 1));
            }
        }
    }

    #[test]
    fn words_stay_as_they_are_when_more_are_added() {
        let mut words = Words::new(24);
        let mut written = 0;
        for len in [48, 1_000, HUGE - 8, HUGE, HUGE + 1, 5 * HUGE, 6 * HUGE] {
            words[written..].iter_mut().enumerate().for_each(|(i, word)| *word = (written + i) as u64);
            written = words.len();
            words.grow(len);
            assert!(words.len() >= len && (len < HUGE || (words.as_ptr() as usize).is_multiple_of(HUGE * 8)));
            assert!(words[..written].iter().enumerate().all(|(i, word)| *word == i as u64), "{len}");
            assert!(words[written..].iter().all(|word| *word == 0), "{len}");
        }
    }
}
