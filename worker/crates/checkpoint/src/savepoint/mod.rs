//! Savepoints: checkpoints that the user owns. Self-contained copies, below the job's folder or anywhere else.
//!
//! A savepoint's folder has the same names in it as a job's folder: what is copied keeps its key, so the
//! manifest is copied as it is, and the whole folder may be moved. One small file, written last and only if it is
//! absent, says that the savepoint is whole. It owns copying, checking, deleting and taking over. It does not own
//! when a savepoint is taken (`weir-coordinator`); garbage collection never looks here.

mod copy;
mod folder;
mod import;
mod origin;

use std::fmt;

use serde::{Deserialize, Serialize};
use weir_protocol::{Attempt, CheckpointId, Failure, FailureKind, JobUid, ManifestRef};

use crate::frame::{CodecError, Frame};
use crate::journal::ReadError;
use crate::manifest::Problem;
use crate::store::StoreError;

pub use copy::{Copied, copy_checkpoint, copy_patiently};
pub use folder::{Found, SavepointFolder, list_savepoints};
pub use import::{ImportAs, Imported, import};
pub use origin::{Origin, OriginError, find_origin};

const FRAME: Frame = Frame { kind: "savepoint", version: 1, limit: 64 * 1024 };

/// The name of a savepoint: 1 to 63 characters of `a-z0-9-`, safe in keys and URLs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SavepointId(String);

/// A text that is not the name of a savepoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not the id of a savepoint: 1 to 63 characters of a-z, 0-9 and '-', starting and ending with a letter or digit"
)]
pub struct BadSavepointId(String);

impl SavepointId {
    /// Checks and takes a name.
    ///
    /// # Errors
    /// [`BadSavepointId`] says what is allowed.
    ///
    /// ```
    /// use weir_checkpoint::savepoint::SavepointId;
    /// assert!(SavepointId::new("before-upgrade-7").is_ok());
    /// assert!(SavepointId::new("../journal").is_err());
    /// ```
    pub fn new(text: impl Into<String>) -> Result<Self, BadSavepointId> {
        let text = text.into();
        // The alphabet and the length of a job's uid.
        match JobUid::new(text.clone()) {
            Ok(_) => Ok(Self(text)),
            Err(_) => Err(BadSavepointId(text)),
        }
    }

    /// A name that nobody has used: the time in microseconds since the Unix epoch, and something random.
    #[must_use]
    pub fn generated(at_us: u64, random: u64) -> Self {
        Self(format!("sp-{}-{:08x}", at_us / 1_000_000, random & 0xffff_ffff))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for SavepointId {
    type Error = BadSavepointId;
    fn try_from(text: String) -> Result<Self, BadSavepointId> {
        Self::new(text)
    }
}

impl std::str::FromStr for SavepointId {
    type Err = BadSavepointId;
    fn from_str(text: &str) -> Result<Self, BadSavepointId> {
        Self::new(text)
    }
}

impl From<SavepointId> for String {
    fn from(id: SavepointId) -> Self {
        id.0
    }
}

impl fmt::Display for SavepointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the file says that makes a folder a savepoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Savepoint {
    /// Its name when it was made.
    pub id: SavepointId,
    /// The job that it is of.
    pub job: JobUid,
    /// The checkpoint that it is a copy of.
    pub checkpoint: CheckpointId,
    /// Under which attempt that was taken.
    pub attempt: Attempt,
    /// When that was completed, microseconds since the Unix epoch.
    pub completed_us: u64,
    /// When the copy was whole, microseconds since the Unix epoch.
    pub copied_us: u64,
    /// The manifest, by its key in the savepoint's folder.
    pub manifest: ManifestRef,
    /// Data objects.
    pub objects: u64,
    /// Bytes of manifest and data objects.
    pub bytes: u64,
}

impl Savepoint {
    /// Whether both are copies of the same checkpoint: then they are equal but for their times.
    pub fn same(&self, other: &Self) -> bool {
        let timeless = |s: &Self| Self { completed_us: 0, copied_us: 0, ..s.clone() };
        timeless(self) == timeless(other)
    }
}

/// The bytes of the file.
///
/// # Errors
/// [`CodecError::TooLarge`].
pub fn encode_savepoint(savepoint: &Savepoint) -> Result<bytes::Bytes, CodecError> {
    FRAME.encode(savepoint)
}

/// What the bytes of the file say.
///
/// # Errors
/// Anything that [`encode_savepoint`] would not have written.
pub fn decode_savepoint(bytes: &[u8]) -> Result<Savepoint, CodecError> {
    FRAME.decode(bytes)
}

/// Why a savepoint could not be made, read, taken over or deleted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SavepointError {
    /// An object is not what it must be, or can't be looked at.
    #[error(transparent)]
    Problem(#[from] Problem),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The name is taken by a savepoint of something else.
    #[error(
        "savepoint {id} is there already: it is of checkpoint {checkpoint} of job {job}. Choose another id, or delete it first"
    )]
    Taken {
        /// The name.
        id: String,
        /// Of which job.
        job: JobUid,
        /// Of which checkpoint.
        checkpoint: CheckpointId,
    },
    /// There is none.
    #[error("{0} holds no savepoint")]
    Absent(String),
    /// It is the folder of a job, not of a savepoint.
    #[error("{0} is the folder of a job, with its journal: not of a savepoint")]
    Job(String),
    /// It can't be written or read as what it is.
    #[error("{place}: {why}")]
    Codec {
        /// Which file.
        place: String,
        /// What is wrong.
        why: CodecError,
    },
}

impl SavepointError {
    /// Whether trying again may help.
    pub fn is_unknown(&self) -> bool {
        match self {
            Self::Store(error) => error.is_unknown(),
            Self::Problem(problem) => problem.is_unknown(),
            Self::Taken { .. } | Self::Absent(_) | Self::Job(_) | Self::Codec { .. } => false,
        }
    }
}

impl From<SavepointError> for Failure {
    fn from(error: SavepointError) -> Self {
        match error {
            SavepointError::Problem(problem) => problem.into(),
            SavepointError::Store(error) => Self::new(FailureKind::Store, error.to_string()),
            error @ (SavepointError::Taken { .. } | SavepointError::Absent(_) | SavepointError::Job(_)) => {
                Self::new(FailureKind::Config, error.to_string())
            }
            error @ SavepointError::Codec { .. } => {
                Self::new(FailureKind::StateUnreadable, error.to_string())
            }
        }
    }
}

/// Why a place to start from can't be read, as far as the journal there is to blame.
impl From<ReadError> for OriginError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Store(error) => Self::Savepoint(SavepointError::Store(error)),
            error => Self::Journal(error.to_string()),
        }
    }
}
