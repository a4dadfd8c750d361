//! A small job for tests of this crate.

use std::time::Duration;

use weir_protocol::{
    Edge, JobGraph, Partitioning, Registration, RestartStrategy, TransformId, TransformInfo, Vertex, VertexId,
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
    let mut config = weir_protocol::testing::config("test-job", "memory://test");
    (config.name, config.parallelism, config.task_slots) = ("test".to_owned(), parallelism, parallelism);
    config.state.deltas_per_base = 10;
    config.checkpoint.timeout = 10 * second;
    (config.checkpoint.tolerable_failures, config.checkpoint.expiration) = (1, Duration::ZERO);
    config.checkpoint.max_uncheckpointed_bytes = 1 << 20;
    config.restart = RestartStrategy::FixedDelay { attempts: 10, delay: second };
    Options {
        garbage_every: 1,
        reread_after: Duration::ZERO,
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
