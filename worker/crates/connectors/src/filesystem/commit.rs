//! Making files visible: a hidden file gets its name, once and for all, however often it is asked.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use weir_dataflow::{Committer, IoFuture};
use weir_protocol::{Failure, FailureKind};

use super::disk::sync_folder;

/// What a checkpoint remembers of a file that is to become visible.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Handle {
    /// The folder of both names.
    pub(super) folder: String,
    /// The hidden name.
    pub(super) temporary: String,
    /// The name that readers see.
    pub(super) name: String,
    /// Bytes.
    pub(super) size: u64,
    /// Digest of the bytes, as hexadecimal digits.
    pub(super) blake3: String,
}

impl Handle {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("text and numbers can be written as JSON")
    }

    /// Reads and checks a handle of a manifest.
    fn parse(bytes: &[u8]) -> Result<Self, Failure> {
        let wrong = |e: String| {
            let text = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
            Failure::new(FailureKind::StateIncompatible, format!("a file sink did not write the handle {text:?}: {e}"))
        };
        let handle: Self = serde_json::from_slice(bytes).map_err(|e| wrong(e.to_string()))?;
        let plain = |name: &str| !name.is_empty() && !name.contains('/') && name != "." && name != "..";
        if !plain(&handle.temporary) || !plain(&handle.name) || !Path::new(&handle.folder).is_absolute() {
            return Err(wrong("its names are not plain names in an absolute folder".to_owned()));
        }
        Ok(handle)
    }
}

/// Commits files on this machine's disks.
pub(super) struct LocalCommitter {
    io: tokio::runtime::Handle,
}

impl LocalCommitter {
    pub(super) fn new(io: tokio::runtime::Handle) -> Self {
        Self { io }
    }
}

impl Committer for LocalCommitter {
    fn commit(&self, handles: Vec<Vec<u8>>) -> IoFuture<()> {
        let io = self.io.clone();
        Box::pin(async move {
            let done = io.spawn_blocking(move || commit_all(&handles)).await;
            done.unwrap_or_else(|e| Err(Failure::new(FailureKind::Bug, format!("the commit of files ended: {e}"))))
        })
    }
}

fn commit_all(handles: &[Vec<u8>]) -> Result<(), Failure> {
    let handles = handles.iter().map(|h| Handle::parse(h)).collect::<Result<Vec<_>, _>>()?;
    for handle in &handles {
        commit(handle)?;
    }
    let mut folders: Vec<_> = handles.iter().map(|h| h.folder.as_str()).collect();
    folders.sort_unstable();
    folders.dedup();
    for folder in folders {
        sync_folder(Path::new(folder)).map_err(|e| failed(Path::new(folder), &e))?;
    }
    Ok(())
}

/// Gives one file its name if it does not have it yet.
fn commit(handle: &Handle) -> Result<(), Failure> {
    let folder = PathBuf::from(&handle.folder);
    let (temporary, path) = (folder.join(&handle.temporary), folder.join(&handle.name));
    match std::fs::hard_link(&temporary, &path) {
        Ok(()) => {}
        Err(e) if e.kind() == ErrorKind::AlreadyExists => verify(handle, &path)?,
        Err(e) if e.kind() == ErrorKind::NotFound => return committed_before(handle, &path),
        // A file system without hard links. Only this job makes this name, so looking first is safe.
        Err(e) if matches!(e.kind(), ErrorKind::Unsupported | ErrorKind::PermissionDenied) => {
            if path.try_exists().map_err(|e| failed(&path, &e))? {
                verify(handle, &path)?;
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
fn committed_before(handle: &Handle, path: &Path) -> Result<(), Failure> {
    match path.try_exists() {
        Ok(true) => verify(handle, path),
        Ok(false) => {
            let message = format!(
                "{}: neither this file nor the hidden {} that it is made of is there: rows of a completed checkpoint are lost, or somebody took the file away before its commit was recorded",
                path.display(),
                handle.temporary
            );
            Err(Failure::new(FailureKind::SinkDataLost, message))
        }
        Err(e) => Err(failed(path, &e)),
    }
}

/// Whether the visible file is the one of the handle.
fn verify(handle: &Handle, path: &Path) -> Result<(), Failure> {
    let mut hasher = blake3::Hasher::new();
    let size = std::fs::File::open(path)
        .and_then(|mut file| std::io::copy(&mut file, &mut hasher))
        .map_err(|e| failed(path, &e))?;
    if size == handle.size && hasher.finalize().to_hex().as_str() == handle.blake3 {
        return Ok(());
    }
    let message = format!(
        "{}: the file is not the one that the checkpoint names ({size} bytes instead of {}, or other bytes): somebody changed it",
        path.display(),
        handle.size
    );
    Err(Failure::new(FailureKind::SinkDataLost, message))
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(FailureKind::Sink, format!("{}: {error}", path.display()))
}
