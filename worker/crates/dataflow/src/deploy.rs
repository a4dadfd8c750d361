//! Makes the subtasks of an execution that run here: queues first, then slot by slot.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use weir_protocol::{
    Failure, FailureKind, JobConfig, JobGraph, KeyGroupRange, Partitioning, Stamp, SubtaskId,
    SubtaskProgress, Vertex, VertexId,
};
use weir_runtime::Clock;

use crate::chain::{Chain, Link};
use crate::exchange::{Routes, Wiring};
use crate::graph::{Job, Node};
use crate::output::{EdgeOutput, Output, SinkOf};
use crate::queue::{Receiver, Sender, SlotWaker, queue};
use crate::restore::Restored;
use crate::slot::{Build, Events, SlotEvent};
use crate::snapshot::{SPLITS, Trackers};
use crate::source_head::SourceHead;
use crate::subtask::{Input, Parts, Subtask};
use crate::{OpenSink, OpenSource, TransformContext, Troubles};

/// Least and most bytes of rows that one queue may hold.
const QUEUE_BYTES: (u64, u64) = (64 * 1024, 2 * 1024 * 1024);

/// Bytes of rows that one queue of a job may hold: an eighth of the memory limit over all queues.
pub(crate) fn queue_bytes(graph: &JobGraph, memory_limit: u64) -> usize {
    let parallelism = |id: VertexId| graph.vertex(id).map_or(0, |v| u64::from(v.parallelism));
    let queues: u64 = graph.edges.iter().map(|e| parallelism(e.from) * parallelism(e.to)).sum();
    (memory_limit / 8 / queues.max(1)).clamp(QUEUE_BYTES.0, QUEUE_BYTES.1) as usize
}

/// What the subtasks of an execution are made of.
pub(crate) struct Deployment {
    pub(crate) job: Arc<Job>,
    pub(crate) config: Arc<JobConfig>,
    pub(crate) stamp: Stamp,
    /// The subtasks that run here, each with its slot.
    pub(crate) placed: Vec<(SubtaskId, u32)>,
    /// The way to those that do not.
    pub(crate) routes: Routes,
    pub(crate) restored: Arc<Restored>,
    /// Bytes of rows that one queue may hold.
    pub(crate) queue_bytes: usize,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) io: tokio::runtime::Handle,
    pub(crate) troubles: Troubles,
}

/// The numbers of a subtask, as its slot publishes them.
pub(crate) type Published = (SubtaskId, Arc<Mutex<SubtaskProgress>>);

/// A slot that is to be started: its number, what wakes it, what makes its subtasks.
pub(crate) type NewSlot = (u32, Arc<SlotWaker>, Build);

/// The ends of queues that belong to one subtask.
#[derive(Default)]
struct Ends {
    inputs: Vec<Input>,
    outputs: Vec<EdgeOutput>,
}

impl Deployment {
    /// Makes wakers and builders, one per slot.
    pub(crate) fn slots(self, events: &Events) -> Result<(Vec<NewSlot>, Vec<Published>), Failure> {
        let mut wakers: BTreeMap<u32, Arc<SlotWaker>> = BTreeMap::new();
        for (_, slot) in &self.placed {
            wakers.entry(*slot).or_default();
        }
        let mut ends = self.connect(&wakers, events)?;
        let published: Vec<Published> = self.placed.iter().map(|(id, _)| (*id, Arc::default())).collect();
        let shared = Arc::new(self);
        let mut slots = Vec::new();
        for (slot, waker) in wakers {
            let mut mine = Vec::new();
            // Subtasks stand in the order of the graph: a slot works on rows downstream.
            for id in shared.job.graph.subtasks() {
                let Some(at) = shared.placed.iter().position(|p| *p == (id, slot)) else { continue };
                mine.push((id, ends.remove(&id).unwrap_or_default(), published[at].1.clone()));
            }
            let (shared, events, own_waker) = (shared.clone(), events.clone(), waker.clone());
            let build: Build = Box::new(move || {
                mine.into_iter()
                    .map(|(id, ends, published)| {
                        shared.subtask(id, ends, published, &own_waker, &events).map_err(|f| (Some(id), f))
                    })
                    .collect()
            });
            slots.push((slot, waker, build));
        }
        Ok((slots, published))
    }

    /// Makes the ways between subtasks: a queue if both ends are here, a channel of the exchange if one is.
    fn connect(
        &self,
        wakers: &BTreeMap<u32, Arc<SlotWaker>>,
        events: &Events,
    ) -> Result<BTreeMap<SubtaskId, Ends>, Failure> {
        let graph = &self.job.graph;
        let slot_of: BTreeMap<SubtaskId, u32> = self.placed.iter().copied().collect();
        let parallelism = |id: VertexId| graph.vertex(id).map_or(0, |v| v.parallelism);
        let waker = |id: SubtaskId| {
            slot_of.get(&id).and_then(|slot| wakers.get(slot)).cloned().ok_or_else(|| {
                Failure::new(FailureKind::Bug, format!("subtask {id} has no slot in this worker"))
            })
        };
        let worker = events.worker.clone();
        let mut wiring = self.routes.wire(&self.stamp, move |failure| {
            // Nobody listens any more when the execution is being torn down.
            let _ = worker.send(SlotEvent::Failed(None, failure));
        });
        let mut ends: BTreeMap<SubtaskId, Ends> = BTreeMap::new();
        for (at, edge) in graph.edges.iter().enumerate() {
            for from in (0..parallelism(edge.from)).map(|index| SubtaskId { vertex: edge.from, index }) {
                let targets = match edge.partitioning {
                    Partitioning::Forward => from.index..from.index + 1,
                    Partitioning::Hash { .. } | Partitioning::Rebalance | Partitioning::Broadcast => {
                        0..parallelism(edge.to)
                    }
                };
                let mut senders = Vec::new();
                for to in targets.map(|index| SubtaskId { vertex: edge.to, index }) {
                    let (sender, receiver) = self.way(&mut wiring, (at, from, to), &waker)?;
                    senders.extend(sender);
                    let input = receiver.map(|queue| Input { port: edge.input, queue });
                    if let Some(input) = input {
                        ends.entry(to).or_default().inputs.push(input);
                    }
                }
                if !self.routes.is_elsewhere(from) {
                    let output =
                        EdgeOutput::new(edge.partitioning.clone(), self.config.max_parallelism, senders);
                    ends.entry(from).or_default().outputs.push(output);
                }
            }
        }
        wiring.start();
        Ok(ends)
    }

