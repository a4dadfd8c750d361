//! A store in a folder of a local file system, safe against power loss.
//!
//! An object is written to a file of its own in `.tmp`, synced, and then linked or renamed to its
//! name; the folder is synced before the write counts as done. A link fails if the name is taken:
//! that is the atomic create-if-absent. Compare-and-swap goes under a file lock. What a crash
//! leaves in `.tmp` is removed by the next process that writes, once the lock on it is free.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::StreamExt;
use weir_runtime::{Random, SystemRandom};

use self::direct::write_head;
use super::error::{checked, checked_prefix};
use super::memory::version;
use super::{Folder, Listed, Payload, Pieces, Put, Store, StoreError, StoreErrorKind, StoreFuture, Version};

mod direct;

const SCRATCH: &str = ".tmp";
const LOCK: &str = "lock";
/// How often a file is named again whose folder was removed, being empty, before it came into it. Each time
/// somebody else got on.
const NAME_TRIES: u32 = 200;

/// A folder as a store. Clones share it.
#[derive(Debug, Clone)]
pub struct FsStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    url: String,
    root: PathBuf,
    scratch: Mutex<Option<Arc<Scratch>>>,
    /// Folders whose last sync failed: what was linked there counts only after a sync.
    unsynced: Mutex<BTreeSet<PathBuf>>,
}

/// This process's own folder for files in the making; the lock says that it lives.
#[derive(Debug)]
struct Scratch {
    folder: PathBuf,
    next: AtomicU64,
    _lock: File,
}

impl FsStore {
    /// The store in this folder. Nothing is read or written yet; the folder is made by the first write.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        // `join("")` leaves a slash at the end.
        let root: PathBuf = root.into().components().collect();
        let url = format!("file://{}", root.display());
        Self(Arc::new(Inner { url, root, scratch: Mutex::default(), unsynced: Mutex::default() }))
    }

    /// Runs file operations where they may block. They run to their end even if the caller goes away.
    fn run<'a, T: Send + 'static>(
        &'a self,
        operation: &'static str,
        key: &'a str,
        work: impl FnOnce(&Inner, PathBuf) -> Result<T, Trouble> + Send + 'static,
    ) -> StoreFuture<'a, T> {
        let inner = Arc::clone(&self.0);
        Box::pin(async move {
            let path = inner.root.join(key);
            let done = tokio::task::spawn_blocking({
                let inner = Arc::clone(&inner);
                move || work(&inner, path)
            });
            let error = |kind, message: String| StoreError::new(kind, operation, &inner.url, key, message);
            match done.await {
                Ok(Ok(value)) => Ok(value),
                Ok(Err(trouble)) => Err(error(trouble.kind, trouble.message)),
                Err(gone) => Err(error(StoreErrorKind::Unknown, gone.to_string())),
            }
        })
    }

    fn run_key<'a, T: Send + 'static>(
        &'a self,
        operation: &'static str,
        key: &'a str,
        work: impl FnOnce(&Inner, PathBuf) -> Result<T, Trouble> + Send + 'static,
    ) -> StoreFuture<'a, T> {
        match checked(operation, &self.0.url, key) {
            Ok(()) => self.run(operation, key, work),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }

    fn run_prefix<'a, T: Send + 'static>(
        &'a self,
        prefix: &'a str,
        work: impl FnOnce(&Inner, PathBuf) -> Result<T, Trouble> + Send + 'static,
    ) -> StoreFuture<'a, T> {
        match checked_prefix("list", &self.0.url, prefix) {
            Ok(()) => self.run("list", prefix, work),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }
}

/// An I/O error with what is known of the outcome.
struct Trouble {
    kind: StoreErrorKind,
    message: String,
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => StoreErrorKind::Denied,
            ErrorKind::StorageFull
            | ErrorKind::QuotaExceeded
            | ErrorKind::FileTooLarge
            | ErrorKind::NotFound
            | ErrorKind::AlreadyExists
            | ErrorKind::NotADirectory
            | ErrorKind::IsADirectory
            | ErrorKind::InvalidFilename
            | ErrorKind::CrossesDevices
            | ErrorKind::TooManyLinks
            | ErrorKind::Unsupported => StoreErrorKind::Failed,
            // An I/O error of a disk or network says nothing about what it did.
            _ => StoreErrorKind::Unknown,
        };
        Self { kind, message: error.to_string() }
    }
}

