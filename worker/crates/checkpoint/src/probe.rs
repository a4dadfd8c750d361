//! The store probe: whether a store keeps the promises that everything here is built on.
//!
//! Looking at one request after the other proves nothing: there are stores that pass every such check and let
//! ten of fifty racing creators win (F5). So the probe races.

use std::fmt;

use bytes::Bytes;
use futures::future::join_all;
use weir_runtime::Random;

use crate::store::s3::{Completed, S3};
use crate::store::{Put, Store, StoreError};

/// Racing writers of one key.
const WRITERS: usize = 64;
/// Keys that are raced for.
const KEYS: usize = 8;
/// Racing completions of one upload's key.
const UPLOADS: usize = 8;

/// A promise of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// Exactly one of many concurrent creates of a key is done.
    OneCreator,
    /// A key that is there is not created again, and keeps its content.
    NoOverwrite,
    /// A read gives what was written just before.
    ReadAfterWrite,
    /// A listing shows what was written just before, and nothing that was deleted just before.
    ListAfterWrite,
    /// Exactly one of many concurrent replacements of one version is done, and none of an old version.
    OneReplacer,
    /// Exactly one of many concurrent completions of uploads to one absent key is done, and none to a key that is there.
    OneCompletion,
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OneCreator => "of many creates of one key at a time exactly one succeeds (If-None-Match)",
            Self::NoOverwrite => "a key that is there is not created again (If-None-Match)",
            Self::ReadAfterWrite => "a read gives what was written just before",
            Self::ListAfterWrite => "a listing shows what was written or deleted just before",
            Self::OneReplacer => {
                "of many replacements of one version at a time exactly one succeeds (If-Match)"
            }
            Self::OneCompletion => {
                "of many uploads completed to one key at a time exactly one succeeds (If-None-Match)"
            }
        })
    }
}

/// Why a store is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// It broke a promise: state on it would be lost or doubled sooner or later.
    #[error("{url} can't hold checkpoints safely. A store must promise that {promise}; seen here: {seen}")]
    Broken {
        /// The store.
        url: String,
        /// What it does not keep.
        promise: Promise,
        /// What it did.
        seen: String,
    },
    /// It could not be probed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Checks every promise by races over keys of its own below `probe/`, and removes them.
///
/// # Errors
/// [`ProbeError`].
pub async fn probe(store: &dyn Store, random: &dyn Random) -> Result<(), ProbeError> {
    let folder = format!("probe/{}", random.nonce());
    let probed = Probe { store, folder: &folder }.run().await;
    let cleaned = clean(store, &folder).await;
    probed?;
    Ok(cleaned?)
}

async fn clean(store: &dyn Store, folder: &str) -> Result<(), StoreError> {
    let prefix = format!("{folder}/");
    for upload in store.uploads(&prefix).await? {
        store.abort_upload(&upload).await?;
    }
    let left = store.list(&prefix).await?;
    store.delete(&left.into_iter().map(|object| object.key).collect::<Vec<_>>()).await
}

struct Probe<'a> {
    store: &'a dyn Store,
    folder: &'a str,
}

