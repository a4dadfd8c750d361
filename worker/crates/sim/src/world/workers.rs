//! What workers do, and what passes between them and coordinators.

use weir_coordinator::Event;
use weir_protocol::{CheckpointId, FromWorker, Registration, Stamp, SubtaskId, VertexId, WorkerId};

use crate::setup::Mutant;
use crate::task::{Handle, Item, target, value};
use crate::worker::{Effect, Link, Outside, Worker};
use crate::world::World;
use crate::world::choices::failure;

impl World {
    /// The process that a worker is connected to, if that end is there.
    pub(super) fn process_of(&self, w: usize) -> Option<usize> {
        let link = self.workers[w].link.as_ref().filter(|link| !link.cut)?;
        self.processes.iter().position(|process| process.number == link.process)
    }

    /// The worker that a process calls by this number.
    pub(super) fn worker_of(&self, p: usize, id: WorkerId) -> Option<usize> {
        let number = self.processes[p].number;
        let is = |link: &Link| link.process == number && link.id == id && !link.cut;
        self.workers.iter().position(|worker| worker.link.as_ref().is_some_and(is))
    }

    /// Connections to processes that are no more.
    pub(super) fn cut_off(&mut self) {
        for worker in &mut self.workers {
            if let Some(link) = &mut worker.link {
                link.cut |= !self.processes.iter().any(|process| process.number == link.process);
            }
        }
    }

    pub(super) fn connect(&mut self, w: usize, p: usize) {
        let said = self.workers[w].registration(w, self.setup.slots);
        // A process is known again: that its connection before is lost is told first.
        let again = |(_, left): &(WorkerId, Registration)| left.process == said.process;
        while let Some(at) = self.processes[p].gone.iter().position(again) {
            if let Some((worker, _)) = self.processes[p].gone.remove(at) {
                self.tell(p, Event::WorkerLost { worker, failure: failure("it left") });
            }
        }
        let process = &mut self.processes[p];
        let id = WorkerId(process.next_worker);
        process.next_worker += 1;
        self.workers[w].link = Some(Link {
            process: process.number,
            id,
            cut: false,
            said: said.clone(),
            inbox: Default::default(),
            outbox: Default::default(),
        });
        let registration = Box::new(self.twisted(said));
        self.tell(p, Event::WorkerRegistered { worker: id, registration });
    }

    /// What a coordinator takes for true that is wrong on purpose.
    fn twisted(&self, mut said: Registration) -> Registration {
        if let Some(running) = &mut said.running {
            match self.setup.mutant {
                Some(Mutant::AdoptIncomplete) => {
                    let taken: Vec<_> = running.placed.iter().map(|(subtask, _)| *subtask).collect();
                    let graph = weir_coordinator::testing::graph(running.parallelism);
                    let missing = graph.subtasks().filter(|subtask| !taken.contains(subtask));
                    running.placed.extend(missing.map(|subtask| (subtask, subtask.index)));
                }
                Some(Mutant::AdoptOlder) => running.completed = self.ghost.newest().map(|(id, ..)| id),
                _ => {}
            }
        }
        said
    }

    /// A coordinator loses a worker, which does not notice.
    pub(super) fn cut(&mut self, w: usize) {
        let Some(p) = self.process_of(w) else {
            return;
        };
        if let Some(link) = &mut self.workers[w].link {
            link.cut = true;
            link.outbox.clear();
            let worker = link.id;
            self.tell(p, Event::WorkerLost { worker, failure: failure("lost on purpose") });
        }
    }

    /// A worker leaves its coordinator.
    pub(super) fn leave(&mut self, w: usize) {
        if let (Some(p), Some(link)) = (self.process_of(w), &self.workers[w].link) {
            let left = (link.id, link.said.clone());
            self.processes[p].gone.push_back(left);
        }
        self.workers[w].disconnect();
    }

    /// A worker's process ends, and another comes in its place.
    pub(super) fn kill(&mut self, w: usize) {
        self.cut(w);
        self.workers[w] = Worker::new(self.workers[w].life + 1);
    }

    pub(super) fn drain(&mut self, w: usize) {
        self.workers[w].draining = true;
        if let (Some(p), Some(link)) = (self.process_of(w), &self.workers[w].link) {
            let worker = link.id;
            self.tell(p, Event::WorkerDraining { worker });
        }
    }

