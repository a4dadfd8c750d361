//! Writing large objects past the cache of the system: they are rarely read, and to take them into it costs more than
//! all else that is done to write them.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use crate::store::Payload;

#[cfg(target_os = "linux")]
const FLAG: Option<i32> = Some(libc::O_DIRECT);
#[cfg(not(target_os = "linux"))]
const FLAG: Option<i32> = None;

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
    let Some(flag) = FLAG else { return Ok(()) };
    let file = OpenOptions::new().write(true).custom_flags(flag).open(path)?;
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::store::{FsStore, Store};

    #[tokio::test]
    async fn the_head_of_a_large_object_is_written_up_to_its_last_whole_block() {
        let folder = tempfile::tempdir().expect("a folder");
        let content = |len: usize| -> Vec<u8> { (0..len as u32).map(|at| (at ^ at >> 9) as u8).collect() };
        for (number, len) in
            [100, 1 << 20, (1 << 20) - 1, 3 << 20, (3 << 20) + 4097, (2 << 20) + 5].into_iter().enumerate()
        {
            let all = content(len);
            // Pieces that end anywhere.
            let payload = Payload::new(all.chunks(100_003).map(Bytes::copy_from_slice).collect());
            let path = folder.path().join(number.to_string());
            std::fs::File::create_new(&path).expect("a file");
            let written = write_head(&path, &payload).expect("there is room") as usize;
            // Not every file system takes it.
            let open = |flag| OpenOptions::new().write(true).custom_flags(flag).open(&path);
            let takes = FLAG.is_some_and(|flag| open(flag).is_ok()) && len >= 1 << 20;
            assert_eq!(written, if takes { len - len % ALIGNMENT } else { 0 }, "of {len}");
            assert_eq!(std::fs::read(&path).expect("is there"), all[..written], "{len}");
            let store = FsStore::new(folder.path().join("store"));
            store.put("object", payload).await.expect("there is room");
            assert_eq!(store.get("object").await.expect("is readable").expect("is there"), all, "{len}");
        }
    }
}
