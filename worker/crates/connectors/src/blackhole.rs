//! A sink that takes everything and keeps nothing.

use std::sync::Arc;

use weir_dataflow::{Chunk, Committer, IoFuture, OpenSink, Sink, SinkFactory};
use weir_protocol::{CheckpointId, Failure};

use crate::options::OptionReader;
use crate::{Connector, OptionError, TableSpec};

/// The connector `blackhole`.
pub(crate) const CONNECTOR: Connector =
    Connector { name: "blackhole", source: None, sink: Some(sink), options: &[] };

fn sink(spec: &TableSpec) -> Result<Arc<dyn SinkFactory>, Vec<OptionError>> {
    OptionReader::new(spec, &[]).finish(Some(Arc::new(Blackhole) as Arc<dyn SinkFactory>))
}

struct Blackhole;

impl SinkFactory for Blackhole {
    fn takes_changelog(&self) -> bool {
        true
    }

    fn open(&self, _context: OpenSink) -> Result<Box<dyn Sink>, Failure> {
        Ok(Box::new(Self))
    }

    fn committer(&self, _io: tokio::runtime::Handle) -> Option<Box<dyn Committer>> {
        None
    }
}

impl Sink for Blackhole {
    fn ready(&mut self) -> bool {
        true
    }

    fn write(&mut self, _chunk: Chunk) -> Result<(), Failure> {
        Ok(())
    }

    fn prepare_commit(&mut self, _id: CheckpointId) -> Result<IoFuture<Vec<Vec<u8>>>, Failure> {
        Ok(Box::pin(async { Ok(Vec::new()) }))
    }
}
