//! The coordinator's link to workers in other processes.

use std::sync::Arc;

use tokio::sync::mpsc;
use weir_control::{Events, Server, ServerEvent};
use weir_coordinator::{LinkEvent, WorkerLink, Workers};
use weir_protocol::{Stamp, ToWorker, WorkerId};

/// Events that may wait for the coordinator besides those that wait, bounded by bytes, in the server.
const WAITING: usize = 16;

struct ByServer(Arc<Server>);

impl WorkerLink for ByServer {
    fn send(&self, worker: WorkerId, stamp: Stamp, message: ToWorker) {
        self.0.send(worker, &stamp, &message);
    }

    fn give_up(&self, worker: WorkerId) {
        self.0.give_up(worker);
    }

    fn release(&self, worker: WorkerId) {
        self.0.release(worker, "its subtasks have moved");
    }
}

/// The workers of a server as a coordinator takes them.
pub(crate) fn workers(server: Arc<Server>, mut from: Events) -> Workers {
    let (events, received) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        while let Some(event) = from.recv().await {
            if events.send(into_link(event)).await.is_err() {
                return;
            }
        }
    });
    Workers { link: Arc::new(ByServer(server)), events: received }
}

fn into_link(event: ServerEvent) -> LinkEvent {
    match event {
        ServerEvent::Registered { worker, registration } => LinkEvent::Registered { worker, registration },
        ServerEvent::Draining { worker } => LinkEvent::Draining { worker },
        ServerEvent::Lost { worker, failure } => LinkEvent::Lost { worker, failure },
        ServerEvent::Message { worker, stamp, message } => LinkEvent::Message { worker, stamp, message },
    }
}
