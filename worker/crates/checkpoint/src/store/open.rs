//! From a storage URL to a store.

use std::path::PathBuf;
use std::sync::Arc;

use weir_protocol::{JobUid, StorageConfig};

use super::error::check_key;
use super::s3::{S3, S3Options};
use super::{FsStore, MemoryStore, S3Store, Store, StoreError, StoreErrorKind};

/// Opens the folder of one job: everything that it stores lies below `<url>/<uid>`.
///
/// # Errors
/// [`StoreErrorKind::Invalid`] with what is allowed if the URL is not one of ours. Nothing is read or
/// written yet, so a store that is away is noticed later.
pub async fn open(config: &StorageConfig, job: &JobUid) -> Result<Arc<dyn Store>, StoreError> {
    open_folder(config, job.as_str()).await
}

/// Opens the folder in which jobs have theirs: for checking a store and for listing jobs.
///
/// # Errors
/// As [`open`].
pub async fn open_root(config: &StorageConfig) -> Result<Arc<dyn Store>, StoreError> {
    open_folder(config, "").await
}

/// Opens the folder that another URL names, reached as `config` says (endpoint, region).
///
/// # Errors
/// As [`open`].
pub async fn open_at(config: &StorageConfig, url: &str) -> Result<Arc<dyn Store>, StoreError> {
    open_folder(&StorageConfig { url: url.trim_end_matches('/').to_owned(), ..config.clone() }, "").await
}

/// Says what is wrong with a storage URL, if anything is. Nothing is opened.
///
/// # Errors
/// [`StoreErrorKind::Invalid`] with what is allowed.
pub fn check_url(url: &str) -> Result<(), StoreError> {
    parse(url.trim_end_matches('/')).map(|_| ())
}

async fn open_folder(config: &StorageConfig, folder: &str) -> Result<Arc<dyn Store>, StoreError> {
    match parse(&config.url)? {
        Place::Memory(name) => Ok(Arc::new(MemoryStore::named(&name, folder))),
        Place::File(root) => Ok(Arc::new(FsStore::new(root.join(folder)))),
        Place::S3 { bucket, prefix } => {
            let s3 = S3::connect(S3Options {
                bucket,
                endpoint: config.endpoint.clone(),
                region: config.region.clone(),
                path_style: config.path_style,
                credentials: None,
            })
            .await;
            let parts: Vec<&str> = [prefix.as_str(), folder].into_iter().filter(|p| !p.is_empty()).collect();
            Ok(Arc::new(S3Store::new(s3, &parts.join("/"))))
        }
    }
}

/// A storage URL in its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Memory(String),
    File(PathBuf),
    S3 { bucket: String, prefix: String },
}

pub(super) fn parse(url: &str) -> Result<Place, StoreError> {
    let wrong = |why: &str| {
        let hint = "write s3://bucket/prefix, file:///folder or memory://name";
        StoreError {
            kind: StoreErrorKind::Invalid,
            operation: "open",
            place: without_credentials(url),
            message: format!("{why}; {hint}"),
        }
    };
    let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("not a storage URL"))?;
    match scheme {
        "memory" => match check_key(rest) {
            Ok(()) if !rest.contains('/') => Ok(Place::Memory(rest.to_owned())),
            _ => Err(wrong("the name of a store in memory is made of A-Z a-z 0-9 . _ -")),
        },
        "file" => match rest.starts_with('/') {
            true if rest.split('/').any(|part| part == "..") => Err(wrong("the folder has a '..' in it")),
            true => Ok(Place::File(PathBuf::from(rest))),
            false => Err(wrong("the folder must be absolute, with three slashes after 'file:'")),
        },
        "s3" => {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            let prefix = prefix.trim_end_matches('/');
            let named = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
            if !(3..=63).contains(&bucket.len()) || !bucket.bytes().all(named) {
                return Err(wrong("a bucket's name is 3 to 63 characters of a-z, 0-9, '-' and '.'"));
            }
            if !prefix.is_empty() {
                check_key(prefix).map_err(|why| wrong(&why))?;
            }
            if prefix.len() > 256 {
                return Err(wrong("the prefix is longer than 256 bytes"));
            }
            Ok(Place::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
        }
        _ => Err(wrong(&format!("{scheme:?} is not a kind of store"))),
    }
}

/// The URL without a user and password that somebody may have put there by mistake (F44).
fn without_credentials(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let rest = rest.split_once('?').map_or(rest, |(path, _)| path);
    if scheme.is_empty() { rest.to_owned() } else { format!("{scheme}://{rest}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storage_urls_mean_what_they_say() {
        let s3 = |bucket: &str, prefix: &str| Place::S3 { bucket: bucket.into(), prefix: prefix.into() };
        for (url, place) in [
            ("memory://t", Place::Memory("t".into())),
            ("file:///var/weir", Place::File("/var/weir".into())),
            ("s3://bucket", s3("bucket", "")),
            ("s3://bucket/", s3("bucket", "")),
            ("s3://my.bucket-1/team/jobs/", s3("my.bucket-1", "team/jobs")),
        ] {
            assert_eq!(parse(url), Ok(place), "{url}");
        }
    }

    #[test]
    fn bad_urls_are_refused_with_what_is_allowed_and_without_their_password() {
        for (url, part) in [
            ("", "not a storage URL"),
            ("/var/weir", "not a storage URL"),
            ("file://var/weir", "three slashes"),
            ("file:///a/../b", "'..'"),
            ("gs://bucket/x", "\"gs\" is not a kind of store"),
            ("s3://B/x", "a bucket's name"),
            ("s3://bucket//x", "not a key"),
            ("s3://bucket/a/../b", "begins with a dot"),
            ("memory://", "the name of a store in memory"),
            ("memory://a/b", "the name of a store in memory"),
            ("s3://AKIA:secret@bucket/x", "a bucket's name"),
        ] {
            let error = parse(url).expect_err(url);
            assert_eq!(error.kind, StoreErrorKind::Invalid);
            let text = error.to_string();
            assert!(text.contains(part) && text.contains("s3://bucket/prefix"), "{url}: {text}");
            assert!(!text.contains("secret"), "{text}");
        }
    }
}
