//! What opens a connection: which protocol, which job. Pure.
//!
//! The dialler says `"WEIRXCH" version(1) length(1) job uid`; the other side answers with the first eight bytes if it
//! takes the connection, and with the reason in place of the version if not.

use weir_protocol::JobUid;

const NAME: &[u8; 7] = b"WEIRXCH";
/// The version of what is said over a connection.
pub(super) const VERSION: u8 = 1;
/// Bytes of a hello before the uid.
pub(super) const FIXED: usize = NAME.len() + 2;
/// Bytes of an answer.
pub(super) const ANSWER: usize = NAME.len() + 1;

const OTHER_VERSION: u8 = 0xff;
const OTHER_JOB: u8 = 0xfe;

/// Why a connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// Something else altogether.
    #[error("the peer does not speak the exchange of weir")]
    Stranger,
    /// Another version of the program.
    #[error("the peer speaks another version of the exchange; all workers of a job must be of one version")]
    Version,
    /// Another job.
    #[error("the peer is of another job")]
    Job,
}

/// What a dialler says first.
pub(super) fn encode(job: &JobUid) -> Vec<u8> {
    let uid = job.as_str().as_bytes();
    let mut bytes = NAME.to_vec();
    bytes.push(VERSION);
    // A uid has at most 63 bytes.
    bytes.push(uid.len() as u8);
    bytes.extend_from_slice(uid);
    bytes
}

/// Looks at the fixed part of a hello: how long the uid behind it is.
pub(super) fn decode_fixed(bytes: &[u8; FIXED]) -> Result<usize, Refused> {
    if !bytes.starts_with(NAME) {
        return Err(Refused::Stranger);
    }
    if bytes[NAME.len()] != VERSION {
        return Err(Refused::Version);
    }
    match usize::from(bytes[NAME.len() + 1]) {
        length @ 1..=63 => Ok(length),
        _ => Err(Refused::Stranger),
    }
}

/// Whether the uid of a hello is that of this job.
pub(super) fn check_job(uid: &[u8], job: &JobUid) -> Result<(), Refused> {
    if uid == job.as_str().as_bytes() { Ok(()) } else { Err(Refused::Job) }
}

/// The answer to a hello.
pub(super) fn encode_answer(answer: Result<(), Refused>) -> [u8; ANSWER] {
    let mut bytes = [0; ANSWER];
    bytes[..NAME.len()].copy_from_slice(NAME);
    bytes[NAME.len()] = match answer {
        Ok(()) => VERSION,
        Err(Refused::Job) => OTHER_JOB,
        Err(Refused::Version | Refused::Stranger) => OTHER_VERSION,
    };
    bytes
}

/// Reads the answer to a hello.
pub(super) fn decode_answer(bytes: &[u8; ANSWER]) -> Result<(), Refused> {
    match bytes.strip_prefix(NAME.as_slice()) {
        Some([VERSION]) => Ok(()),
        Some([OTHER_JOB]) => Err(Refused::Job),
        Some(_) => Err(Refused::Version),
        None => Err(Refused::Stranger),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(uid: &str) -> JobUid {
        JobUid::new(uid).unwrap()
    }

    fn check(bytes: &[u8]) -> Result<(), Refused> {
        let (fixed, uid) = bytes.split_first_chunk().ok_or(Refused::Stranger)?;
        assert_eq!(decode_fixed(fixed)?, uid.len());
        check_job(uid, &job("hot-items"))
    }

    #[test]
    fn peers_of_the_same_job_and_version_greet_each_other() {
        assert_eq!(check(&encode(&job("hot-items"))), Ok(()));
        assert_eq!(check(&encode(&job("hot-item"))), Err(Refused::Job));
        let mut other = encode(&job("hot-items"));
        other[7] += 1;
        assert_eq!(check(&other), Err(Refused::Version));
        assert_eq!(check(b"GET / HTTP/1.1\r\n"), Err(Refused::Stranger));
        for answer in [Ok(()), Err(Refused::Job), Err(Refused::Version)] {
            assert_eq!(decode_answer(&encode_answer(answer)), answer);
        }
        assert_eq!(decode_answer(b"HTTP/1.1"), Err(Refused::Stranger));
    }
}
