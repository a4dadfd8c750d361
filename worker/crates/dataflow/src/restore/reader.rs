//! Reads the blocks of tables, some ahead of the slots that take them in: from copies on this machine where
//! there are good ones, else from the store.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{StreamExt, stream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use weir_checkpoint::Store;
use weir_checkpoint::manifest::read_blocks;
use weir_protocol::{BlockRef, Failure, FailureKind, ObjectRef, RestoreReport, SubtaskId};
use weir_runtime::{Clock, Timestamp};

use super::feed::{Feeds, Held};
use super::{Read, Restored};
use crate::Troubles;
use crate::accounting::micros;
use crate::local::LocalCopies;
use crate::sizes::units;
use crate::upload::patiently;

/// Requests under way at a time.
const READS_AT_A_TIME: usize = 4;

/// Where state is read from.
#[derive(Clone)]
pub(crate) struct Reader {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) local: Option<LocalCopies>,
    pub(crate) troubles: Troubles,
    pub(crate) clock: Arc<dyn Clock>,
    /// Bytes that may be read ahead.
    pub(crate) ahead: u64,
    /// When the restore began.
    pub(crate) since: Timestamp,
}

/// State that is being read. Dropped: nothing is read any more, and slots that wait for it are told.
#[derive(Debug)]
pub(crate) struct Reading {
    task: JoinHandle<()>,
    over: Arc<AtomicBool>,
    report: Arc<Mutex<RestoreReport>>,
}

impl Reading {
    /// What was read; complete once all slots are up.
    pub(crate) fn report(&self) -> RestoreReport {
        *self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        self.task.abort();
    }
}

/// Blocks that were read, with those of them that came from this machine.
struct Found {
    blocks: Vec<Bytes>,
    local_bytes: u64,
}

impl Reader {
    /// Begins to read for subtasks in these slots; `restored` takes the blocks from there.
    pub(crate) fn start(
        self,
        restored: &mut Restored,
        reads: Vec<Read>,
        placed: &[(SubtaskId, u32)],
    ) -> Reading {
        let (over, report) = (Arc::<AtomicBool>::default(), Arc::<Mutex<RestoreReport>>::default());
        let slot_of: BTreeMap<SubtaskId, u32> = placed.iter().copied().collect();
        let (feeds, ends) = Feeds::new(slot_of.values().copied(), &over);
        restored.feeds = Mutex::new(ends);
        let told = report.clone();
        let task = tokio::spawn(async move {
            let read = self.read_all(reads, &slot_of, &feeds).await;
            let result = read.map(|mut read| {
                read.read_us = micros(self.clock.now().since(self.since));
                *told.lock().unwrap_or_else(PoisonError::into_inner) = read;
            });
            feeds.end(result);
        });
        Reading { task, over, report }
    }

    async fn read_all(
        &self,
        reads: Vec<Read>,
        slot_of: &BTreeMap<SubtaskId, u32>,
        feeds: &Feeds,
    ) -> Result<RestoreReport, Failure> {
        let mut report = RestoreReport::default();
        let room = Arc::new(Semaphore::new(units(self.ahead) as usize));
        // Room is given in the order of the reads, so that the first in line always has some.
        let admitted = stream::iter(reads).then(|read| {
            let (room, most) = (room.clone(), units(self.ahead));
            async move {
                let held = room.acquire_many_owned(units(read.bytes()).min(most)).await;
                (read, held.ok().map(Arc::new))
            }
        });
        let mut found =
            admitted.map(|(read, held)| self.read_one(read, held)).buffered(READS_AT_A_TIME).boxed();
        while let Some(next) = found.next().await {
            let (read, found, held) = next?;
            report.local_bytes += found.local_bytes;
            report.stored_bytes += read.bytes() - found.local_bytes;
            for (targets, bytes) in read.targets.into_iter().zip(found.blocks) {
                for target in targets {
                    if let Some(slot) = slot_of.get(&target.subtask) {
                        feeds.block(*slot, target, bytes.clone(), &held);
                    }
                }
            }
        }
        Ok(report)
    }

    fn read_one(
        &self,
        read: Read,
        held: Option<Held>,
    ) -> BoxFuture<'_, Result<(Read, Found, Held), Failure>> {
        Box::pin(async move {
            let held = held.ok_or_else(|| Failure::new(FailureKind::Bug, "room to read ahead is closed"))?;
            let found = self.blocks(&read.object, &read.blocks).await?;
            Ok((read, found, held))
        })
    }

    /// Reads blocks of one object, each checked.
    async fn blocks(&self, object: &ObjectRef, blocks: &[BlockRef]) -> Result<Found, Failure> {
        let mut found = match &self.local {
            Some(local) => local.read(object, blocks).await,
            None => vec![None; blocks.len()],
        };
        let missing: Vec<BlockRef> =
            blocks.iter().zip(&found).filter(|(_, f)| f.is_none()).map(|(b, _)| b.clone()).collect();
        let stored_bytes: u64 = missing.iter().map(|b| b.length).sum();
        if !missing.is_empty() {
            let store = self.store.as_ref();
            let read = || async { read_blocks(store, object, &missing).await.map_err(Failure::from) };
            let stored = patiently("restore", &self.troubles, read).await?;
            if let Some(local) = &self.local {
                local.keep_blocks(object, &missing, &stored);
            }
            let mut stored = stored.into_iter();
            for place in found.iter_mut().filter(|f| f.is_none()) {
                *place = stored.next();
            }
        }
        let all = blocks.iter().map(|b| b.length).sum::<u64>();
        Ok(Found { blocks: found.into_iter().flatten().collect(), local_bytes: all - stored_bytes })
    }

    /// Reads the blocks of lists, which are needed before anything runs, in the order given.
    pub(crate) async fn lists(&self, wanted: &[(ObjectRef, BlockRef)]) -> Result<Vec<Bytes>, Failure> {
        let mut by_object: BTreeMap<&ObjectRef, Vec<(usize, BlockRef)>> = BTreeMap::new();
        for (at, (object, block)) in wanted.iter().enumerate() {
            by_object.entry(object).or_default().push((at, block.clone()));
        }
        let mut lists = vec![Bytes::new(); wanted.len()];
        for (object, blocks) in by_object {
            let (places, blocks): (Vec<usize>, Vec<BlockRef>) = blocks.into_iter().unzip();
            let found = self.blocks(object, &blocks).await?;
            for (at, bytes) in places.into_iter().zip(found.blocks) {
                lists[at] = bytes;
            }
        }
        Ok(lists)
    }
}