    /// A coordinator lets a worker go.
    pub(super) fn release(&mut self, p: usize, id: WorkerId) {
        let Some(w) = self.worker_of(p, id) else {
            return;
        };
        let process = &self.processes[p];
        let run = self.workers[w].run.as_ref();
        let runs = run.is_some_and(|run| Some(&run.deployed) == process.deployed.as_ref());
        let needed = runs && process.state.is_running();
        self.ghost
            .require(!needed, "D2: a worker was let go while subtasks of the running execution are on it");
        self.kill(w);
    }

    pub(super) fn deliver_to_worker(&mut self, w: usize) {
        let message = self.workers[w].link.as_mut().and_then(|link| link.inbox.pop_front());
        if let Some((stamp, message)) = message {
            self.give(w, stamp, message);
        }
    }

    pub(super) fn deliver_stray(&mut self, w: usize) {
        if let Some((stamp, message)) = self.workers[w].strays.pop_front() {
            self.give(w, stamp, message);
        }
    }

    fn give(&mut self, w: usize, stamp: Stamp, message: weir_protocol::ToWorker) {
        let store = &self.store;
        let find = |key: &str| store.manifests.get(key).cloned();
        let outside = Outside {
            splits: self.setup.splits,
            groups: self.setup.options.config.max_parallelism,
            mutant: self.setup.mutant,
            manifest: &find,
        };
        match self.workers[w].take(stamp, message, &outside) {
            Some(Effect::Commit(stamp, id, handles)) => self.commit(w, stamp, id, handles),
            Some(Effect::Barrier(id, completed)) => {
                let tasks = self.workers[w].run.iter().flat_map(|run| run.tasks.keys().copied());
                for from in tasks.collect::<Vec<_>>() {
                    self.send_on(w, from, &Item::Barrier { id, completed }, None);
                }
            }
            None => {}
        }
        self.say_exhausted(w);
    }

    /// Puts an item into the channels of a source subtask: to one sink subtask, or to all.
    fn send_on(&mut self, w: usize, from: u32, item: &Item, to: Option<u32>) {
        let Some(deployed) = self.workers[w].run.as_ref().map(|run| run.deployed.clone()) else {
            return;
        };
        let any = self.setup.mutant == Some(Mutant::OldRowsAccepted);
        for run in self.workers.iter_mut().filter_map(|worker| worker.run.as_mut()) {
            if run.deployed != deployed && !(any && matches!(item, Item::Row(_))) {
                continue;
            }
            for (_, task) in run.tasks.iter_mut().filter(|(index, _)| to.is_none_or(|to| to == **index)) {
                if let Some(input) = task.inputs.get_mut(&from) {
                    input.push_back(item.clone());
                }
            }
        }
    }

    pub(super) fn read(&mut self, w: usize, t: u32, split: u32) {
        let Some(run) = &mut self.workers[w].run else {
            return;
        };
        let Some(at) = run.tasks.get_mut(&t).and_then(|task| task.source.positions.get_mut(&split)) else {
            return;
        };
        let row = value(split, *at);
        *at += 1;
        let (deployed, at, to) = (run.deployed.clone(), *at, target(row, run.shape));
        self.ghost.read_up_to(deployed, split, at);
        self.send_on(w, t, &Item::Row(row), Some(to));
        self.say_exhausted(w);
    }

    fn say_exhausted(&mut self, w: usize) {
        let rows = self.setup.rows;
        let worker = &mut self.workers[w];
        let Some(run) = worker.run.as_mut().filter(|run| run.reading && run.held.is_none()) else {
            return;
        };
        let stamp = run.stamp.clone();
        let mut over = Vec::new();
        for (index, task) in &mut run.tasks {
            if !task.exhausted && task.source.positions.values().all(|at| *at >= rows) {
                task.exhausted = true;
                over.push(SubtaskId { vertex: VertexId::of("source"), index: *index });
            }
        }
        for subtask in over {
            worker.say(&stamp, FromWorker::Exhausted { subtask });
        }
    }

    /// A sink subtask takes an item of an input.
    pub(super) fn receive(&mut self, w: usize, t: u32, from: u32) {
        let Some(run) = &mut self.workers[w].run else {
            return;
        };
        let groups = run.shape.groups;
        let Some(task) = run.tasks.get_mut(&t) else {
            return;
        };
        match task.inputs.get_mut(&from).and_then(std::collections::VecDeque::pop_front) {
            Some(Item::Row(row)) => task.row(row, groups),
            Some(Item::Barrier { id, completed }) => {
                let aligned = task.barrier(from, id);
                run.begin(id, completed);
                if aligned {
                    run.freeze_sink(t, id);
                }
            }
            None => {}
        }
    }

