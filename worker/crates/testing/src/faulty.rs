//! A store whose answers get lost, come late or are wrong in the ways in which real ones are.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use weir_checkpoint::store::{
    Folder, Listed, Payload, Put, Store, StoreError, StoreErrorKind, StoreFuture, Upload, Version,
};
use weir_runtime::{Random, SeededRandom};

/// How often what goes wrong, in operations of 1,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Faults {
    /// The operation is done, but its answer is lost.
    pub lost: u32,
    /// The operation is not done, and there is no clear answer (503, connection refused).
    pub refused: u32,
    /// A write gets no answer, and is done at some time after that.
    pub late: u32,
    /// A conditional write is sent twice (a retry on the way): the second answer counts.
    pub doubled: u32,
    /// The task gives way to others a few times before or after the operation.
    pub delayed: u32,
}

impl Faults {
    /// Much of everything.
    pub fn many() -> Self {
        Self { lost: 120, refused: 120, late: 60, doubled: 100, delayed: 300 }
    }
}

/// A store with faults drawn from a seed: the same operations in the same order meet the same faults.
#[derive(Debug)]
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    random: SeededRandom,
    faults: Mutex<Faults>,
    late: Mutex<Vec<Late>>,
}

#[derive(Debug, Clone)]
enum Late {
    New(String, Bytes),
    Put(String, Payload),
    Replace(String, Option<Version>, Bytes),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    Lost,
    Refused,
    Late,
    Doubled,
}

impl FaultyStore {
    /// A store over another, with the faults that follow from a seed.
    pub fn new(inner: Arc<dyn Store>, seed: u64, faults: Faults) -> Self {
        let random = SeededRandom::new(seed);
        Self { inner, random, faults: Mutex::new(faults), late: Mutex::default() }
    }

    /// Changes what goes wrong from here on: an outage begins or ends.
    pub fn set(&self, faults: Faults) {
        *self.faults.lock().unwrap() = faults;
    }

    /// The store without faults.
    pub fn inner(&self) -> &Arc<dyn Store> {
        &self.inner
    }

    /// Does every write that is still under way.
    pub async fn flush_late(&self) {
        let late = std::mem::take(&mut *self.late.lock().unwrap());
        for write in late {
            self.apply(write).await;
        }
    }

    fn draw(&self, bound: u64) -> u64 {
        self.random.next_u64() % bound
    }

    fn fault(&self) -> Fault {
        let faults = *self.faults.lock().unwrap();
        let mut at = u32::try_from(self.draw(1000)).unwrap_or(0);
        for (share, fault) in [
            (faults.lost, Fault::Lost),
            (faults.refused, Fault::Refused),
            (faults.late, Fault::Late),
            (faults.doubled, Fault::Doubled),
        ] {
            if at < share {
                return fault;
            }
            at -= share;
        }
        Fault::None
    }

    /// Before each operation: delays, and writes that arrive late.
    async fn arrive(&self) {
        let delayed = self.faults.lock().unwrap().delayed;
        if self.draw(1000) < u64::from(delayed) {
            for _ in 0..=self.draw(4) {
                tokio::task::yield_now().await;
            }
        }
        let due = {
            let mut late = self.late.lock().unwrap();
            if late.is_empty() || self.draw(4) != 0 {
                None
            } else {
                let at = usize::try_from(self.draw(late.len() as u64)).unwrap_or(0);
                Some(late.swap_remove(at))
            }
        };
        if let Some(write) = due {
            self.apply(write).await;
        }
    }

    async fn apply(&self, write: Late) {
        // Nobody waits for the answer.
        let _ = match write {
            Late::New(key, bytes) => self.inner.put_new(&key, bytes).await.map(|_| ()),
            Late::Put(key, payload) => self.inner.put(&key, payload).await,
            Late::Replace(key, version, bytes) => {
                self.inner.replace(&key, version.as_ref(), bytes).await.map(|_| ())
            }
        };
    }

