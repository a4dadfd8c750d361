//! Events into the real step function, and its actions carried out.

use std::collections::BTreeSet;

use weir_checkpoint::gc::{Inventory, Retention, plan};
use weir_checkpoint::store::Listed;
use weir_checkpoint::{Body, Manifest, View};
use weir_coordinator::status::{JobStatus, RecoveryCause};
use weir_coordinator::{Action, Entry, Event, Loaded, Moment, step};
use weir_protocol::{Failure, FailureKind, ManifestRef, ObjectRef, Stamp, SubtaskId, ToWorker, WorkerId};

use crate::process::Sweeping;
use crate::setup::Mutant;
use crate::world::World;

impl World {
    /// Gives an event to a process' coordinator and does what it wants.
    pub(super) fn tell(&mut self, p: usize, event: Event) {
        self.events += 1;
        let moment = Moment { now: self.now, random: self.events.wrapping_mul(0x9e37_79b9_7f4a_7c15) };
        let actions = step(&mut self.processes[p].state, event, moment);
        for action in actions {
            if self.processes[p].lives() {
                self.act(p, action);
            }
        }
    }

    fn act(&mut self, p: usize, action: Action) {
        match action {
            Action::Send { worker, stamp, message } => self.send(p, worker, stamp, message.into_inner()),
            Action::GiveUp { worker } => {
                let link = self.worker_of(p, worker).and_then(|w| self.workers[w].link.as_mut());
                if let Some(link) = link {
                    link.cut = true;
                    link.outbox.clear();
                }
            }
            Action::Release { worker } => self.release(p, worker),
            Action::Plan { parallelism } => {
                let result = Ok(Box::new(weir_coordinator::testing::graph(parallelism)));
                self.tell(p, Event::Planned { parallelism, result });
            }
            Action::Answer { .. } => {}
            // Nobody asks for them here.
            Action::CopySavepoint { .. } | Action::Import { .. } => {}
            Action::LoadManifest { id, manifest } => {
                let result = match self.store.manifests.get(&manifest.key) {
                    Some(found) => Ok(Box::new(Loaded {
                        max_parallelism: found.max_parallelism,
                        parallelism: found.parallelism,
                        sinks: handles(found),
                    })),
                    None => Err(Failure::new(FailureKind::StateUnreadable, "the manifest is gone")),
                };
                self.tell(p, Event::ManifestLoaded { id, result });
            }
            Action::WriteManifest(manifest) => self.processes[p].manifest = Some(*manifest),
            Action::VerifyObjects { id, objects } => {
                let missing = objects.into_iter().find(|object| !self.store.data.contains_key(&object.key));
                let result = missing.map_or(Ok(()), |object: ObjectRef| {
                    Err(Failure::new(FailureKind::StateUnreadable, object.key))
                });
                self.tell(p, Event::ObjectsVerified { id, result });
            }
            Action::Append(entry) => {
                self.commit_too_early(p, &entry);
                self.begin_append(p, entry);
            }
            Action::SetTimer { at } => self.processes[p].timer = Some(at),
            Action::CollectGarbage => self.begin_sweep(p),
            Action::Exit(exit) => self.ended(p, exit),
        }
    }

    fn send(&mut self, p: usize, worker: WorkerId, stamp: Stamp, message: ToWorker) {
        match &message {
            ToWorker::Deploy { restore, .. } => self.deploys(p, &stamp, restore.as_ref()),
            ToWorker::Adopt { deployed } => self.takes_over(p, deployed),
            _ => {}
        }
        let draining = self.setup.mutant == Some(Mutant::ReleasedTooEarly)
            && matches!(&message, ToWorker::Trigger { hold: true, .. });
        let link = self.worker_of(p, worker).and_then(|w| self.workers[w].link.as_mut());
        if let Some(link) = link {
            link.inbox.push_back((stamp, message));
            let leaves = self.worker_of(p, worker).filter(|w| draining && self.workers[*w].draining);
            if leaves.is_some() {
                self.release(p, worker);
            }
        }
    }

    /// A process that has the authority starts an execution.
    fn deploys(&mut self, p: usize, stamp: &Stamp, restore: Option<&ManifestRef>) {
        let process = &mut self.processes[p];
        if process.deployed.as_ref() == Some(stamp) {
            return;
        }
        let before = process.deployed.replace(stamp.clone());
        let status = JobStatus::of(&process.state, self.now);
        let moved = status
            .recoveries
            .first()
            .is_some_and(|recovery| matches!(recovery.cause, RecoveryCause::Drain | RecoveryCause::Rescale));
        if let Some(before) = before.filter(|_| moved && self.ghost.attempt() == stamp.attempt) {
            let manifest = restore.and_then(|at| self.store.manifests.get(&at.key));
            self.ghost.moved(&before, manifest);
        }
    }

