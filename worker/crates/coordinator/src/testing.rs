//! A small job for tests of this crate.

use std::time::Duration;

use weir_protocol::{
    CheckpointConfig, CheckpointMode, Edge, JobConfig, JobGraph, JobUid, OnUnreadable, Partitioning,
    Registration, RestartStrategy, StateBackend, StateConfig, StorageConfig, TransformId, TransformInfo,
    Vertex, VertexId,
};

use crate::options::Options;

/// A source and a sink, joined by a hash edge.
pub fn graph(parallelism: u32) -> JobGraph {
    let vertex = |name: &str, source: bool| Vertex {
        id: VertexId::of(name),
        name: name.to_owned(),
        parallelism,
        source,
        sink: !source,
        transforms: vec![TransformInfo {
            id: TransformId::of(name),
            name: name.to_owned(),
            detail: String::new(),
            tables: Vec::new(),
        }],
    };
    JobGraph {
        vertices: vec![vertex("source", true), vertex("sink", false)],
        edges: vec![Edge {
            from: VertexId::of("source"),
            to: VertexId::of("sink"),
            input: 0,
            partitioning: Partitioning::Hash { columns: vec![0] },
        }],
    }
}

/// The options of a job over [`graph`]: checkpoints every second, ten restarts, a second apart.
pub fn options(parallelism: u32) -> Options {
    let second = Duration::from_secs(1);
    let config = JobConfig {
        uid: JobUid::new("test-job").expect("a valid uid"),
        name: "test".to_owned(),
        sql: String::new(),
        parallelism,
        max_parallelism: 128,
        task_slots: parallelism,
        state: StateConfig {
            backend: StateBackend::Memory,
            ttl: Duration::ZERO,
            memory_limit: 1 << 30,
            deltas_per_base: 10,
        },
        checkpoint: CheckpointConfig {
            storage: StorageConfig {
                url: "memory://test".to_owned(),
                endpoint: None,
                region: None,
                path_style: false,
            },
            mode: CheckpointMode::ExactlyOnce,
            interval: second,
            timeout: 10 * second,
            min_pause: Duration::ZERO,
            tolerable_failures: 1,
            retain: 1,
            expiration: Duration::ZERO,
            max_uncheckpointed_bytes: 1 << 20,
        },
        restart: RestartStrategy::FixedDelay { attempts: 10, delay: second },
        on_unreadable: OnUnreadable::Stop,
        liveness: weir_protocol::LivenessConfig::default(),
    };
    Options {
        garbage_every: 1,
        gather: Duration::ZERO,
        adoption_patience: Duration::ZERO,
        ..Options::new(config, graph(parallelism), "spec")
    }
}

/// What a worker with so many slots says of itself.
pub fn registration(slots: u32, name: &str) -> Registration {
    Registration {
        process: name.to_owned(),
        name: name.to_owned(),
        slots,
        data_address: None,
        running: None,
        draining: false,
    }
}
