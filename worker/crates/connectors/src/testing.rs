//! What the tests of connectors share: a runtime for I/O, opening and draining of sources.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::thread::Thread;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use weir_dataflow::{OpenSink, OpenSource, Poll, Source, SplitState, Troubles};
use weir_protocol::{Attempt, Execution, Failure, JobUid};

use crate::TableSpec;

/// A table with options.
pub(crate) fn table(schema: SchemaRef, options: &[(&str, &str)]) -> TableSpec {
    TableSpec {
        name: "t".into(),
        schema,
        options: options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<BTreeMap<_, _>>(),
        partitioned_by: vec![],
    }
}

/// Where I/O is done in a test.
pub(crate) struct Io {
    runtime: tokio::runtime::Runtime,
    /// What is being waited out.
    pub(crate) troubles: Troubles,
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

impl Io {
    pub(crate) fn new() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self { runtime, troubles: Troubles::default() }
    }

    pub(crate) fn handle(&self) -> tokio::runtime::Handle {
        self.runtime.handle().clone()
    }

    /// A waker that unparks this thread.
    fn waker() -> Waker {
        Waker::from(Arc::new(Unpark(std::thread::current())))
    }

    pub(crate) fn open_source(
        &self,
        index: u32,
        parallelism: u32,
        restored: Option<Arc<Vec<SplitState>>>,
    ) -> OpenSource {
        OpenSource {
            index,
            parallelism,
            restored,
            waker: Self::waker(),
            io: self.handle(),
            troubles: self.troubles.clone(),
        }
    }

    pub(crate) fn open_sink(&self, index: u32, parallelism: u32, attempt: u64) -> OpenSink {
        OpenSink {
            index,
            parallelism,
            job: JobUid::new("job").unwrap(),
            attempt: Attempt(attempt),
            execution: Execution(1),
            waker: Self::waker(),
            io: self.handle(),
            troubles: self.troubles.clone(),
        }
    }

    /// Waits for a future.
    pub(crate) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }
}

/// The next answer that is not `Pending`.
pub(crate) fn next(source: &mut dyn Source) -> Result<Poll, Failure> {
    loop {
        match source.poll_batch()? {
            Poll::Pending => std::thread::park(),
            other => return Ok(other),
        }
    }
}

/// All rows up to the end.
pub(crate) fn drain(source: &mut dyn Source) -> Vec<RecordBatch> {
    let mut batches = Vec::new();
    while let Poll::Batch { rows, .. } = next(source).unwrap() {
        batches.push(rows);
    }
    batches
}