    /// Those ends of one way that are here.
    fn way(
        &self,
        wiring: &mut Wiring<'_>,
        channel: (usize, SubtaskId, SubtaskId),
        waker: &impl Fn(SubtaskId) -> Result<Arc<SlotWaker>, Failure>,
    ) -> Result<(Option<Sender>, Option<Receiver>), Failure> {
        let (at, from, to) = channel;
        let schema = || {
            let none = || Failure::new(FailureKind::Bug, format!("edge {at} has no schema"));
            self.job.schemas.get(at).ok_or_else(none)
        };
        Ok(match (self.routes.is_elsewhere(from), self.routes.is_elsewhere(to)) {
            (false, false) => {
                let (sender, receiver) = queue(self.queue_bytes, waker(from)?, waker(to)?);
                (Some(sender), Some(receiver))
            }
            (false, true) => (Some(wiring.sender(channel, schema()?, waker(from)?)?), None),
            (true, false) => (None, Some(wiring.receiver(channel, schema()?, self.queue_bytes, waker(to)?)?)),
            (true, true) => (None, None),
        })
    }

    fn subtask(
        &self,
        id: SubtaskId,
        ends: Ends,
        published: Arc<Mutex<SubtaskProgress>>,
        waker: &Arc<SlotWaker>,
        events: &Events,
    ) -> Result<Subtask, Failure> {
        let bug = || Failure::new(FailureKind::Bug, format!("vertex {} is not in the graph", id.vertex));
        let at = self.job.graph.vertices.iter().position(|v| v.id == id.vertex).ok_or_else(bug)?;
        let (vertex, node) = (&self.job.graph.vertices[at], &self.job.nodes[at]);
        let first = usize::from(node.source.is_some());
        let mut links = Vec::new();
        for (factory, info) in node.transforms.iter().zip(&vertex.transforms[first..]) {
            let context = TransformContext {
                index: id.index,
                parallelism: vertex.parallelism,
                max_parallelism: self.config.max_parallelism,
                range: self.range(id, vertex),
            };
            let named = |f: Failure| f.at(format!("{} {}", info.name, info.id));
            let mut transform = factory.create(context).map_err(named)?;
            self.restored.fill(id, info.id, transform.as_mut()).map_err(named)?;
            links.push(Link::new(info.id, transform));
        }
        let deltas = links
            .iter_mut()
            .flat_map(|l| {
                let id = l.id;
                l.transform.tables().into_iter().map(|t| (id, t.info().name)).collect::<Vec<_>>()
            })
            .map(|(transform, name)| self.restored.deltas(id, transform, &name))
            .collect();
        let source = self.open_source(id, vertex, node, waker)?;
        let sink = self.open_sink(id, vertex, node, waker)?;
        Ok(Subtask::new(Parts {
            id,
            source,
            inputs: ends.inputs,
            chain: Chain { links, output: Output::new(ends.outputs, sink) },
            trackers: Trackers::new(deltas, self.config.state.deltas_per_base),
            events: events.clone(),
            clock: self.clock.clone(),
            published,
        }))
    }

    fn range(&self, id: SubtaskId, vertex: &Vertex) -> KeyGroupRange {
        KeyGroupRange::of_subtask(id.index, self.config.max_parallelism, vertex.parallelism)
    }

    fn open_source(
        &self,
        id: SubtaskId,
        vertex: &Vertex,
        node: &Node,
        waker: &Arc<SlotWaker>,
    ) -> Result<Option<SourceHead>, Failure> {
        let (Some(source), Some(info)) = (&node.source, vertex.transforms.first()) else { return Ok(None) };
        let opened = source
            .factory
            .open(OpenSource {
                index: id.index,
                parallelism: vertex.parallelism,
                restored: self.restored.splits(info.id, SPLITS)?,
                waker: waker.clone().into(),
                io: self.io.clone(),
                troubles: self.troubles.clone(),
            })
            .map_err(|f| f.at(&info.name))?;
        Ok(Some(SourceHead::new(info.id, opened, source.calc.clone(), source.watermark.clone())))
    }

    fn open_sink(
        &self,
        id: SubtaskId,
        vertex: &Vertex,
        node: &Node,
        waker: &Arc<SlotWaker>,
    ) -> Result<Option<SinkOf>, Failure> {
        let (Some(sink), Some(info)) = (&node.sink, vertex.transforms.last()) else { return Ok(None) };
        let opened = sink
            .open(OpenSink {
                index: id.index,
                parallelism: vertex.parallelism,
                job: self.stamp.job.clone(),
                attempt: self.stamp.attempt,
                execution: self.stamp.execution,
                waker: waker.clone().into(),
                io: self.io.clone(),
                troubles: self.troubles.clone(),
            })
            .map_err(|f| f.at(&info.name))?;
        Ok(Some((info.id, opened)))
    }
}
