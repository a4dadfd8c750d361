//! What workers do, and what passes between them and their coordinator.

use weir_coordinator::Event;
use weir_protocol::{CheckpointId, FromWorker, Stamp};

use crate::setup::Mutant;
use crate::worker::{Effect, Handle, Item, value};
use crate::world::World;
use crate::world::choices::failure;

impl World {
    pub(super) fn deliver_to_worker(&mut self, p: usize, w: usize) {
        let Some((stamp, message)) = self.processes[p].workers[w].inbox.pop_front() else {
            return;
        };
        let (splits, store) = (self.setup.splits, &self.store);
        let quiet_left_out = self.setup.mutant == Some(Mutant::QuietSplitLeftOut);
        let find = |key: &str| store.manifests.get(key).cloned();
        let effect = self.processes[p].workers[w].take(stamp, message, splits, quiet_left_out, find);
        match effect {
            Some(Effect::Commit(stamp, id, handles)) => self.commit(p, w, stamp, id, handles),
            Some(Effect::Barrier(id)) => self.send_on(p, w, &Item::Barrier(id), None),
            None => {}
        }
        self.say_exhausted(p, w);
    }

    /// Puts an item into the channels of a source subtask: to one sink subtask, or to all.
    fn send_on(&mut self, p: usize, w: usize, item: &Item, to: Option<usize>) {
        let stamp = self.processes[p].workers[w].stamp.clone();
        for (at, target) in self.processes[p].workers.iter_mut().enumerate() {
            if to.is_none_or(|to| to == at) && target.stamp == stamp {
                target.inputs[w].push_back(item.clone());
            }
        }
    }

    pub(super) fn read(&mut self, p: usize, w: usize, split: u32) {
        let workers = self.setup.workers;
        let Some(at) = self.processes[p].workers[w].source.positions.get_mut(&split) else {
            return;
        };
        let row = value(split, *at);
        *at += 1;
        self.send_on(p, w, &Item::Row(row), Some(row as usize % workers));
        self.say_exhausted(p, w);
    }

    fn say_exhausted(&mut self, p: usize, w: usize) {
        let rows = self.setup.rows;
        let worker = &mut self.processes[p].workers[w];
        let over = worker.source.positions.values().all(|at| *at >= rows);
        if worker.reading && over && !worker.exhausted {
            worker.exhausted = true;
            let vertex = weir_protocol::VertexId::of("source");
            let subtask = weir_protocol::SubtaskId { vertex, index: worker.index };
            worker.say(FromWorker::Exhausted { subtask });
        }
    }

    pub(super) fn commit(
        &mut self,
        p: usize,
        w: usize,
        stamp: Stamp,
        id: CheckpointId,
        handles: Vec<Handle>,
    ) {
        // Sometimes the outside is away for a moment.
        if !self.setup.eager && self.left.failures > 0 && self.events.is_multiple_of(5) {
            let worker = &mut self.processes[p].workers[w];
            worker.put_off.push_back((stamp, id, handles));
            return worker.say(FromWorker::CommitFailed { id, failure: failure("away on purpose") });
        }
        for handle in &handles {
            self.make_visible(handle);
        }
        self.processes[p].workers[w].say(FromWorker::Committed { id });
    }

    pub(super) fn make_visible(&mut self, handle: &Handle) {
        self.ghost.made_visible(handle, &self.store);
        self.store.visible.entry(handle.name.clone()).or_insert_with(|| handle.rows.clone());
    }

    pub(super) fn upload(&mut self, p: usize, w: usize, ok: bool) {
        let Some(upload) = self.processes[p].workers[w].uploads.pop_front() else {
            return;
        };
        let worker = &mut self.processes[p].workers[w];
        if ok {
            for object in &upload.ack.objects {
                self.store.data.insert(object.key.clone(), object.size);
            }
            worker.say(FromWorker::Ack { id: upload.id, ack: Box::new(upload.ack) });
        } else {
            self.left.failures -= 1;
            let subtask = upload.ack.subtask;
            worker.say(FromWorker::Decline {
                id: upload.id,
                subtask,
                failure: failure("declined on purpose"),
            });
        }
    }

    pub(super) fn deliver_from_worker(&mut self, p: usize, w: usize) {
        let worker = &mut self.processes[p].workers[w];
        let id = worker.id;
        if let Some((stamp, message)) = worker.outbox.pop_front() {
            self.tell(p, Event::Message { worker: id, stamp, message });
        }
    }

    pub(super) fn again(&mut self, p: usize) {
        let process = &mut self.processes[p];
        let Some((worker, mut stamp, mut message)) = process.repeats.pop_front() else {
            return;
        };
        if self.setup.mutant == Some(Mutant::OldAckAccepted)
            && let FromWorker::Ack { id, .. } = &mut message
        {
            // A coordinator that looks at neither execution nor number takes it as if it were current.
            stamp.execution = process.state.execution();
            *id = process.state.checkpoint_in_flight().unwrap_or(*id);
        }
        self.tell(p, Event::Message { worker, stamp, message });
    }
}
