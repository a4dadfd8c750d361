//! A configuration for the tests of other crates.

use std::time::Duration;

use crate::{
    CheckpointConfig, CheckpointMode, JobConfig, JobUid, LivenessConfig, OnUnreadable, RestartStrategy,
    StateBackend, StateConfig, StorageConfig,
};

/// A job of this name in a store of this URL: one subtask per vertex, a checkpoint every second, one of them kept, no
/// restarts. What a test cares for it changes.
pub fn config(name: &str, storage: &str) -> JobConfig {
    let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
    let storage = StorageConfig { url: storage.to_owned(), endpoint: None, region: None, path_style: false };
    JobConfig {
        uid: JobUid::new(name).expect("a name that can be a uid"),
        name: name.to_owned(),
        sql: String::new(),
        parallelism: 1,
        max_parallelism: 128,
        task_slots: 1,
        state: StateConfig {
            backend: StateBackend::Memory,
            ttl: Duration::ZERO,
            memory_limit: 1 << 30,
            deltas_per_base: 8,
        },
        checkpoint: CheckpointConfig {
            storage,
            mode: CheckpointMode::ExactlyOnce,
            interval: second,
            timeout: minute,
            min_pause: Duration::ZERO,
            tolerable_failures: 0,
            retain: 1,
            expiration: minute,
            max_uncheckpointed_bytes: u64::MAX,
        },
        restart: RestartStrategy::None,
        on_unreadable: OnUnreadable::Stop,
        restore_from: None,
        liveness: LivenessConfig::default(),
    }
}
