//! A store in the memory of the process: for tests, simulation and jobs that may forget.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::error::{checked, checked_prefix};
use super::{Folder, Listed, Payload, Put, Store, StoreError, StoreErrorKind, StoreFuture, Version};

type Objects = Arc<Mutex<BTreeMap<String, Bytes>>>;

/// Objects in a sorted map. Clones share them. Every operation is done at once, without waiting.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    url: String,
    root: String,
    objects: Objects,
}

/// The stores of this process by name, as `memory://name` means them.
static BY_NAME: Mutex<BTreeMap<String, Objects>> = Mutex::new(BTreeMap::new());

impl Default for MemoryStore {
    fn default() -> Self {
        Self { url: "memory://".to_owned(), root: String::new(), objects: Objects::default() }
    }
}

impl MemoryStore {
    /// The store that the whole process knows by this name; objects lie below `folder` (empty, or
    /// segments joined by `/`).
    pub fn named(name: &str, folder: &str) -> Self {
        let objects = BY_NAME
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(name.to_owned())
            .or_default()
            .clone();
        let root = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let url = format!("memory://{name}/{root}");
        Self { url: url.trim_end_matches('/').to_owned(), root, objects }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Bytes>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn at(&self, operation: &'static str, key: &str) -> Result<String, StoreError> {
        checked(operation, &self.url, key)?;
        Ok(format!("{}{key}", self.root))
    }

    fn find(&self, operation: &'static str, key: &str) -> Result<Option<Bytes>, StoreError> {
        let at = self.at(operation, key)?;
        Ok(self.lock().get(&at).cloned())
    }

    fn below(&self, prefix: &str) -> Vec<Listed> {
        let from = format!("{}{prefix}", self.root);
        self.lock()
            .range(from.clone()..)
            .take_while(|(key, _)| key.starts_with(&from))
            .map(|(key, bytes)| Listed { key: key[self.root.len()..].to_owned(), size: bytes.len() as u64 })
            .collect()
    }

    fn swap(&self, key: &str, expected: Option<&Version>, bytes: Bytes) -> Result<Put, StoreError> {
        let at = self.at("replace", key)?;
        let mut objects = self.lock();
        if objects.get(&at).map(|b| version(b)).as_ref() == expected {
            objects.insert(at, bytes);
            Ok(Put::Written)
        } else {
            Ok(Put::Refused)
        }
    }
}

/// As weak as an ETag: equal bytes have equal versions.
pub(super) fn version(bytes: &[u8]) -> Version {
    Version(blake3::hash(bytes).to_hex().to_string())
}

/// What lies directly below `prefix`, from all that lies below it.
pub(super) fn fold(prefix: &str, below: Vec<Listed>) -> Folder {
    let mut folders = BTreeSet::new();
    let mut objects = Vec::new();
    for listed in below {
        match listed.key[prefix.len()..].split_once('/') {
            Some((folder, _)) => {
                folders.insert(folder.to_owned());
            }
            None => objects.push(listed),
        }
    }
    Folder { folders: folders.into_iter().collect(), objects }
}

/// The range of an object, or what is wrong with asking for it.
pub(super) fn cut(bytes: &Bytes, offset: u64, length: u64) -> Result<Bytes, String> {
    let size = bytes.len() as u64;
    match offset.checked_add(length).filter(|end| *end <= size) {
        Some(end) => Ok(bytes.slice(offset as usize..end as usize)),
        None => Err(format!("{length} bytes from {offset} were asked for, but the object has {size} bytes")),
    }
}

fn ready<'a, T: Send + 'a>(result: Result<T, StoreError>) -> StoreFuture<'a, T> {
    Box::pin(std::future::ready(result))
}

impl Store for MemoryStore {
    fn url(&self) -> &str {
        &self.url
    }

    fn get<'a>(&'a self, key: &'a str) -> StoreFuture<'a, Option<Bytes>> {
        ready(self.find("get", key))
    }

    fn get_versioned<'a>(&'a self, key: &'a str) -> StoreFuture<'a, Option<(Bytes, Version)>> {
        ready(self.find("get", key).map(|found| {
            found.map(|bytes| {
                let version = version(&bytes);
                (bytes, version)
            })
        }))
    }

    fn get_range<'a>(&'a self, key: &'a str, offset: u64, length: u64) -> StoreFuture<'a, Option<Bytes>> {
        ready(self.find("get", key).and_then(|found| {
            found
                .map(|bytes| cut(&bytes, offset, length))
                .transpose()
                .map_err(|why| StoreError::new(StoreErrorKind::Failed, "get", &self.url, key, why))
        }))
    }

    fn head<'a>(&'a self, key: &'a str) -> StoreFuture<'a, Option<u64>> {
        ready(self.find("head", key).map(|found| found.map(|bytes| bytes.len() as u64)))
    }

    fn put_new<'a>(&'a self, key: &'a str, bytes: Bytes) -> StoreFuture<'a, Put> {
        ready(self.swap(key, None, bytes))
    }

    fn put<'a>(&'a self, key: &'a str, payload: Payload) -> StoreFuture<'a, ()> {
        ready(self.at("put", key).map(|at| {
            self.lock().insert(at, payload.into_bytes());
        }))
    }

    fn copy<'a>(&'a self, from: &'a str, to: &'a str) -> StoreFuture<'a, bool> {
        ready(self.at("copy", to).and_then(|to| {
            let found = self.find("copy", from)?;
            let there = found.is_some();
            if let Some(bytes) = found {
                self.lock().insert(to, bytes);
            }
            Ok(there)
        }))
    }

    fn replace<'a>(
        &'a self,
        key: &'a str,
        expected: Option<&'a Version>,
        bytes: Bytes,
    ) -> StoreFuture<'a, Put> {
        ready(self.swap(key, expected, bytes))
    }

    fn list<'a>(&'a self, prefix: &'a str) -> StoreFuture<'a, Vec<Listed>> {
        ready(checked_prefix("list", &self.url, prefix).map(|()| self.below(prefix)))
    }

    fn list_folder<'a>(&'a self, prefix: &'a str) -> StoreFuture<'a, Folder> {
        ready(checked_prefix("list", &self.url, prefix).map(|()| fold(prefix, self.below(prefix))))
    }

    fn delete<'a>(&'a self, keys: &'a [String]) -> StoreFuture<'a, ()> {
        ready(keys.iter().try_for_each(|key| {
            let at = self.at("delete", key)?;
            self.lock().remove(&at);
            Ok(())
        }))
    }
}
