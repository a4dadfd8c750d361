//! Connects the subtasks of an execution with those in other processes.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::SchemaRef;
use weir_protocol::{Failure, FailureKind, Stamp, SubtaskId, WorkerId};

use super::frame::{ChannelId, Deployed};
use super::inbound::{Credits, Inbound};
use super::registry::{Held, Registration};
use super::rows::{Encoder, Form};
use super::{Exchange, Peer, RemoteSender};
use crate::queue::{Receiver, Sender, SlotWaker, fed_queue};

/// Where the subtasks of an execution run, as one of its workers sees it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Routes {
    exchange: Option<Arc<Exchange>>,
    /// The worker of each subtask that does not run here.
    elsewhere: HashMap<SubtaskId, WorkerId>,
    addresses: HashMap<WorkerId, String>,
}

impl Routes {
    /// Of a placement as worker `me` has it.
    pub(crate) fn new(
        exchange: Option<Arc<Exchange>>,
        me: WorkerId,
        placement: &[(SubtaskId, WorkerId, u32)],
        peers: &[(WorkerId, String)],
    ) -> Self {
        let elsewhere = placement.iter().filter(|(_, w, _)| *w != me).map(|(s, w, _)| (*s, *w)).collect();
        Self { exchange, elsewhere, addresses: peers.iter().cloned().collect() }
    }

    /// Whether a subtask runs in another process.
    pub(crate) fn is_elsewhere(&self, subtask: SubtaskId) -> bool {
        self.elsewhere.contains_key(&subtask)
    }

    /// Begins to connect an execution. `tell` hears once, of what ends it.
    pub(crate) fn wire(&self, stamp: &Stamp, tell: impl Fn(Failure) + Send + Sync + 'static) -> Wiring<'_> {
        let deployed = Deployed { attempt: stamp.attempt, execution: stamp.execution };
        let held = self
            .exchange
            .as_ref()
            .map(|exchange| Held::new(exchange.inner.clone(), Registration::new(deployed, Box::new(tell))));
        Wiring { routes: self, deployed, held, inbound: HashMap::new() }
    }

    fn peer(&self, subtask: SubtaskId) -> Result<Peer, Failure> {
        let bug = |text: String| Failure::new(FailureKind::Bug, text);
        let worker = self.elsewhere.get(&subtask);
        let worker = *worker.ok_or_else(|| bug(format!("subtask {subtask} has no worker")))?;
        let address = self.addresses.get(&worker).cloned();
        let address = address.ok_or_else(|| bug(format!("worker {worker} has no address for rows")))?;
        Ok(Peer { worker, address })
    }
}

/// The channels of an execution while they are being made.
pub(crate) struct Wiring<'a> {
    routes: &'a Routes,
    deployed: Deployed,
    held: Option<Arc<Held>>,
    inbound: HashMap<ChannelId, Inbound>,
}

impl Wiring<'_> {
    /// The writing end of a channel to a subtask elsewhere. It is opened at once.
    pub(crate) fn sender(
        &self,
        channel: (usize, SubtaskId, SubtaskId),
        schema: &SchemaRef,
        producer: Arc<SlotWaker>,
    ) -> Result<Sender, Failure> {
        let (held, peer) = (self.held()?, self.routes.peer(channel.2)?);
        let exchange = self.exchange()?;
        let link = exchange.inner.link(&peer.address);
        let encoder = Encoder::new(Form::new(schema)?)?;
        let frame_bytes = exchange.inner.options.limits.frame_bytes;
        let channel = channel_id(channel);
        let sender = RemoteSender::new((peer, channel), link, encoder, frame_bytes, producer, held);
        sender.open();
        Ok(Sender::Remote(Box::new(sender)))
    }

    /// The reading end of a channel from a subtask elsewhere. `limit`: bytes of rows that it may hold.
    pub(crate) fn receiver(
        &mut self,
        channel: (usize, SubtaskId, SubtaskId),
        schema: &SchemaRef,
        limit: usize,
        consumer: Arc<SlotWaker>,
    ) -> Result<Receiver, Failure> {
        let (held, peer) = (self.held()?, self.routes.peer(channel.1)?);
        let channel = channel_id(channel);
        let credits = Credits::new(limit, self.deployed, channel);
        let (feed, receiver) = fed_queue(credits.clone(), consumer, held);
        self.inbound.insert(channel, Inbound::new(peer, Form::new(schema)?, feed, credits));
        Ok(receiver)
    }

    /// Takes rows from now on.
    pub(crate) fn start(self) {
        if let (Some(held), Some(exchange)) = (self.held, &self.routes.exchange) {
            let registration = held.registration();
            // A registration is wired once.
            let _ = registration.channels.set(self.inbound);
            exchange.inner.registry.register(registration);
        }
    }

    fn exchange(&self) -> Result<&Arc<Exchange>, Failure> {
        let none = || Failure::new(FailureKind::Bug, "this process has no address for rows of other workers");
        self.routes.exchange.as_ref().ok_or_else(none)
    }

    fn held(&self) -> Result<Arc<Held>, Failure> {
        self.exchange()?;
        let none = || Failure::new(FailureKind::Bug, "an execution that is not held");
        self.held.clone().ok_or_else(none)
    }
}

fn channel_id((edge, from, to): (usize, SubtaskId, SubtaskId)) -> ChannelId {
    ChannelId { edge: edge as u32, from: from.index, to: to.index }
}