/// An error after the object may have become visible.
fn unclear(error: io::Error) -> Trouble {
    Trouble { kind: StoreErrorKind::Unknown, message: error.to_string() }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn absent<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(e),
    }
}

impl Inner {
    fn read(&self, path: &Path) -> Result<Option<Bytes>, Trouble> {
        let found = absent(fs::read(path))?;
        if found.is_some() {
            self.settle_folder(path)?;
        }
        Ok(found.map(Bytes::from))
    }

    /// What is there but was not synced must not be believed.
    fn settle_folder(&self, path: &Path) -> Result<(), Trouble> {
        let Some(folder) = path.parent() else { return Ok(()) };
        if lock(&self.unsynced).contains(folder) {
            self.sync_folder(folder)?;
        }
        Ok(())
    }

    fn sync_folder(&self, folder: &Path) -> Result<(), Trouble> {
        let synced = File::open(folder).and_then(|f| f.sync_all());
        let mut unsynced = lock(&self.unsynced);
        match synced {
            Ok(()) => unsynced.remove(folder),
            Err(_) => unsynced.insert(folder.to_path_buf()),
        };
        synced.map_err(unclear)
    }

    /// Makes the folders on the way to `path`, each durable in the one above it.
    fn make_parents(&self, path: &Path) -> io::Result<()> {
        let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) else { return Ok(()) };
        if folder.is_dir() {
            return Ok(());
        }
        self.make_parents(folder)?;
        match fs::create_dir(folder) {
            Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
        match folder.parent() {
            Some(above) => File::open(above).and_then(|f| f.sync_all()),
            None => Ok(()),
        }
    }

    fn scratch(&self) -> Result<Arc<Scratch>, Trouble> {
        let mut scratch = lock(&self.scratch);
        if let Some(mine) = scratch.as_ref().filter(|s| s.folder.is_dir()) {
            return Ok(Arc::clone(mine));
        }
        let all = self.root.join(SCRATCH);
        self.make_parents(&all.join("x"))?;
        clean(&all);
        let mine = Arc::new(Scratch::make(&all)?);
        *scratch = Some(Arc::clone(&mine));
        Ok(mine)
    }

    /// A synced file with this content that has no name in the store yet.
    fn stage(&self, payload: &Payload) -> Result<PathBuf, Trouble> {
        let scratch = self.scratch()?;
        let path = scratch.folder.join(scratch.next.fetch_add(1, Ordering::Relaxed).to_string());
        let written = OpenOptions::new().write(true).create_new(true).open(&path).and_then(|mut file| {
            let head = write_head(&path, payload)?;
            file.seek(SeekFrom::Start(head))?;
            payload.clone().skip(head).write_to(&mut file)?;
            file.sync_all()
        });
        match written {
            Ok(()) => Ok(path),
            Err(error) => {
                let _ = fs::remove_file(&path);
                Err(error.into())
            }
        }
    }

    /// An empty file that has no name in the store yet.
    fn begin(&self) -> Result<Staged, Trouble> {
        let scratch = self.scratch()?;
        let path = scratch.folder.join(scratch.next.fetch_add(1, Ordering::Relaxed).to_string());
        let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        Ok(Staged { path, file })
    }

    /// Copies within the file system where it can share the blocks, else by reading and writing.
    fn copy(&self, from: &Path, to: &Path) -> Result<bool, Trouble> {
        let staged = self.begin()?;
        if absent(fs::copy(from, &staged.path))?.is_none() {
            return Ok(false);
        }
        self.settle_folder(from)?;
        self.finish(&staged, to)?;
        Ok(true)
    }

    fn finish(&self, staged: &Staged, path: &Path) -> Result<(), Trouble> {
        staged.file.sync_all()?;
        self.publish(&staged.path, path, |from, to| fs::rename(from, to)).map(|_| ())
    }

    /// Gives a staged file its name by `name_it`, and makes the name durable.
    fn publish(
        &self,
        staged: &Path,
        path: &Path,
        name_it: impl Fn(&Path, &Path) -> io::Result<()>,
    ) -> Result<Put, Trouble> {
        let mut tries = 0;
        let named = loop {
            match self.make_parents(path).and_then(|()| name_it(staged, path)) {
                // A folder on the way was empty and was removed before there was something in it.
                Err(e) if e.kind() == ErrorKind::NotFound && tries < NAME_TRIES => tries += 1,
                named => break named,
            }
        };
        // After a rename it has no other name; else the second one is not needed any more.
        let _ = fs::remove_file(staged);
        match named {
            Ok(()) => {
                if let Some(folder) = path.parent() {
                    self.sync_folder(folder)?;
                }
                Ok(Put::Written)
            }
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(Put::Refused),
            Err(e) => Err(e.into()),
        }
    }

