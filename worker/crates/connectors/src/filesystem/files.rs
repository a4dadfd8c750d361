//! Files to read, wherever they are: listing and reading ranges.

use std::future::Future;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use bytes::Bytes;
use weir_protocol::{Failure, FailureKind};

/// A file as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileInfo {
    /// The whole path, as the split's id.
    pub(crate) path: String,
    /// Bytes.
    pub(crate) size: u64,
    /// Changes when the content does: time of change, or the store's tag.
    pub(crate) version: String,
}

/// An answer that comes later.
pub(crate) type Later<'a, T> = Pin<Box<dyn Future<Output = Result<T, ReadError>> + Send + 'a>>;

/// Why files can't be read.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// Trying again may help: it is waited out.
    Passing(String),
    /// It will not.
    Final(String),
}

impl ReadError {
    /// As the end of the execution.
    pub(crate) fn failure(self) -> Failure {
        match self {
            Self::Passing(message) | Self::Final(message) => Failure::new(FailureKind::Source, message),
        }
    }
}

/// A place with files.
pub(crate) trait Files: Send + Sync {
    /// All files of the table in the order of their paths, hidden ones (`.`, `_`) left out.
    fn list(&self) -> Later<'_, Vec<FileInfo>>;

    /// The file as it is now; `None` if it is gone.
    fn info<'a>(&'a self, path: &'a str) -> Later<'a, Option<FileInfo>>;

    /// Bytes from `start`, `length` of them or up to the file's end.
    fn read<'a>(&'a self, path: &'a str, start: u64, length: usize) -> Later<'a, Bytes>;
}

/// Files of this machine.
pub(crate) struct LocalFiles {
    root: PathBuf,
}

impl LocalFiles {
    /// A file, or a folder with all that is below it.
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }
}

impl Files for LocalFiles {
    fn list(&self) -> Later<'_, Vec<FileInfo>> {
        let root = self.root.clone();
        blocking(move || list_below(&root))
    }

    fn info<'a>(&'a self, path: &'a str) -> Later<'a, Option<FileInfo>> {
        let path = PathBuf::from(path);
        blocking(move || match std::fs::metadata(&path) {
            Ok(meta) => Ok(Some(info_of(&path, &meta)?)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(failed(&path, &e)),
        })
    }

    fn read<'a>(&'a self, path: &'a str, start: u64, length: usize) -> Later<'a, Bytes> {
        let path = PathBuf::from(path);
        blocking(move || {
            let read = || {
                let mut file = std::fs::File::open(&path)?;
                file.seek(SeekFrom::Start(start))?;
                let mut bytes = Vec::with_capacity(length);
                file.take(length as u64).read_to_end(&mut bytes)?;
                Ok(Bytes::from(bytes))
            };
            read().map_err(|e| failed(&path, &e))
        })
    }
}

fn blocking<'a, T: Send + 'static>(work: impl FnOnce() -> Result<T, ReadError> + Send + 'static) -> Later<'a, T> {
    Box::pin(async move {
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result,
            Err(e) => Err(ReadError::Final(format!("reading was stopped: {e}"))),
        }
    })
}

fn failed(path: &Path, error: &std::io::Error) -> ReadError {
    ReadError::Final(format!("{}: {error}", path.display()))
}

fn list_below(root: &Path) -> Result<Vec<FileInfo>, ReadError> {
    let mut files = Vec::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(path) = waiting.pop() {
        // What vanishes between the listing and the look at it is as good as never seen.
        let meta = match std::fs::metadata(&path) {
            Ok(meta) => meta,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && path != root => continue,
            Err(e) => return Err(failed(&path, &e)),
        };
        if meta.is_file() {
            files.push(info_of(&path, &meta)?);
        } else if meta.is_dir() {
            let entries = match std::fs::read_dir(&path) {
                Ok(entries) => entries,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound && path != root => continue,
                Err(e) => return Err(failed(&path, &e)),
            };
            for entry in entries {
                let entry = entry.map_err(|e| failed(&path, &e))?;
                if !is_hidden(&entry.file_name().to_string_lossy()) {
                    waiting.push(entry.path());
                }
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

/// Whether readers pass over a file or folder of this name.
pub(crate) fn is_hidden(name: &str) -> bool {
    name.starts_with('.') || name.starts_with('_')
}

fn info_of(path: &Path, meta: &std::fs::Metadata) -> Result<FileInfo, ReadError> {
    let text = path
        .to_str()
        .ok_or_else(|| ReadError::Final(format!("{}: the name is not UTF-8", path.display())))?;
    let version = format!("{}.{:09}", meta.mtime(), meta.mtime_nsec());
    Ok(FileInfo { path: text.to_owned(), size: meta.len(), version })
}
