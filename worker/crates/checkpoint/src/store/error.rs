//! What can go wrong with an operation on a store, and which keys are allowed.

/// What an error says about the operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StoreErrorKind {
    /// No clear answer (timeout, reset, conflict, 5xx): a write may or may not be done, now or later.
    /// Trying again may help.
    Unknown,
    /// The bucket or the root folder is not there.
    NotFound,
    /// Not allowed, or not with these credentials.
    Denied,
    /// The key or URL is not one that this store takes.
    Invalid,
    /// Definitely not done, for another reason (disk full, bad request, object too short).
    Failed,
}

/// An operation on a store that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{operation} {place}: {message}")]
pub struct StoreError {
    /// What is known of the outcome.
    pub kind: StoreErrorKind,
    /// What was tried: `get`, `create`, …
    pub operation: &'static str,
    /// URL of the object; never holds a credential.
    pub place: String,
    /// What was seen.
    pub message: String,
}

impl StoreError {
    /// An error about the object `key` below `url`.
    pub fn new(
        kind: StoreErrorKind,
        operation: &'static str,
        url: &str,
        key: &str,
        message: impl Into<String>,
    ) -> Self {
        let slash = if key.is_empty() || url.ends_with('/') { "" } else { "/" };
        Self { kind, operation, place: format!("{url}{slash}{key}"), message: message.into() }
    }

    /// Whether the operation may have been done all the same.
    pub fn is_unknown(&self) -> bool {
        self.kind == StoreErrorKind::Unknown
    }
}

const MAX_KEY: usize = 512;
const MAX_SEGMENT: usize = 200;

/// Says what is wrong with a key, if anything is.
///
/// # Errors
/// A sentence that says what is allowed.
///
/// ```
/// assert!(weir_checkpoint::store::check_key("manifest/a000001/c000007-9f").is_ok());
/// assert!(weir_checkpoint::store::check_key("data/../../etc/passwd").is_err());
/// ```
pub fn check_key(key: &str) -> Result<(), String> {
    if key.len() > MAX_KEY {
        return Err(format!("a key has at most {MAX_KEY} bytes; this one has {}", key.len()));
    }
    for segment in key.split('/') {
        check_segment(segment).map_err(|why| format!("{key:?} is not a key: {why}"))?;
    }
    Ok(())
}

/// Says what is wrong with a prefix for listing, if anything is: it is empty or a key followed by `/`.
///
/// # Errors
/// A sentence that says what is allowed.
pub fn check_prefix(prefix: &str) -> Result<(), String> {
    match prefix.strip_suffix('/') {
        Some(folder) => check_key(folder),
        None if prefix.is_empty() => Ok(()),
        None => Err(format!("{prefix:?} is not a prefix: it is empty or ends with '/'")),
    }
}

fn check_segment(segment: &str) -> Result<(), String> {
    if segment.is_empty() {
        return Err("it is empty, begins or ends with '/', or has '//'".to_owned());
    }
    if segment.starts_with('.') {
        return Err(format!("the part {segment:?} begins with a dot"));
    }
    if segment.len() > MAX_SEGMENT {
        return Err(format!("a part between slashes has more than {MAX_SEGMENT} bytes"));
    }
    match segment.chars().find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '.' | '_' | '-')) {
        Some(c) => Err(format!("{c:?} is not one of A-Z a-z 0-9 . _ - /")),
        None => Ok(()),
    }
}

/// The check of a key as each store does it first.
pub(crate) fn checked(operation: &'static str, url: &str, key: &str) -> Result<(), StoreError> {
    check_key(key).map_err(|why| StoreError::new(StoreErrorKind::Invalid, operation, url, "", why))
}

/// The check of a prefix as each store does it first.
pub(crate) fn checked_prefix(operation: &'static str, url: &str, prefix: &str) -> Result<(), StoreError> {
    check_prefix(prefix).map_err(|why| StoreError::new(StoreErrorKind::Invalid, operation, url, "", why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stay_below_the_root_and_within_the_alphabet() {
        for good in ["a", "a/b-c_D.9", "journal/00000000000000000007.rec", &"x".repeat(200)] {
            assert_eq!(check_key(good), Ok(()), "{good}");
        }
        let long = "x".repeat(201);
        let deep = "abc/".repeat(128) + "a";
        for bad in [
            "", "/", "/a", "a/", "a//b", "..", "a/../b", ".hidden", "a/.b", "ä", "a b", "a\\b", "a\0", &long,
            &deep,
        ] {
            assert!(check_key(bad).is_err(), "{bad}");
        }
        assert_eq!(check_prefix(""), Ok(()));
        assert_eq!(check_prefix("data/a000001/"), Ok(()));
        assert!(check_prefix("data").is_err() && check_prefix("/").is_err() && check_prefix("../").is_err());
    }
}