    fn put_new(&self, path: &Path, bytes: Bytes) -> Result<Put, Trouble> {
        if path.exists() {
            self.settle_folder(path)?;
            return Ok(Put::Refused);
        }
        let staged = self.stage(&Payload::from(bytes))?;
        self.publish(&staged, path, |from, to| fs::hard_link(from, to))
    }

    fn replace(&self, path: &Path, expected: Option<&Version>, bytes: Bytes) -> Result<Put, Trouble> {
        let staged = self.stage(&Payload::from(bytes))?;
        let guard = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(self.root.join(SCRATCH).join("replace.lock"))?;
        guard.lock()?;
        let found = self.read(path)?;
        if found.as_deref().map(version).as_ref() != expected {
            let _ = fs::remove_file(&staged);
            return Ok(Put::Refused);
        }
        self.publish(&staged, path, |from, to| fs::rename(from, to))
    }

    fn delete(&self, keys: &[String]) -> Result<(), Trouble> {
        let mut folders = BTreeSet::new();
        for key in keys {
            let path = self.root.join(key);
            if absent(fs::remove_file(&path))?.is_some() {
                folders.extend(path.parent().map(Path::to_path_buf));
            }
        }
        for folder in folders {
            self.remove_empty(&folder)?;
        }
        Ok(())
    }

    /// Syncs a folder that lost files; removes it, and those above it, if nothing is left in it.
    fn remove_empty(&self, folder: &Path) -> Result<(), Trouble> {
        let mut folder = folder;
        while folder != self.root && fs::remove_dir(folder).is_ok() {
            match folder.parent() {
                Some(above) => folder = above,
                None => return Ok(()),
            }
        }
        match absent(File::open(folder))? {
            Some(file) => Ok(file.sync_all()?),
            None => Ok(()),
        }
    }

    fn folder(&self, folder: &Path, prefix: &str) -> Result<Folder, Trouble> {
        let mut found = Folder::default();
        let Some(entries) = absent(fs::read_dir(folder))? else { return Ok(found) };
        for entry in entries {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if name.starts_with('.') {
                continue;
            }
            // It may be gone by now.
            let Some(meta) = absent(entry.metadata())? else { continue };
            if meta.is_dir() {
                found.folders.push(name);
            } else if meta.is_file() {
                found.objects.push(Listed { key: format!("{prefix}{name}"), size: meta.len() });
            }
        }
        found.folders.sort();
        found.objects.sort();
        Ok(found)
    }

    fn list(&self, folder: &Path, prefix: &str, into: &mut Vec<Listed>) -> Result<(), Trouble> {
        let found = self.folder(folder, prefix)?;
        into.extend(found.objects);
        for name in found.folders {
            self.list(&folder.join(&name), &format!("{prefix}{name}/"), into)?;
        }
        Ok(())
    }
}

/// A file in the making. It is gone with this value unless it got its name.
struct Staged {
    path: PathBuf,
    file: File,
}

impl Drop for Staged {
    fn drop(&mut self) {
        // After the rename there is nothing by this name.
        let _ = fs::remove_file(&self.path);
    }
}

