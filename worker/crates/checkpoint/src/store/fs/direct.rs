//! Writing large objects past the cache of the system: they are rarely read, and would take the memory of the job
//! (in a container they count as its own) and push out what others read.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use crate::store::Payload;

/// Smaller objects are left to the cache.
const LEAST_BYTES: u64 = 1 << 20;
/// Bytes of a write.
const STEP: usize = 1 << 20;
/// To a multiple of it memory, offset and length must be aligned, at most.
const ALIGNMENT: usize = 4096;

/// Writes the content to a file that is there and empty, from its beginning; gives how much, which is nothing where it
/// does not go, and never a part of the last block. What is left is for the caller to write.
///
/// # Errors
/// The file system's, for other reasons than that it can't write so.
pub(super) fn write_head(path: &Path, payload: &Payload) -> io::Result<u64> {
    if payload.len() < LEAST_BYTES {
        return Ok(0);
    }
    let mut written = 0;
    match write(path, payload, &mut written) {
        // That is how a file system says that it can't, or that it asks for larger blocks.
        Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(written),
        done => done.map(|()| written),
    }
}

fn write(path: &Path, payload: &Payload, written: &mut u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).custom_flags(libc::O_DIRECT).open(path)?;
    let mut space = vec![0; STEP + ALIGNMENT];
    let start = space.as_ptr().align_offset(ALIGNMENT);
    let block = &mut space[start..start + STEP];
    let mut filled = 0;
    for mut chunk in payload.chunks().iter().map(|chunk| &chunk[..]) {
        while !chunk.is_empty() {
            let (some, rest) = chunk.split_at(chunk.len().min(STEP - filled));
            block[filled..filled + some.len()].copy_from_slice(some);
            filled += some.len();
            chunk = rest;
            if filled == STEP {
                file.write_all_at(block, *written)?;
                *written += STEP as u64;
                filled = 0;
            }
        }
    }
    let whole = filled - filled % ALIGNMENT;
    file.write_all_at(&block[..whole], *written)?;
    *written += whole as u64;
    Ok(())
}
