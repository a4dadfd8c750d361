//! Garbage collection: a task of its own, a few deletions at a time, that never holds up a checkpoint.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::{Mutex, mpsc};
use weir_checkpoint::gc::{Retention, Step, Survey, Sweep, plan};
use weir_checkpoint::{Body, Store, StoreError, View};
use weir_protocol::{Failure, FailureKind};
use weir_runtime::{Clock, Random};

use super::journal::Order;
use super::stored::tell;
use super::{Answers, Shell};
use crate::event::{Entry, Event};
use crate::options::Options;

/// Deletions in one step.
const BUDGET: usize = 100;

/// What every run needs.
pub(super) struct Garbage {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    retention: Retention,
    /// Remembers what manifests name; held by one run at a time.
    survey: Arc<Mutex<Survey>>,
    orders: mpsc::WeakUnboundedSender<Order>,
    answers: Answers,
}

impl Garbage {
    pub(super) fn new(
        shell: &Shell,
        options: &Options,
        orders: mpsc::WeakUnboundedSender<Order>,
        answers: Answers,
    ) -> Self {
        let config = &options.config.checkpoint;
        Self {
            store: Arc::clone(&shell.store),
            clock: Arc::clone(&shell.clock),
            random: Arc::clone(&shell.random),
            retention: Retention { keep: config.retain, expiration: config.expiration },
            survey: Arc::default(),
            orders,
            answers,
        }
    }

    /// Starts a run from what the journal says now. The coordinator asks for one at a time.
    pub(super) fn begin(&mut self, view: View) {
        let run = Run {
            store: Arc::clone(&self.store),
            random: Arc::clone(&self.random),
            retention: self.retention,
            now_us: self.clock.now().0,
            survey: Arc::clone(&self.survey),
            orders: self.orders.clone(),
        };
        let answers = self.answers.clone();
        tokio::spawn(async move {
            let (proposed, failure) = match run.go(view).await {
                Ok((proposed, blocked)) => (proposed, blocked),
                Err(error) => (Vec::new(), Some(error.to_string())),
            };
            let failure = failure.map(|why| Failure::new(FailureKind::Store, why).at("garbage collection"));
            tell(&answers, Event::GarbageCollected { proposed, failure });
        });
    }
}

struct Run {
    store: Arc<dyn Store>,
    random: Arc<dyn Random>,
    retention: Retention,
    now_us: u64,
    survey: Arc<Mutex<Survey>>,
    orders: mpsc::WeakUnboundedSender<Order>,
}

impl Run {
    async fn go(self, view: View) -> Result<(Vec<Entry>, Option<String>), StoreError> {
        let inventory = self.survey.lock().await.take(self.store.as_ref(), &view).await?;
        // Numbers rise and one is taken at a time, so what is in flight is above all that is completed, and
        // it builds on the newest, which is never dropped.
        let plan = plan(&view, &inventory, self.retention, &BTreeSet::new(), self.now_us);
        let proposed = plan.append.iter().map(|proposed| match &proposed.body {
            Body::Claim { .. } => Entry::Renewal,
            body => Entry::Body(body.clone()),
        });
        let (proposed, blocked) = (proposed.collect(), plan.blocked.clone());
        let mut sweep = Sweep::new(plan);
        loop {
            match sweep.step(self.store.as_ref(), self.random.as_ref(), BUDGET).await? {
                Step::Done => return Ok((proposed, blocked)),
                Step::Deleted(_) => {}
                Step::Boundary(slot) => {
                    if let Some(orders) = self.orders.upgrade() {
                        // If the journal's task is gone, it needs to know nothing.
                        let _ = orders.send(Order::Boundary(slot));
                    }
                }
            }
        }
    }
}