impl Scratch {
    fn make(all: &Path) -> Result<Self, Trouble> {
        loop {
            let folder = all.join(SystemRandom.nonce());
            fs::create_dir(&folder)?;
            let path = folder.join(LOCK);
            // A process that cleans up may take the folder before it is locked.
            let made = OpenOptions::new().write(true).create_new(true).open(&path);
            let Some(file) = absent(made)? else { continue };
            file.lock()?;
            if path.exists() {
                return Ok(Self { folder, next: AtomicU64::new(0), _lock: file });
            }
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Best effort: what stays is removed by the next process.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Removes what processes that are no more left behind. Whatever fails is left to the next.
fn clean(all: &Path) {
    let Ok(entries) = fs::read_dir(all) else { return };
    for folder in entries.flatten().map(|e| e.path()).filter(|p| p.is_dir()) {
        let Ok(file) = OpenOptions::new().write(true).open(folder.join(LOCK)) else {
            // Not locked yet, or already being removed; an empty one is nobody's.
            let _ = fs::remove_dir(&folder);
            continue;
        };
        if file.try_lock().is_ok() {
            let _ = fs::remove_dir_all(&folder);
        }
    }
}

impl Store for FsStore {
    fn url(&self) -> &str {
        &self.0.url
    }

    fn get<'a>(&'a self, key: &'a str) -> StoreFuture<'a, Option<Bytes>> {
        self.run_key("get", key, |inner, path| inner.read(&path))
    }

    fn get_versioned<'a>(&'a self, key: &'a str) -> StoreFuture<'a, Option<(Bytes, Version)>> {
        self.run_key("get", key, |inner, path| {
            Ok(inner.read(&path)?.map(|bytes| {
                let version = version(&bytes);
                (bytes, version)
            }))
        })
    }

    fn get_range<'a>(&'a self, key: &'a str, offset: u64, length: u64) -> StoreFuture<'a, Option<Bytes>> {
        self.run_key("get", key, move |_, path| {
            let Some(mut file) = absent(File::open(path))? else { return Ok(None) };
            let size = file.metadata()?.len();
            if offset.checked_add(length).is_none_or(|end| end > size) {
                let message =
                    format!("{length} bytes from {offset} were asked for, but the object has {size} bytes");
                return Err(Trouble { kind: StoreErrorKind::Failed, message });
            }
            let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
            file.seek(SeekFrom::Start(offset))?;
            file.read_exact(&mut bytes)?;
            Ok(Some(Bytes::from(bytes)))
        })
    }

    fn head<'a>(&'a self, key: &'a str) -> StoreFuture<'a, Option<u64>> {
        self.run_key("head", key, |inner, path| {
            let found = absent(fs::metadata(&path))?.filter(fs::Metadata::is_file);
            if found.is_some() {
                inner.settle_folder(&path)?;
            }
            Ok(found.map(|meta| meta.len()))
        })
    }

    fn put_new<'a>(&'a self, key: &'a str, bytes: Bytes) -> StoreFuture<'a, Put> {
        self.run_key("create", key, move |inner, path| inner.put_new(&path, bytes))
    }

    fn put<'a>(&'a self, key: &'a str, payload: Payload) -> StoreFuture<'a, ()> {
        self.run_key("put", key, move |inner, path| {
            let staged = inner.stage(&payload)?;
            inner.publish(&staged, &path, |from, to| fs::rename(from, to)).map(|_| ())
        })
    }

    fn put_pieces<'a>(&'a self, key: &'a str, mut pieces: Pieces<'a>) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let mut staged = self.run_key("put", key, |inner, _| inner.begin()).await?;
            while let Some(piece) = pieces.next().await {
                let piece = piece?;
                let write = move |_: &Inner, _| {
                    staged.file.write_all(&piece)?;
                    Ok(staged)
                };
                staged = self.run("put", key, write).await?;
            }
            self.run("put", key, move |inner, path| inner.finish(&staged, &path)).await
        })
    }

    fn copy<'a>(&'a self, from: &'a str, to: &'a str) -> StoreFuture<'a, bool> {
        if let Err(error) = checked("copy", &self.0.url, from) {
            return Box::pin(std::future::ready(Err(error)));
        }
        let from = self.0.root.join(from);
        self.run_key("copy", to, move |inner, path| inner.copy(&from, &path))
    }

    fn replace<'a>(
        &'a self,
        key: &'a str,
        expected: Option<&'a Version>,
        bytes: Bytes,
    ) -> StoreFuture<'a, Put> {
        let expected = expected.cloned();
        self.run_key("replace", key, move |inner, path| inner.replace(&path, expected.as_ref(), bytes))
    }

    fn list<'a>(&'a self, prefix: &'a str) -> StoreFuture<'a, Vec<Listed>> {
        let below = prefix.to_owned();
        self.run_prefix(prefix, move |inner, path| {
            let mut all = Vec::new();
            inner.list(&path, &below, &mut all)?;
            all.sort();
            Ok(all)
        })
    }

    fn list_folder<'a>(&'a self, prefix: &'a str) -> StoreFuture<'a, Folder> {
        let below = prefix.to_owned();
        self.run_prefix(prefix, move |inner, path| inner.folder(&path, &below))
    }

    fn delete<'a>(&'a self, keys: &'a [String]) -> StoreFuture<'a, ()> {
        if let Some(error) = keys.iter().find_map(|key| checked("delete", &self.0.url, key).err()) {
            return Box::pin(std::future::ready(Err(error)));
        }
        let keys = keys.to_vec();
        self.run("delete", "", move |inner, _| inner.delete(&keys))
    }
}
