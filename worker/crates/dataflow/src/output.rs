//! The end of a chain: rows go to the queues of the vertex's edges, or into its sink.

use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, UInt32Array};
use arrow_select::take::{take, take_record_batch};
use weir_protocol::{Failure, FailureKind, Partitioning, TransformId, key_group};
use weir_state::{HASH_OF_NO_COLUMNS, hash_keys};

use crate::queue::{Message, Sender};
use crate::{Chunk, Emit, Sink, Watermark};

/// One edge as one of its sending subtasks sees it.
pub(crate) struct EdgeOutput {
    partitioning: Partitioning,
    max_parallelism: u32,
    /// One per target subtask; for a forward edge just the one.
    targets: Vec<Sender>,
    /// Round robin.
    next: usize,
    hashes: Vec<u64>,
    picked: Vec<Vec<u32>>,
}

impl EdgeOutput {
    pub(crate) fn new(partitioning: Partitioning, max_parallelism: u32, targets: Vec<Sender>) -> Self {
        let picked = vec![Vec::new(); targets.len()];
        Self { partitioning, max_parallelism, targets, next: 0, hashes: Vec::new(), picked }
    }

    fn ready(&self) -> bool {
        self.targets.iter().all(Sender::ready)
    }

    fn broadcast(&self, message: &Message) {
        for target in &self.targets {
            target.push(message.clone());
        }
    }

    fn chunk(&mut self, chunk: Chunk) -> Result<(), Failure> {
        if let [only] = &self.targets[..] {
            only.push(Message::Chunk(chunk));
            return Ok(());
        }
        match &self.partitioning {
            Partitioning::Forward | Partitioning::Broadcast => self.broadcast(&Message::Chunk(chunk)),
            Partitioning::Rebalance => {
                self.targets[self.next].push(Message::Chunk(chunk));
                self.next = (self.next + 1) % self.targets.len();
            }
            Partitioning::Hash { columns } => {
                let keys: Vec<ArrayRef> = columns.iter().map(|c| chunk.rows.column(*c).clone()).collect();
                self.scatter(&keys, chunk.len())?;
                for (target, rows) in self.targets.iter().zip(&mut self.picked) {
                    if rows.is_empty() {
                        continue;
                    }
                    let whole = rows.len() == chunk.len();
                    let part = if whole { chunk.clone() } else { pick(&chunk, rows)? };
                    target.push(Message::Chunk(part));
                }
            }
        }
        Ok(())
    }

    /// Sorts the row numbers by target.
    fn scatter(&mut self, keys: &[ArrayRef], rows: usize) -> Result<(), Failure> {
        hash_keys(keys, &mut self.hashes)
            .map_err(|e| Failure::new(FailureKind::Bug, format!("exchange: {e}")))?;
        if keys.is_empty() {
            self.hashes.resize(rows, HASH_OF_NO_COLUMNS);
        }
        let parallelism = self.targets.len() as u32;
        for picked in &mut self.picked {
            picked.clear();
        }
        for (row, hash) in self.hashes.iter().enumerate() {
            let group = key_group::of_hash(*hash, self.max_parallelism);
            let target = key_group::owner(group, self.max_parallelism, parallelism);
            self.picked[target as usize].push(row as u32);
        }
        Ok(())
    }
}

fn pick(chunk: &Chunk, rows: &[u32]) -> Result<Chunk, Failure> {
    let bug = |e: arrow_schema::ArrowError| Failure::new(FailureKind::Bug, format!("exchange: {e}"));
    let rows = UInt32Array::from(rows.to_vec());
    let kinds = match &chunk.kinds {
        Some(kinds) => Some(take(kinds, &rows, None).map_err(bug)?.as_primitive().clone()),
        None => None,
    };
    Ok(Chunk { rows: take_record_batch(&chunk.rows, &rows).map_err(bug)?, kinds })
}

/// A sink with the id of its transform.
pub(crate) type SinkOf = (TransformId, Box<dyn Sink>);

/// Everything behind the last transform of a chain.
pub(crate) struct Output {
    pub(crate) edges: Vec<EdgeOutput>,
    pub(crate) sink: Option<SinkOf>,
    sink_ready: bool,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
}

impl Output {
    pub(crate) fn new(edges: Vec<EdgeOutput>, sink: Option<SinkOf>) -> Self {
        Self { edges, sink, sink_ready: true, rows: 0, bytes: 0 }
    }

    /// Whether there is room, asking the sink anew.
    pub(crate) fn poll_ready(&mut self) -> bool {
        self.sink_ready = self.sink.as_mut().is_none_or(|(_, sink)| sink.ready());
        self.ready()
    }

    pub(crate) fn message(&self, message: &Message) {
        for edge in &self.edges {
            edge.broadcast(message);
        }
    }
}

impl Emit for Output {
    fn chunk(&mut self, chunk: Chunk) -> Result<(), Failure> {
        self.rows += chunk.len() as u64;
        self.bytes += chunk.bytes() as u64;
        if let Some((_, sink)) = &mut self.sink {
            sink.write(chunk)?;
            self.sink_ready = sink.ready();
            return Ok(());
        }
        if let Some((last, others)) = self.edges.split_last_mut() {
            for edge in others {
                edge.chunk(chunk.clone())?;
            }
            last.chunk(chunk)?;
        }
        Ok(())
    }

    fn watermark(&mut self, watermark: Watermark) -> Result<(), Failure> {
        self.message(&Message::Watermark(watermark));
        Ok(())
    }

    fn ready(&self) -> bool {
        self.sink_ready && self.edges.iter().all(EdgeOutput::ready)
    }
}