    /// A process takes over what runs: all of it, and only what goes on from the newest checkpoint.
    fn takes_over(&mut self, p: usize, deployed: &Stamp) {
        let process = &mut self.processes[p];
        process.deployed = Some(deployed.clone());
        let number = process.number;
        let links = self.workers.iter().filter_map(|worker| worker.link.as_ref());
        let there = links.filter(|link| link.process == number && !link.cut).map(|link| &link.said);
        // It can't know of those that have left it in silence; they will be missed soon enough.
        let said = there.chain(process.gone.iter().map(|(_, said)| said));
        let parts: Vec<_> = said
            .filter_map(|said| said.running.as_ref())
            .filter(|running| running.deployed == *deployed)
            .collect();
        let there: BTreeSet<SubtaskId> =
            parts.iter().flat_map(|running| &running.placed).map(|(subtask, _)| *subtask).collect();
        let parallelism = parts.first().map_or(0, |running| running.parallelism);
        let all: BTreeSet<SubtaskId> = weir_coordinator::testing::graph(parallelism).subtasks().collect();
        let newest = self.ghost.captured(process.state.attempt());
        let goes_on = parts.iter().all(|running| match newest {
            Some(_) => running.completed == newest || running.acknowledged == newest,
            None => running.completed.is_none(),
        });
        self.ghost.require(there == all && !all.is_empty(), "A1: taken over although a subtask is missing");
        self.ghost.require(goes_on, "A2: taken over although it does not go on from the newest checkpoint");
    }

    fn commit_too_early(&mut self, p: usize, entry: &Entry) {
        let Entry::Body(Body::Checkpoint { manifest, .. }) = entry else {
            return;
        };
        if self.setup.mutant == Some(Mutant::CommitBeforeRecord)
            && let Some(manifest) = self.store.manifests.get(&manifest.key).cloned()
        {
            let blobs = manifest.parts.iter().flat_map(|part| &part.sinks).flat_map(|s| &s.handles);
            for handle in blobs.filter_map(crate::ghost::read) {
                self.make_visible(&handle);
            }
        }
        let _ = p;
    }

    pub(super) fn manifest(&mut self, p: usize, ok: bool) {
        let Some(manifest) = self.processes[p].manifest.take() else {
            return;
        };
        let id = manifest.id;
        if !ok {
            self.left.failures -= 1;
            let failure = Failure::new(FailureKind::Store, "not written on purpose");
            return self.tell(p, Event::ManifestWritten { id, result: Err(failure) });
        }
        let nonce = self.processes[p].nonce();
        let key = weir_checkpoint::layout::manifest(manifest.attempt, id, &nonce);
        self.ghost.manifests.insert(key.clone(), manifest.clone());
        self.store.manifests.insert(key.clone(), manifest);
        let result = Ok(ManifestRef { key, size: 1, digest: String::new() });
        self.tell(p, Event::ManifestWritten { id, result });
    }

    fn begin_sweep(&mut self, p: usize) {
        let view = &self.processes[p].view;
        let inventory = self.inventory(view);
        let config = &self.setup.options.config.checkpoint;
        let retention = Retention { keep: config.retain, expiration: config.expiration };
        let plan = plan(view, &inventory, retention, &BTreeSet::new(), self.now.0);
        self.processes[p].sweep = Some(Sweeping::of(plan));
    }

    fn inventory(&self, view: &View) -> Inventory {
        let keys = self.store.manifests.keys().chain(self.store.data.keys());
        let mut inventory = Inventory {
            slots: self.store.records.keys().copied().collect(),
            files: keys.map(|key| Listed { key: key.clone(), size: 1 }).collect(),
            ..Inventory::default()
        };
        for checkpoint in view.checkpoints() {
            match self.store.manifests.get(&checkpoint.manifest.key) {
                Some(manifest) => {
                    let keys = manifest.objects.iter().map(|object| object.key.clone()).collect();
                    inventory.named.insert(checkpoint.id, keys);
                }
                None => {
                    inventory.unreadable.insert(checkpoint.id, "gone".to_owned());
                }
            }
        }
        inventory
    }

    pub(super) fn sweep(&mut self, p: usize) {
        let Some(mut sweep) = self.processes[p].sweep.take() else {
            return;
        };
        if let Some(key) = sweep.manifests.pop() {
            self.store.manifests.remove(&key);
        } else if let Some(key) = sweep.data.pop() {
            self.store.data.remove(&key);
        } else if let Some(boundary) = sweep.boundary.take() {
            let nonce = self.processes[p].nonce();
            self.store.move_boundary(boundary, nonce);
            self.processes[p].view.advance(boundary);
        } else if let Some(slot) = sweep.slots.pop() {
            self.store.records.remove(&slot);
        } else {
            let event = Event::GarbageCollected { proposed: sweep.proposed, failure: None };
            return self.tell(p, event);
        }
        self.processes[p].sweep = Some(sweep);
    }
}

fn handles(manifest: &Manifest) -> Vec<(weir_protocol::SubtaskId, weir_protocol::SinkHandles)> {
    let parts = manifest.parts.iter();
    let all = parts.flat_map(|part| part.sinks.iter().map(|sink| (part.subtask, sink.clone())));
    all.filter(|(_, sink)| !sink.handles.is_empty()).collect()
}
