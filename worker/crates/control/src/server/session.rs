//! One worker's connection, from its first frame to its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tonic::Streaming;
use weir_protocol::{Failure, FailureKind, WorkerId};

use super::events::{Answer, Left, Link, ServerEvent, Shared};
use super::roster::Admitted;
use super::{Given, count};
use crate::frame::{
    CoordinatorFrame, FromCoordinatorFrame, FromWorkerFrame, Hello, Refusal, Welcome, WorkerFrame,
};
use crate::outbox::Outbox;
use crate::stream::{End, beat, next_frame};
use crate::wire::{self, WireError};

/// Runs a session; when it returns, the connection can be closed.
pub(super) async fn run(
    given: Arc<Given>,
    shared: Arc<Shared>,
    peer: SocketAddr,
    mut inbound: Streaming<WorkerFrame>,
    outbox: Outbox<CoordinatorFrame>,
) {
    let (over, ended) = watch::channel(false);
    match next_frame(&mut inbound, given.limits.handshake).await.and_then(hello) {
        Ok(hello) => {
            let link = Link { outbox: outbox.clone(), over, released: false };
            match shared.admit(&hello, link, |admitted| welcome(&given, admitted)) {
                Answer::Taken(admitted) => {
                    count(&given.counts.registered);
                    tracing::info!(worker = %admitted.worker, %peer, name = %admitted.registration.name, "worker registered");
                    let end = tokio::select! {
                        end = read(&given, &shared, admitted.worker, &mut inbound) => end,
                        end = beat(&outbox, given.heartbeat) => end,
                        () = told(ended) => End::Told,
                    };
                    leave(&given, &shared, admitted.worker, &end);
                }
                Answer::Refused(refused) => {
                    count(&given.counts.refused);
                    tracing::warn!(%peer, "worker refused: {refused}");
                    let refusal = Refusal { reason: refused.to_string() };
                    let _ = outbox.push(FromCoordinatorFrame::Refusal(refusal).into());
                }
                Answer::Released => {}
            }
        }
        Err(End::Malformed(what)) => {
            count(&given.counts.malformed);
            tracing::warn!(%peer, "a first frame that can't be understood: {what}");
        }
        Err(end) => {
            count(&given.counts.failed_handshakes);
            tracing::debug!(%peer, "no first frame: {end}");
        }
    }
    outbox.finish();
}

fn hello(frame: WorkerFrame) -> Result<Hello, End> {
    match frame.content {
        Some(FromWorkerFrame::Hello(hello)) => Ok(hello),
        None => Err(WireError::Empty.into()),
        Some(other) => Err(WireError::Order { got: name(&other), expected: "a hello" }.into()),
    }
}

fn name(frame: &FromWorkerFrame) -> &'static str {
    match frame {
        FromWorkerFrame::Hello(_) => "a hello",
        FromWorkerFrame::Message(_) => "a message",
        FromWorkerFrame::Heartbeat(_) => "a heartbeat",
        FromWorkerFrame::Draining(_) => "a wish to drain",
    }
}

fn welcome(given: &Given, admitted: &Admitted) -> Welcome {
    let ms = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    Welcome {
        version: admitted.version,
        worker: admitted.worker.0,
        config: given.config.clone(),
        heartbeat_ms: ms(given.heartbeat.every),
        lost_after_ms: ms(given.heartbeat.lost_after),
    }
}

/// Passes on what the worker says. While the coordinator takes nothing nothing is read, and the worker's
/// silence does not count.
async fn read(given: &Given, shared: &Shared, worker: WorkerId, inbound: &mut Streaming<WorkerFrame>) -> End {
    loop {
        let passed = match next_frame(inbound, given.heartbeat.lost_after).await {
            Ok(frame) => pass(given, shared, worker, frame).await,
            Err(end) => Err(end),
        };
        if let Err(end) = passed {
            return end;
        }
    }
}

async fn pass(given: &Given, shared: &Shared, worker: WorkerId, frame: WorkerFrame) -> Result<(), End> {
    let there = match frame.content {
        Some(FromWorkerFrame::Message(envelope)) => {
            let bytes = envelope.body.len();
            let (stamp, message) = wire::open(envelope)?;
            if stamp.job != given.job {
                return Err(End::Malformed(format!("job: a message of job {}", stamp.job)));
            }
            shared.pass(ServerEvent::Message { worker, stamp, message }, worker, bytes).await
        }
        Some(FromWorkerFrame::Draining(_)) => shared.pass(ServerEvent::Draining { worker }, worker, 0).await,
        Some(FromWorkerFrame::Heartbeat(_)) => true,
        Some(FromWorkerFrame::Hello(_)) => {
            return Err(WireError::Order { got: "a hello", expected: "a message" }.into());
        }
        None => return Err(WireError::Empty.into()),
    };
    if there { Ok(()) } else { Err(End::Told) }
}

async fn told(mut over: watch::Receiver<bool>) {
    // The sender lives as long as the worker is there.
    let _ = over.wait_for(|over| *over).await;
}

fn leave(given: &Given, shared: &Shared, worker: WorkerId, end: &End) {
    if matches!(end, End::Malformed(_)) {
        count(&given.counts.malformed);
    }
    let failure = Failure::new(FailureKind::Worker, end.to_string());
    match shared.lose(worker, failure) {
        Left::Before => {}
        Left::Released => tracing::info!(%worker, "worker left"),
        Left::Lost => {
            count(&given.counts.lost);
            tracing::warn!(%worker, "worker lost: {end}");
        }
    }
}
