//! Copies of checkpoint data on this machine's disk, so that a restart reads from the store only what is not
//! here. Nothing depends on them: a copy that is gone, cut off or changed is read from the store instead, a
//! full or slow disk just keeps fewer of them.
//!
//! ```text
//! <scratch>/<job uid>/<process>.lock   locked while the process lives
//! <scratch>/<job uid>/<process>/17     one copy: a data object, or blocks of one
//! ```
//! What is in a file is known to the process alone; what dead processes left is deleted, not read.

mod folder;
mod shelf;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use weir_checkpoint::Payload;
use weir_protocol::{BlockRef, JobUid, ObjectRef};
use weir_runtime::Random;

use crate::host::Scratch;
use crate::sizes::units;
use folder::OwnFolder;
use shelf::{Holds, Shelf};

/// The copies of one worker. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct LocalCopies(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    folder: OwnFolder,
    shelf: Mutex<Shelf>,
    /// Room for what waits to be written.
    waiting: Arc<Semaphore>,
    /// Copies that could not be used after all.
    unusable: AtomicU64,
    /// Whether the disk's last failure was told.
    told: AtomicBool,
}

impl LocalCopies {
    /// Makes this process's folder. `None` where that is not possible, which is told in the log.
    ///
    /// `waiting`: bytes that may wait in memory for the disk; what comes beyond that is not kept.
    pub(crate) async fn open(
        scratch: &Scratch,
        job: &JobUid,
        random: &dyn Random,
        waiting: u64,
    ) -> Option<Self> {
        let (folder, name, limit) = (scratch.folder.join(job.as_str()), random.nonce(), scratch.limit);
        let opened = tokio::task::spawn_blocking(move || OwnFolder::make(&folder, &name)).await;
        match opened.unwrap_or_else(|e| Err(io::Error::other(e))) {
            Ok(folder) => {
                let shared = Shared {
                    folder,
                    shelf: Mutex::new(Shelf::new(limit)),
                    waiting: Arc::new(Semaphore::new(units(waiting) as usize)),
                    unusable: AtomicU64::new(0),
                    told: AtomicBool::new(false),
                };
                Some(Self(Arc::new(shared)))
            }
            Err(error) => {
                let folder = scratch.folder.display();
                tracing::warn!(%folder, %error, "state is kept in the store only: the scratch folder can't be used");
                None
            }
        }
    }

    /// The blocks of an object that are here and good, in the order given.
    pub(crate) async fn read(&self, object: &ObjectRef, blocks: &[BlockRef]) -> Vec<Option<Bytes>> {
        let places: Vec<_> = {
            let shelf = self.0.lock();
            blocks.iter().map(|b| shelf.find(&object.key, b.offset)).collect()
        };
        if places.iter().all(Option::is_none) {
            return vec![None; blocks.len()];
        }
        let (shared, blocks, count) = (self.0.clone(), blocks.to_vec(), blocks.len());
        let read = tokio::task::spawn_blocking(move || {
            let one = |(place, block): (&Option<(u64, u64)>, &BlockRef)| {
                place.and_then(|(copy, at)| shared.read(copy, at, block))
            };
            places.iter().zip(&blocks).map(one).collect()
        });
        read.await.unwrap_or_else(|_| vec![None; count])
    }

    /// Keeps a copy of a data object, in the background.
    pub(crate) fn keep_object(&self, object: &ObjectRef, payload: &Payload) {
        self.keep(&object.key, Holds::Whole, payload.clone());
    }

    /// Keeps copies of blocks that were read, in the background.
    pub(crate) fn keep_blocks(&self, object: &ObjectRef, blocks: &[BlockRef], bytes: &[Bytes]) {
        let mut at = 0;
        let position = |block: &BlockRef| {
            let start = at;
            at += block.length;
            (block.offset, start)
        };
        let holds = Holds::Blocks(blocks.iter().map(position).collect());
        self.keep(&object.key, holds, Payload::new(bytes.to_vec()));
    }

    fn keep(&self, key: &str, holds: Holds, content: Payload) {
        let bytes = content.len();
        // A disk that does not keep up holds nothing up.
        let Ok(waiting) = self.0.waiting.clone().try_acquire_many_owned(units(bytes)) else { return };
        let Some(copy) = self.0.begin(key, holds, bytes) else { return };
        let shared = self.0.clone();
        tokio::task::spawn_blocking(move || shared.write(copy, &content, waiting));
    }

    /// Lets go of all copies but those of objects that are still wanted.
    pub(crate) fn retain(&self, wanted: impl Fn(&str) -> bool) {
        let gone = self.0.lock().retain(wanted);
        let shared = self.0.clone();
        if !gone.is_empty() {
            tokio::task::spawn_blocking(move || shared.delete(&gone));
        }
    }

    /// How many copies could not be used after all.
    #[cfg(test)]
    fn unusable(&self) -> u64 {
        self.0.unusable.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, copy: u64) -> PathBuf {
        self.folder.path().join(copy.to_string())
    }

    /// Makes room for a copy.
    fn begin(&self, key: &str, holds: Holds, bytes: u64) -> Option<u64> {
        let (copy, gone) = self.lock().begin(key, holds, bytes)?;
        self.delete(&gone);
        Some(copy)
    }

    fn write(&self, copy: u64, content: &Payload, waiting: OwnedSemaphorePermit) {
        let path = self.path(copy);
        // Not synced: it need not outlive the machine, and is checked when it is read.
        let written = File::create_new(&path).and_then(|mut file| content.write_to(&mut file));
        drop(waiting);
        let kept = match written {
            Ok(()) => {
                self.told.store(false, Ordering::Relaxed);
                self.lock().written(copy)
            }
            Err(error) => {
                self.lock().remove(copy);
                // Once per trouble, not once per copy.
                if !self.told.swap(true, Ordering::Relaxed) {
                    let folder = self.folder.path().display();
                    tracing::warn!(%folder, %error, "no copy of checkpoint data was kept on this machine");
                }
                false
            }
        };
        if !kept {
            // It was not wanted any more by the time it was there, or is only half there.
            let _ = fs::remove_file(path);
        }
    }

    fn read(&self, copy: u64, at: u64, block: &BlockRef) -> Option<Bytes> {
        let mut bytes = vec![0; usize::try_from(block.length).ok()?];
        let read = File::open(self.path(copy)).and_then(|file| file.read_exact_at(&mut bytes, at));
        let why = match read {
            Ok(()) if crc32fast::hash(&bytes) == block.crc => return Some(bytes.into()),
            Ok(()) => "it does not match its checksum".to_owned(),
            Err(error) => error.to_string(),
        };
        let so_far = self.unusable.fetch_add(1, Ordering::Relaxed) + 1;
        tracing::warn!(
            why,
            so_far,
            "a copy of checkpoint data on this machine can't be used; the store is read"
        );
        if self.lock().remove(copy) {
            self.delete(&[copy]);
        }
        None
    }

    fn delete(&self, copies: &[u64]) {
        for copy in copies {
            // One that is gone by itself is gone.
            let _ = fs::remove_file(self.path(*copy));
        }
    }
}

#[cfg(test)]
#[path = "local/tests.rs"]
mod tests;
