//! Reading that waits out what passes by itself, and tells of it meanwhile.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use weir_dataflow::{OpenSource, Trouble};
use weir_protocol::{Failure, FailureKind};

use super::files::{Files, Later, ReadError};

/// The first pause before another try; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Reads files of a place for one subtask.
#[derive(Clone)]
pub(crate) struct Reader {
    pub(crate) files: Arc<dyn Files>,
    pub(crate) io: tokio::runtime::Handle,
    trouble: Arc<Trouble>,
}

impl Reader {
    pub(crate) fn new(files: Arc<dyn Files>, table: &str, context: &OpenSource) -> Self {
        let place = format!("source {table}/{}", context.index);
        Self { files, io: context.io.clone(), trouble: Arc::new(context.troubles.place(place)) }
    }

    /// Tries until it works, or can't, or nobody waits for the answer any more.
    pub(crate) async fn retry<'a, T, S>(
        &'a self,
        answer: &mpsc::Sender<S>,
        read: impl Fn(&'a dyn Files) -> Later<'a, T>,
    ) -> Result<T, Failure> {
        let mut pause = FIRST_PAUSE;
        loop {
            match read(self.files.as_ref()).await {
                Ok(value) => {
                    self.trouble.clear();
                    return Ok(value);
                }
                Err(ReadError::Passing(message)) => {
                    self.trouble.set(Failure::new(FailureKind::Source, message));
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = answer.closed() => return Err(Failure::new(FailureKind::Source, "reading was stopped")),
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Err(error) => return Err(error.failure()),
            }
        }
    }
}
