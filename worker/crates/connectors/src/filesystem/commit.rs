//! Making files visible, once and for all, however often it is asked.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use weir_dataflow::{Committer, IoFuture};
use weir_protocol::{Failure, FailureKind};

use super::disk::{hidden, sync_folder};
use super::s3::{self, S3Place, Uploaded};

/// What a checkpoint remembers of a file that is to become visible.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Handle {
    /// Bytes.
    pub(super) size: u64,
    /// Digest of the bytes, as hexadecimal digits.
    pub(super) blake3: String,
    pub(super) place: HandlePlace,
}

/// Where the file lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum HandlePlace {
    /// In a folder, with the name that it is to get; until then under the hidden form of it.
    Folder(String, String),
    /// In an upload on S3.
    Upload(Uploaded),
}

impl Handle {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("text and numbers can be written as JSON")
    }

    /// Reads and checks a handle of a manifest.
    fn parse(bytes: &[u8]) -> Result<Self, Failure> {
        let wrong = |e: String| {
            let text = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
            let message =
                format!("the checkpoint's sink handle {text:?} was not written by a file sink: {e}");
            Failure::new(FailureKind::StateIncompatible, message)
        };
        let handle: Self = serde_json::from_slice(bytes).map_err(|e| wrong(e.to_string()))?;
        match &handle.place {
            HandlePlace::Folder(folder, name)
                if !Path::new(folder).is_absolute()
                    || name.is_empty()
                    || name.contains('/')
                    || name.starts_with('.') =>
            {
                Err(wrong("it does not hold a plain name in an absolute folder".to_owned()))
            }
            _ => Ok(handle),
        }
    }
}

/// Commits the files of one table.
pub(super) struct FileCommitter {
    pub(super) io: tokio::runtime::Handle,
    /// If the table is on S3.
    pub(super) s3: Option<S3Place>,
}

impl Committer for FileCommitter {
    fn commit(&self, handles: Vec<Vec<u8>>) -> IoFuture<()> {
        let (io, s3) = (self.io.clone(), self.s3.clone());
        Box::pin(async move {
            let (mut uploads, mut files) = (Vec::new(), Vec::new());
            for handle in &handles {
                let Handle { size, blake3, place } = Handle::parse(handle)?;
                match place {
                    HandlePlace::Upload(upload) => uploads.push((upload, size)),
                    HandlePlace::Folder(folder, name) => files.push(LocalFile { folder, name, size, blake3 }),
                }
            }
            match &s3 {
                Some(place) => s3::commit(place, uploads).await?,
                None if uploads.is_empty() => {}
                None => {
                    let message = "a checkpoint has files for S3, but the table is not there any more: commit them with the old path first";
                    return Err(Failure::new(FailureKind::Config, message));
                }
            }
            let done = io.spawn_blocking(move || commit_all(&files)).await;
            done.unwrap_or_else(|e| {
                Err(Failure::new(FailureKind::Bug, format!("the commit of files ended: {e}")))
            })
        })
    }
}

struct LocalFile {
    folder: String,
    name: String,
    size: u64,
    blake3: String,
}

fn commit_all(files: &[LocalFile]) -> Result<(), Failure> {
    for file in files {
        commit(file)?;
    }
    let mut folders: Vec<_> = files.iter().map(|f| f.folder.as_str()).collect();
    folders.sort_unstable();
    folders.dedup();
    for folder in folders {
        sync_folder(Path::new(folder)).map_err(|e| failed(Path::new(folder), &e))?;
    }
    Ok(())
}

/// Gives one file its name if it does not have it yet.
fn commit(file: &LocalFile) -> Result<(), Failure> {
    let folder = PathBuf::from(&file.folder);
    let (temporary, path) = (folder.join(hidden(&file.name)), folder.join(&file.name));
    match std::fs::hard_link(&temporary, &path) {
        Ok(()) => {}
        Err(e) if e.kind() == ErrorKind::AlreadyExists => verify(file, &path)?,
        Err(e) if e.kind() == ErrorKind::NotFound => return committed_before(file, &path),
        // A file system without hard links. Only this job makes this name, so looking first is safe.
        Err(e) if matches!(e.kind(), ErrorKind::Unsupported | ErrorKind::PermissionDenied) => {
            if path.try_exists().map_err(|e| failed(&path, &e))? {
                verify(file, &path)?;
            } else {
                return std::fs::rename(&temporary, &path).map_err(|e| failed(&path, &e));
            }
        }
        Err(e) => return Err(failed(&path, &e)),
    }
    match std::fs::remove_file(&temporary) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(failed(&temporary, &e)),
        _ => Ok(()),
    }
}

/// The hidden file is gone: fine if an earlier commit gave it its name.
fn committed_before(file: &LocalFile, path: &Path) -> Result<(), Failure> {
    match path.try_exists() {
        Ok(true) => verify(file, path),
        Ok(false) => {
            let message = format!(
                "{}: neither this file nor the hidden one that it is made of is there: rows of a completed checkpoint are lost, or somebody took the file away before its commit was recorded",
                path.display()
            );
            Err(Failure::new(FailureKind::SinkDataLost, message))
        }
        Err(e) => Err(failed(path, &e)),
    }
}

/// Whether the visible file is the one of the handle.
fn verify(file: &LocalFile, path: &Path) -> Result<(), Failure> {
    let mut hasher = blake3::Hasher::new();
    let size = std::fs::File::open(path)
        .and_then(|mut open| std::io::copy(&mut open, &mut hasher))
        .map_err(|e| failed(path, &e))?;
    if size == file.size && hasher.finalize().to_hex().as_str() == file.blake3 {
        return Ok(());
    }
    let message = format!(
        "{}: the file is not the one that the checkpoint names ({size} bytes instead of {}, or other bytes): somebody changed it",
        path.display(),
        file.size
    );
    Err(Failure::new(FailureKind::SinkDataLost, message))
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(FailureKind::Sink, format!("{}: {error}", path.display()))
}