    pub(super) fn commit(&mut self, w: usize, stamp: Stamp, id: CheckpointId, handles: Vec<Handle>) {
        // Sometimes the outside is away for a moment.
        if !self.setup.eager && self.left.failures > 0 && self.events.is_multiple_of(5) {
            let worker = &mut self.workers[w];
            worker.put_off.push_back((stamp.clone(), id, handles));
            return worker.say(&stamp, FromWorker::CommitFailed { id, failure: failure("away on purpose") });
        }
        self.commit_again(w, &stamp, id, &handles);
    }

    pub(super) fn commit_again(&mut self, w: usize, stamp: &Stamp, id: CheckpointId, handles: &[Handle]) {
        for handle in handles {
            self.make_visible(handle);
        }
        self.workers[w].say(stamp, FromWorker::Committed { id });
    }

    pub(super) fn make_visible(&mut self, handle: &Handle) {
        self.ghost.made_visible(handle, &self.store);
        self.store.visible.entry(handle.name.clone()).or_insert_with(|| handle.rows.clone());
    }

    pub(super) fn upload(&mut self, w: usize, ok: bool) {
        let worker = &mut self.workers[w];
        let Some(run) = &mut worker.run else {
            return;
        };
        let Some(upload) = run.uploads.pop_front() else {
            return;
        };
        let stamp = run.stamp.clone();
        if ok {
            for object in &upload.ack.objects {
                self.store.data.insert(object.key.clone(), object.size);
            }
            if run.in_flight == Some(upload.id) {
                run.acknowledged += 1;
                worker.say(&stamp, FromWorker::Ack { id: upload.id, ack: Box::new(upload.ack) });
            }
        } else {
            self.left.failures -= 1;
            let subtask = upload.ack.subtask;
            let declined =
                FromWorker::Decline { id: upload.id, subtask, failure: failure("declined on purpose") };
            worker.say(&stamp, declined);
        }
    }

    /// A subtask fails, or the whole worker.
    pub(super) fn fail_task(&mut self, w: usize) {
        self.left.failures -= 1;
        let worker = &mut self.workers[w];
        if let Some(run) = &mut worker.run {
            (run.reading, run.failed) = (false, true);
            run.uploads.clear();
            let stamp = run.stamp.clone();
            worker
                .say(&stamp, FromWorker::Failed { subtask: None, failure: failure("a failure on purpose") });
        }
    }

    pub(super) fn deliver_from_worker(&mut self, w: usize) {
        let Some(p) = self.process_of(w) else {
            return;
        };
        if let Some(link) = &mut self.workers[w].link
            && let Some((stamp, message)) = link.outbox.pop_front()
        {
            let worker = link.id;
            self.tell(p, Event::Message { worker, stamp, message });
        }
    }

    /// The next message of a worker will come once more.
    pub(super) fn repeat(&mut self, w: usize) {
        self.left.repeats -= 1;
        if let (Some(p), Some(link)) = (self.process_of(w), &self.workers[w].link)
            && let Some((stamp, message)) = link.outbox.front().cloned()
        {
            let id = link.id;
            self.processes[p].repeats.push_back((id, stamp, message));
        }
        self.deliver_from_worker(w);
    }

    pub(super) fn again(&mut self, p: usize) {
        let process = &mut self.processes[p];
        let Some((worker, mut stamp, mut message)) = process.repeats.pop_front() else {
            return;
        };
        match (&mut message, self.setup.mutant) {
            // A coordinator that looks at neither execution nor number takes it as if it were current.
            (FromWorker::Ack { id, .. }, Some(Mutant::OldAckAccepted)) => {
                stamp.execution = process.state.execution();
                *id = process.state.checkpoint_in_flight().unwrap_or(*id);
            }
            (FromWorker::Committed { id }, Some(Mutant::OldCommitAccepted)) => {
                stamp.execution = process.state.execution();
                if let Some((newest, ..)) = self.ghost.newest() {
                    *id = newest;
                }
            }
            _ => {}
        }
        self.tell(p, Event::Message { worker, stamp, message });
    }
}