    fn unclear<T>(&self, operation: &'static str, key: &str, why: &str) -> Result<T, StoreError> {
        Err(StoreError::new(StoreErrorKind::Unknown, operation, self.inner.url(), key, why))
    }

    async fn read<T>(
        &self,
        operation: &'static str,
        key: &str,
        read: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.arrive().await;
        match self.fault() {
            Fault::Refused | Fault::Lost => self.unclear(operation, key, "503 by script"),
            _ => read.await,
        }
    }

    async fn write<'a, T>(
        &'a self,
        operation: &'static str,
        key: &'a str,
        late: Late,
        write: impl Fn() -> StoreFuture<'a, T> + Send,
    ) -> Result<T, StoreError> {
        self.arrive().await;
        match self.fault() {
            Fault::None => write().await,
            Fault::Lost => {
                let _ = write().await;
                self.unclear(operation, key, "answer lost by script")
            }
            Fault::Refused => self.unclear(operation, key, "503 by script"),
            Fault::Late => {
                self.late.lock().unwrap().push(late);
                self.unclear(operation, key, "timeout by script")
            }
            Fault::Doubled => {
                let _ = write().await;
                write().await
            }
        }
    }
}

impl Store for FaultyStore {
    fn url(&self) -> &str {
        self.inner.url()
    }

    fn get<'a>(&'a self, key: &'a str) -> StoreFuture<'a, Option<Bytes>> {
        Box::pin(self.read("get", key, self.inner.get(key)))
    }

    fn get_versioned<'a>(&'a self, key: &'a str) -> StoreFuture<'a, Option<(Bytes, Version)>> {
        Box::pin(self.read("get", key, self.inner.get_versioned(key)))
    }

    fn get_range<'a>(&'a self, key: &'a str, offset: u64, length: u64) -> StoreFuture<'a, Option<Bytes>> {
        Box::pin(self.read("get", key, self.inner.get_range(key, offset, length)))
    }

    fn head<'a>(&'a self, key: &'a str) -> StoreFuture<'a, Option<u64>> {
        Box::pin(self.read("head", key, self.inner.head(key)))
    }

    fn put_new<'a>(&'a self, key: &'a str, bytes: Bytes) -> StoreFuture<'a, Put> {
        let late = Late::New(key.to_owned(), bytes.clone());
        Box::pin(self.write("create", key, late, move || self.inner.put_new(key, bytes.clone())))
    }

    fn put<'a>(&'a self, key: &'a str, payload: Payload) -> StoreFuture<'a, ()> {
        let late = Late::Put(key.to_owned(), payload.clone());
        Box::pin(self.write("put", key, late, move || self.inner.put(key, payload.clone())))
    }

    fn replace<'a>(
        &'a self,
        key: &'a str,
        expected: Option<&'a Version>,
        bytes: Bytes,
    ) -> StoreFuture<'a, Put> {
        let late = Late::Replace(key.to_owned(), expected.cloned(), bytes.clone());
        let write = move || self.inner.replace(key, expected, bytes.clone());
        Box::pin(self.write("replace", key, late, write))
    }

    fn list<'a>(&'a self, prefix: &'a str) -> StoreFuture<'a, Vec<Listed>> {
        Box::pin(self.read("list", prefix, self.inner.list(prefix)))
    }

    fn list_folder<'a>(&'a self, prefix: &'a str) -> StoreFuture<'a, Folder> {
        Box::pin(self.read("list", prefix, self.inner.list_folder(prefix)))
    }

    fn delete<'a>(&'a self, keys: &'a [String]) -> StoreFuture<'a, ()> {
        Box::pin(self.read("delete", "", self.inner.delete(keys)))
    }

    fn uploads<'a>(&'a self, prefix: &'a str) -> StoreFuture<'a, Vec<Upload>> {
        self.inner.uploads(prefix)
    }

    fn abort_upload<'a>(&'a self, upload: &'a Upload) -> StoreFuture<'a, ()> {
        self.inner.abort_upload(upload)
    }
}
