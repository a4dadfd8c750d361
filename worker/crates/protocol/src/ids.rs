//! Identities. Each is a type of its own, so that one can't be passed for another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// A job uid outside its alphabet or length.
    #[error(
        "a job uid is 1 to 63 characters of a-z, 0-9 and '-', starting and ending with a letter or digit; got {0:?}"
    )]
    JobUid(String),
    /// Not 16 hexadecimal digits.
    #[error("{what} is 16 hexadecimal digits; got {text:?}")]
    Hex {
        /// Which id was asked for.
        what: &'static str,
        /// What was given.
        text: String,
    },
}

/// The identity of a job over its whole life: the folder of everything it stores.
///
/// On Kubernetes the UID of the `StreamJob`; for `weir run` derived from the job's name.
/// Always 1 to 63 characters of `a-z0-9-`, so it is safe in keys, names and labels.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobUid(String);

impl JobUid {
    /// Checks and takes a uid.
    ///
    /// # Errors
    /// [`IdError::JobUid`] if the text is outside the alphabet or length.
    pub fn new(text: impl Into<String>) -> Result<Self, IdError> {
        let text = text.into();
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let outer = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let bytes = text.as_bytes();
        if bytes.len() <= 63 && bytes.iter().all(|&b| inner(b)) && outer(bytes.first()) && outer(bytes.last())
        {
            Ok(Self(text))
        } else {
            Err(IdError::JobUid(text))
        }
    }

    /// The text of the uid.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for JobUid {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        Self::new(text)
    }
}

impl From<JobUid> for String {
    fn from(uid: JobUid) -> Self {
        uid.0
    }
}

impl fmt::Display for JobUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// The number after this one.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// One incarnation of the coordinator's authority, claimed in the journal. Starts at 1;
    /// a higher attempt fences every lower one.
    Attempt
}
number! {
    /// One deployment of all subtasks under an attempt. Starts at 1 in each attempt.
    Execution
}
number! {
    /// A checkpoint's number. Rises strictly over the whole life of the job; starts at 1.
    CheckpointId
}
number! {
    /// A worker process within an attempt, numbered by the coordinator as workers register.
    WorkerId
}

macro_rules! hash_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(pub u64);

        impl $name {
            /// The id of what a description says. Equal descriptions give equal ids, on every
            /// machine and in every version (xxh3-64 of the UTF-8 bytes).
            pub fn of(description: &str) -> Self {
                Self(xxhash_rust::xxh3::xxh3_64(description.as_bytes()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:016x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:016x})", stringify!($name), self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                let plain = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
                plain
                    .then(|| u64::from_str_radix(text, 16).ok())
                    .flatten()
                    .map(Self)
                    .ok_or_else(|| IdError::Hex { what: $what, text: text.to_owned() })
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }
    };
}

hash_id! {
    /// A node of the job graph: a chain of transforms that run together. It is the id of the
    /// chain's first transform.
    VertexId, "a vertex id"
}
hash_id! {
    /// The logic of one dataflow node, and the owner of its state. Stable under edits of the
    /// job that do not concern it, so that state survives them.
    TransformId, "a transform id"
}

/// One parallel instance of a vertex.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SubtaskId {
    /// The vertex.
    pub vertex: VertexId,
    /// `0 .. parallelism` of the vertex.
    pub index: u32,
}

impl fmt::Display for SubtaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.vertex, self.index)
    }
}

/// Under whose authority, and for which deployment, something is said. Every control message
/// and every data frame carries one; receivers refuse anything older than their own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// The job.
    pub job: JobUid,
    /// The coordinator's attempt.
    pub attempt: Attempt,
    /// The deployment under that attempt.
    pub execution: Execution,
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}.{}", self.job, self.attempt, self.execution)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_uid_is_safe_in_keys_and_labels() {
        for good in ["a", "hot-items", "3f", &"x".repeat(63)] {
            assert!(JobUid::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a/b", "..", "a.b", "ä", &"x".repeat(64)] {
            assert!(JobUid::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn hash_ids_print_and_parse_as_16_hex_digits() {
        let id = TransformId::of("source bid");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(TransformId(0x1f).to_string(), "000000000000001f");
        for bad in ["", "1f", "+00000000000001f", "000000000000001g"] {
            assert!(bad.parse::<TransformId>().is_err(), "{bad}");
        }
    }
}
