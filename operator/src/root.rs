//! The operator's own key, in a Secret of its own namespace: all certificates follow from it. It is the only Secret
//! that the operator reads.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};

use crate::certificates::Authority;
use crate::cluster::{ClusterError, bounded};
use crate::names::{FIELD_MANAGER, MANAGED_BY};

/// The key in the Secret.
const KEY: &str = "key";

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// The API server.
    #[error("the operator's key can't be read or made: {0}")]
    Cluster(#[from] ClusterError),
    /// Somebody has damaged it.
    #[error("the Secret {0:?} holds no key of 32 bytes; delete it, and restart all jobs")]
    Damaged(String),
    /// No randomness.
    #[error("the operator's key can't be drawn: {0}")]
    Random(String),
}

/// Reads the key; makes one if there is none.
///
/// # Errors
/// [`RootError`].
pub async fn authority(client: Client, namespace: &str, name: &str) -> Result<Authority, RootError> {
    let secrets: Api<Secret> = Api::namespaced(client, namespace);
    let what = || format!("Secret {name}");
    // Of two operators that start at once, one makes it and both read it.
    if bounded(what, secrets.get_opt(name)).await?.is_none() {
        match bounded(what, secrets.create(&PostParams::default(), &drawn(name)?)).await {
            Ok(_) | Err(ClusterError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let found = bounded(what, secrets.get(name)).await?;
    let bytes = found.data.and_then(|mut data| data.remove(KEY)).map(|bytes| bytes.0).unwrap_or_default();
    let key: [u8; 32] = bytes.try_into().map_err(|_| RootError::Damaged(name.to_owned()))?;
    Ok(Authority::new(key))
}

fn drawn(name: &str) -> Result<Secret, RootError> {
    let mut key = [0_u8; 32];
    getrandom::fill(&mut key).map_err(|error| RootError::Random(error.to_string()))?;
    Ok(Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some([(MANAGED_BY.to_owned(), FIELD_MANAGER.to_owned())].into()),
            ..ObjectMeta::default()
        },
        data: Some([(KEY.to_owned(), ByteString(key.to_vec()))].into()),
        immutable: Some(true),
        ..Secret::default()
    })
}
