//! The outer form of every small file: one line of header, then JSON.
//!
//! `weir-<kind>/<version> <CRC-32 of the body, 8 hexadecimal digits> <length of the body>\n<body>`
//!
//! Decoding is strict: the value that is read must encode to the very same bytes, so there is one
//! form of each value, no unknown field and no room for anything else.

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

/// Why bytes are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum CodecError {
    /// The header is not one of ours.
    #[error("not a weir-{0} file")]
    Header(&'static str),
    /// Written by a version that this one does not know.
    #[error(
        "a weir-{kind} file of version {version}, but this program reads version {known}: use a newer one"
    )]
    Newer {
        /// What it is.
        kind: &'static str,
        /// The file's.
        version: u32,
        /// Ours.
        known: u32,
    },
    /// Shorter or longer than it says.
    #[error("the file says that its body has {said} bytes, but it has {found}")]
    Length {
        /// By the header.
        said: u64,
        /// In fact.
        found: u64,
    },
    /// Bytes changed.
    #[error("checksum mismatch")]
    Checksum,
    /// The body does not say what it should.
    #[error("{0}")]
    Body(String),
    /// More than is allowed.
    #[error("{size} bytes, but at most {limit} are allowed")]
    TooLarge {
        /// Bytes.
        size: u64,
        /// Bytes.
        limit: u64,
    },
}

/// A kind of file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame {
    pub(crate) kind: &'static str,
    pub(crate) version: u32,
    pub(crate) limit: usize,
}

impl Frame {
    pub(crate) fn encode<T: Serialize>(self, value: &T) -> Result<Bytes, CodecError> {
        let body = serde_json::to_vec(value).map_err(|e| CodecError::Body(e.to_string()))?;
        let crc = crc32fast::hash(&body);
        let mut out = format!("weir-{}/{} {crc:08x} {}\n", self.kind, self.version, body.len()).into_bytes();
        out.extend_from_slice(&body);
        self.fits(out.len())?;
        Ok(Bytes::from(out))
    }

    pub(crate) fn decode<T: Serialize + DeserializeOwned>(self, bytes: &[u8]) -> Result<T, CodecError> {
        self.fits(bytes.len())?;
        let (header, body) = self.header(bytes)?;
        let [crc, length] = header;
        let said: u64 = length.parse().map_err(|_| CodecError::Header(self.kind))?;
        if said != body.len() as u64 {
            return Err(CodecError::Length { said, found: body.len() as u64 });
        }
        if format!("{:08x}", crc32fast::hash(body)) != crc {
            return Err(CodecError::Checksum);
        }
        let value = serde_json::from_slice(body).map_err(|e| CodecError::Body(e.to_string()))?;
        if self.encode(&value)? != bytes {
            return Err(CodecError::Body("not in the one form in which this program writes it".to_owned()));
        }
        Ok(value)
    }

    /// The fields of the header line after the version, and what follows the line.
    pub(crate) fn header<const N: usize>(self, bytes: &[u8]) -> Result<([&str; N], &[u8]), CodecError> {
        let not_ours = || CodecError::Header(self.kind);
        let end = bytes.iter().take(256).position(|b| *b == b'\n').ok_or_else(not_ours)?;
        let line = std::str::from_utf8(&bytes[..end]).map_err(|_| not_ours())?;
        let rest = line
            .strip_prefix("weir-")
            .and_then(|l| l.strip_prefix(self.kind))
            .and_then(|l| l.strip_prefix('/'))
            .ok_or_else(not_ours)?;
        let (version, fields) = rest.split_once(' ').ok_or_else(not_ours)?;
        let version: u32 = version.parse().map_err(|_| not_ours())?;
        if version != self.version {
            return Err(CodecError::Newer { kind: self.kind, version, known: self.version });
        }
        let fields: Vec<&str> = fields.split(' ').collect();
        Ok((fields.try_into().map_err(|_| not_ours())?, &bytes[end + 1..]))
    }

    fn fits(self, size: usize) -> Result<(), CodecError> {
        if size <= self.limit {
            Ok(())
        } else {
            Err(CodecError::TooLarge { size: size as u64, limit: self.limit as u64 })
        }
    }
}
