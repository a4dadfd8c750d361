//! The link between coordinator and worker when both are in one process.

use std::sync::Arc;

use tokio::sync::mpsc;
use weir_coordinator::{LinkEvent, WorkerLink};
use weir_dataflow::{WorkerInput, WorkerOutput};
use weir_protocol::{Registration, Stamp, ToWorker, WorkerId};

/// Messages that may wait for the coordinator: it answers each at once.
const WAITING: usize = 1024;

struct InProcess(mpsc::UnboundedSender<WorkerInput>);

impl WorkerLink for InProcess {
    fn send(&self, _worker: WorkerId, stamp: Stamp, message: ToWorker) {
        // A worker that is gone has told why.
        let _ = self.0.send(WorkerInput::Message(stamp, message));
    }

    fn release(&self, _worker: WorkerId) {
        let _ = self.0.send(WorkerInput::Release);
    }
}

/// The coordinator's ends, then the worker's.
pub(super) type Ends = (
    Arc<dyn WorkerLink>,
    mpsc::Receiver<LinkEvent>,
    mpsc::UnboundedReceiver<WorkerInput>,
    mpsc::UnboundedSender<WorkerOutput>,
);

/// Joins the coordinator to worker 1 with this many slots.
pub(super) fn in_process(slots: u32) -> Ends {
    let (to_worker, worker_input) = mpsc::unbounded_channel();
    let (worker_output, mut from_worker) = mpsc::unbounded_channel();
    let (events, received) = mpsc::channel(WAITING);
    let worker = WorkerId(1);
    // It is connected from its first moment to its last.
    let _ = to_worker.send(WorkerInput::Connected { worker });
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
        while let Some(said) = from_worker.recv().await {
            let event = match said {
                WorkerOutput::Message(stamp, message) => LinkEvent::Message { worker, stamp, message },
                WorkerOutput::Draining => LinkEvent::Draining { worker },
            };
            if events.send(event).await.is_err() {
                return;
            }
        }
    });
    (Arc::new(InProcess(to_worker)), received, worker_input, worker_output)
}