impl Probe<'_> {
    async fn run(&self) -> Result<(), ProbeError> {
        for n in 0..KEYS {
            self.creators(&format!("{}/create-{n}", self.folder)).await?;
        }
        self.listing().await?;
        for n in 0..KEYS {
            self.replacers(&format!("{}/replace-{n}", self.folder)).await?;
        }
        if let Some((s3, prefix)) = self.store.as_s3() {
            self.completions(s3, &format!("{prefix}{}/upload", self.folder)).await?;
        }
        Ok(())
    }

    fn broken<T>(&self, promise: Promise, seen: impl Into<String>) -> Result<T, ProbeError> {
        Err(ProbeError::Broken { url: self.store.url().to_owned(), promise, seen: seen.into() })
    }

    async fn creators(&self, key: &str) -> Result<(), ProbeError> {
        let bids: Vec<Bytes> = (0..WRITERS).map(|n| Bytes::from(format!("{key} by writer {n}"))).collect();
        let results = join_all(bids.iter().map(|bid| self.store.put_new(key, bid.clone()))).await;
        let found = self.store.get(key).await?;
        self.one_winner(Promise::OneCreator, &bids, &results, found.as_ref())?;
        if self.store.put_new(key, Bytes::from_static(b"late")).await? == Put::Written {
            return self
                .broken(Promise::NoOverwrite, format!("{key} was created twice, one after the other"));
        }
        if self.store.get(key).await? != found {
            return self.broken(Promise::NoOverwrite, format!("a refused create changed {key}"));
        }
        Ok(())
    }

    /// Exactly one bid won, and it is the one that is there. A bid without a clear answer may have won.
    fn one_winner(
        &self,
        promise: Promise,
        bids: &[Bytes],
        results: &[Result<Put, StoreError>],
        found: Option<&Bytes>,
    ) -> Result<(), ProbeError> {
        if let Some(error) = results.iter().filter_map(|r| r.as_ref().err()).find(|e| !e.is_unknown()) {
            return Err(error.clone().into());
        }
        let of = bids.len();
        let winners: Vec<&Bytes> =
            bids.iter().zip(results).filter(|(_, r)| **r == Ok(Put::Written)).map(|(bid, _)| bid).collect();
        let unclear = bids.iter().zip(results).any(|(bid, result)| result.is_err() && found == Some(bid));
        match (winners.as_slice(), found) {
            ([winner], Some(found)) if *winner == found => Ok(()),
            ([], Some(_)) if unclear => Ok(()),
            ([_], Some(_)) => self.broken(
                Promise::ReadAfterWrite,
                "a read after a race gave something else than what the winner wrote",
            ),
            (_, None) => self.broken(Promise::ReadAfterWrite, "a key that was just written is not there"),
            (winners, _) => self.broken(promise, format!("{} of {of} succeeded", winners.len())),
        }
    }

    async fn listing(&self) -> Result<(), ProbeError> {
        let prefix = format!("{}/", self.folder);
        for n in 0..KEYS {
            let key = format!("{}/list-{n}", self.folder);
            let listed = |objects: &[crate::store::Listed]| objects.iter().any(|o| o.key == key);
            self.store.put(&key, Bytes::from_static(b"x").into()).await?;
            if !listed(&self.store.list(&prefix).await?) {
                return self.broken(Promise::ListAfterWrite, "a key that was just written is not listed");
            }
            if self.store.get(&key).await?.is_none() {
                return self.broken(Promise::ReadAfterWrite, "a key that was just written is not there");
            }
            self.store.delete(std::slice::from_ref(&key)).await?;
            if listed(&self.store.list(&prefix).await?) || self.store.head(&key).await?.is_some() {
                return self.broken(Promise::ListAfterWrite, "a key that was just deleted is still there");
            }
        }
        Ok(())
    }

    async fn replacers(&self, key: &str) -> Result<(), ProbeError> {
        let gone = || "a key that was just written is not there";
        self.store.replace(key, None, Bytes::from_static(b"first")).await?;
        let Some((_, version)) = self.store.get_versioned(key).await? else {
            return self.broken(Promise::ReadAfterWrite, gone());
        };
        let bids: Vec<Bytes> = (0..WRITERS).map(|n| Bytes::from(format!("{key} by writer {n}"))).collect();
        let bid = |bid: &Bytes| self.store.replace(key, Some(&version), bid.clone());
        let results = join_all(bids.iter().map(bid)).await;
        let found = self.store.get(key).await?;
        self.one_winner(Promise::OneReplacer, &bids, &results, found.as_ref())?;
        let stale = self.store.replace(key, Some(&version), Bytes::from_static(b"stale")).await?;
        if stale == Put::Written || self.store.get(key).await? != found {
            return self.broken(Promise::OneReplacer, "an old version was replaced");
        }
        Ok(())
    }

    async fn completions(&self, s3: &S3, key: &str) -> Result<(), ProbeError> {
        let mut uploads = Vec::new();
        for n in 0..=UPLOADS {
            let upload = s3.create_multipart(key).await?;
            let part = s3.upload_part(key, &upload, 1, Bytes::from(format!("upload {n}"))).await?;
            uploads.push((upload, [part]));
        }
        let late = uploads.pop();
        let ends = join_all(uploads.iter().map(|(u, parts)| s3.complete_multipart(key, u, parts))).await;
        if let Some(error) = ends.iter().filter_map(|r| r.as_ref().err()).find(|e| !e.is_unknown()) {
            return Err(error.clone().into());
        }
        let winners = ends.iter().filter(|r| **r == Ok(Completed::Written)).count();
        let unclear = ends.iter().any(Result::is_err);
        if winners > 1 || (winners == 0 && !unclear) {
            return self.broken(Promise::OneCompletion, format!("{winners} of {UPLOADS} succeeded"));
        }
        if let Some((upload, parts)) = late
            && s3.complete_multipart(key, &upload, &parts).await? == Completed::Written
        {
            return self.broken(Promise::OneCompletion, "an upload replaced an object that was there");
        }
        Ok(())
    }
}
