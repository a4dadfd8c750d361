//! The link between coordinator and worker when both are in one process.

use std::sync::Arc;

use tokio::sync::mpsc;
use weir_coordinator::{LinkEvent, WorkerLink};
use weir_protocol::{FromWorker, Registration, Stamp, ToWorker, WorkerId};

/// Messages that may wait for the coordinator: it answers each at once.
const WAITING: usize = 1024;

struct InProcess(mpsc::UnboundedSender<(Stamp, ToWorker)>);

impl WorkerLink for InProcess {
    fn send(&self, _worker: WorkerId, stamp: Stamp, message: ToWorker) {
        // A worker that is gone has told why.
        let _ = self.0.send((stamp, message));
    }
}

/// The coordinator's ends, then the worker's.
pub(super) type Ends = (
    Arc<dyn WorkerLink>,
    mpsc::Receiver<LinkEvent>,
    mpsc::UnboundedReceiver<(Stamp, ToWorker)>,
    mpsc::UnboundedSender<(Stamp, FromWorker)>,
);

/// Joins the coordinator to worker 1 with this many slots.
pub(super) fn in_process(slots: u32) -> Ends {
    let (to_worker, worker_input) = mpsc::unbounded_channel();
    let (worker_output, mut from_worker) = mpsc::unbounded_channel();
    let (events, received) = mpsc::channel(WAITING);
    let worker = WorkerId(1);
    tokio::spawn(async move {
        let name = format!("this process ({})", std::process::id());
        let registration = Registration {
            process: String::new(),
            name,
            slots,
            data_address: None,
            running: None,
            draining: false,
        };
        if events.send(LinkEvent::Registered { worker, registration: Box::new(registration) }).await.is_err()
        {
            return;
        }
        while let Some((stamp, message)) = from_worker.recv().await {
            if events.send(LinkEvent::Message { worker, stamp, message }).await.is_err() {
                return;
            }
        }
    });
    (Arc::new(InProcess(to_worker)), received, worker_input, worker_output)
}
