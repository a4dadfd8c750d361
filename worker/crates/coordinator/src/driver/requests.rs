//! What others ask of a coordinator, and the way back to them.

use std::collections::BTreeMap;

use tokio::sync::{mpsc, oneshot};

use crate::event::{Accepted, Refused, Request, Ticket};

/// Questions that may wait.
const WAITING: usize = 64;

type Question = (Request, oneshot::Sender<Result<Accepted, Refused>>);

/// The way to ask something of a coordinator while it runs. Cheap to clone.
#[derive(Clone)]
pub struct Requests(mpsc::Sender<Question>);

/// Why there is no answer that says yes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The coordinator says no.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// It has ended, or did before it answered.
    #[error("the coordinator has ended")]
    Gone,
}

impl Requests {
    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn ask(&self, request: Request) -> Result<Accepted, AskError> {
        let (answer, answered) = oneshot::channel();
        self.0.send((request, answer)).await.map_err(|_| AskError::Gone)?;
        Ok(answered.await.map_err(|_| AskError::Gone)??)
    }
}

/// The coordinator's end.
pub(super) struct Asked {
    sender: mpsc::Sender<Question>,
    questions: mpsc::Receiver<Question>,
    open: BTreeMap<Ticket, oneshot::Sender<Result<Accepted, Refused>>>,
    last: Ticket,
}

impl Asked {
    pub(super) fn new() -> Self {
        let (sender, questions) = mpsc::channel(WAITING);
        Self { sender, questions, open: BTreeMap::new(), last: 0 }
    }

    pub(super) fn requests(&self) -> Requests {
        Requests(self.sender.clone())
    }

    /// The next question. A call that is given up loses nothing.
    pub(super) async fn next(&mut self) -> Option<(Ticket, Request)> {
        let (request, answer) = self.questions.recv().await?;
        self.last += 1;
        self.open.insert(self.last, answer);
        Some((self.last, request))
    }

    pub(super) fn answer(&mut self, ticket: Ticket, answer: Result<Accepted, Refused>) {
        if let Some(asker) = self.open.remove(&ticket) {
            // Who asked may have left.
            let _ = asker.send(answer);
        }
    }
}
