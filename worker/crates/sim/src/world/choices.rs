//! What can happen next, and what follows of it.

use weir_checkpoint::journal::Request;
use weir_coordinator::testing::registration;
use weir_coordinator::{Event, Exit, State, StopRequest};
use weir_protocol::{Failure, FailureKind, FromWorker, WorkerId};

use crate::choice::Choice;
use crate::process::Process;
use crate::setup::Mutant;
use crate::worker::Worker;
use crate::world::World;

impl World {
    /// Everything that can happen next, in a fixed order.
    pub fn choices(&self) -> Vec<Choice> {
        let mut all = Vec::new();
        if self.left.starts > 0 && self.processes.len() < self.setup.at_once && !self.finished() {
            all.push(Choice::Start);
        }
        all.extend((0..self.late.len()).map(|i| Choice::Arrive { i }));
        for (p, process) in self.processes.iter().enumerate() {
            if self.left.crashes > 0 {
                all.push(Choice::Crash { p });
                if !self.setup.eager {
                    all.push(Choice::Pause { p });
                }
            } else if process.paused {
                all.push(Choice::Pause { p });
            }
            if !process.paused {
                self.of_process(p, process, &mut all);
            }
        }
        all
    }

    fn of_process(&self, p: usize, process: &Process, all: &mut Vec<Choice>) {
        if let Some(request) = process.asks() {
            all.push(Choice::Store { p });
            if self.left.unclear > 0 && matches!(request, Request::Create { .. }) {
                all.push(Choice::LoseAnswer { p });
                all.push(Choice::Late { p });
            }
        }
        if process.unread_claim.is_some() {
            all.push(Choice::Store { p });
        }
        if process.manifest.is_some() {
            all.push(Choice::Manifest { p, ok: true });
            if self.left.failures > 0 {
                all.push(Choice::Manifest { p, ok: false });
            }
        }
        if process.sweep.is_some() {
            all.push(Choice::Sweep { p });
        }
        if process.timer.is_some() && self.left.timers > 0 {
            all.push(Choice::Timer { p });
        }
        if self.left.failures > 0 && process.state.is_running() && !self.setup.eager {
            all.push(Choice::Stop { p });
        }
        if !process.repeats.is_empty() {
            all.push(Choice::Again { p });
        }
        for w in 0..process.workers.len() {
            self.of_worker(p, process, w, all);
        }
    }

    fn of_worker(&self, p: usize, process: &Process, w: usize, all: &mut Vec<Choice>) {
        let worker = &process.workers[w];
        if !worker.inbox.is_empty() {
            all.push(Choice::ToWorker { p, w });
        }
        if !worker.outbox.is_empty() {
            all.push(Choice::FromWorker { p, w });
            if self.left.repeats > 0 {
                all.push(Choice::Repeat { p, w });
            }
        }
        if worker.reading {
            let unread = worker.source.positions.iter().filter(|(_, at)| **at < self.setup.rows);
            all.extend(unread.map(|(split, _)| Choice::Read { p, w, split: *split }));
        }
        all.extend((0..process.workers.len()).filter(|from| worker.open(*from)).map(|from| Choice::Take {
            p,
            from,
            w,
        }));
        if !worker.uploads.is_empty() {
            all.push(Choice::Upload { p, w, ok: true });
        }
        if !worker.put_off.is_empty() {
            all.push(Choice::CommitAgain { p, w });
        }
        if self.left.failures > 0 && worker.stamp.is_some() {
            all.push(Choice::LoseWorker { p, w });
            all.push(Choice::FailTask { p, w });
            if !worker.uploads.is_empty() {
                all.push(Choice::Upload { p, w, ok: false });
            }
        }
    }

    pub(super) fn happen(&mut self, choice: Choice) {
        match choice {
            Choice::Start => self.start(),
            Choice::Crash { p } => {
                self.left.crashes -= 1;
                self.processes.remove(p);
            }
            Choice::Pause { p } => self.processes[p].paused = !self.processes[p].paused,
            Choice::Store { p } => self.answer(p),
            Choice::LoseAnswer { p } => self.lose_answer(p),
            Choice::Late { p } => self.put_off_create(p),
            Choice::Arrive { i } => self.arrive(i),
            Choice::Manifest { p, ok } => self.manifest(p, ok),
            Choice::Sweep { p } => self.sweep(p),
            Choice::Timer { p } => {
                self.left.timers = self.left.timers.saturating_sub(u32::from(self.left.timers != u32::MAX));
                if let Some(at) = self.processes[p].timer.take() {
                    self.now = self.now.max(at);
                }
                self.tell(p, Event::Timer);
            }
            Choice::Stop { p } => {
                self.left.failures -= 1;
                self.tell(p, Event::Stop(StopRequest::Graceful));
            }
            Choice::ToWorker { p, w } => self.deliver_to_worker(p, w),
            Choice::FromWorker { p, w } => self.deliver_from_worker(p, w),
            Choice::Repeat { p, w } => {
                self.left.repeats -= 1;
                let process = &mut self.processes[p];
                if let Some((stamp, message)) = process.workers[w].outbox.front().cloned() {
                    process.repeats.push_back((process.workers[w].id, stamp, message));
                }
                self.deliver_from_worker(p, w);
            }
            Choice::Again { p } => self.again(p),
            Choice::Read { p, w, split } => self.read(p, w, split),
            Choice::Take { p, from, w } => self.processes[p].workers[w].receive(from),
            Choice::Upload { p, w, ok } => self.upload(p, w, ok),
            Choice::CommitAgain { p, w } => {
                if let Some((stamp, id, handles)) = self.processes[p].workers[w].put_off.pop_front() {
                    self.commit(p, w, stamp, id, handles);
                }
            }
            Choice::LoseWorker { p, w } => self.lose_worker(p, w),
            Choice::FailTask { p, w } => {
                self.left.failures -= 1;
                let worker = &mut self.processes[p].workers[w];
                worker.reading = false;
                worker.uploads.clear();
                worker.say(FromWorker::Failed { subtask: None, failure: failure("a failure on purpose") });
            }
        }
        if self.setup.eager {
            self.settle();
        }
    }

    fn start(&mut self) {
        self.left.starts = self.left.starts.saturating_sub(u32::from(self.left.starts != u32::MAX));
        self.started += 1;
        let claim = self.new_claim();
        let workers = self.setup.workers;
        let ids = 1..=workers as u64;
        self.processes.push(Process {
            number: self.started,
            nonces: 0,
            paused: false,
            state: State::new(self.setup.options.clone()),
            claim: Some(claim),
            append: None,
            blind_claim: None,
            unread_claim: None,
            view: weir_checkpoint::View::default(),
            manifest: None,
            timer: None,
            sweep: None,
            workers: ids.clone().map(|id| Worker::new(WorkerId(id), id as u32 - 1, workers)).collect(),
            repeats: Default::default(),
            exit: None,
        });
        let p = self.processes.len() - 1;
        for id in ids {
            self.tell(
                p,
                Event::WorkerRegistered {
                    worker: WorkerId(id),
                    registration: Box::new(registration(1, &format!("w{id}"))),
                },
            );
        }
    }

    fn lose_worker(&mut self, p: usize, w: usize) {
        self.left.failures -= 1;
        let old = self.processes[p].workers[w].id;
        self.tell(p, Event::WorkerLost { worker: old, failure: failure("lost on purpose") });
        self.replace_worker(p, w);
    }

    /// Another worker comes in the place of one that is gone, whose messages do not come any more.
    pub(super) fn replace_worker(&mut self, p: usize, w: usize) {
        let process = &mut self.processes[p];
        let old = process.workers[w].id;
        let id = WorkerId(process.worker_ids().last().map_or(0, |last| last.0) + 1);
        process.workers[w] = Worker::new(id, w as u32, process.workers.len());
        process.repeats.retain(|(worker, ..)| *worker != old);
        self.tell(
            p,
            Event::WorkerRegistered {
                worker: id,
                registration: Box::new(registration(1, &format!("w{}", id.0))),
            },
        );
    }

    /// Lets happen at once what is of no interest by itself, where fewer orders are wanted.
    fn settle(&mut self) {
        for p in 0..self.processes.len() {
            while self.processes[p].lives() && self.settle_one(p) {}
        }
    }

    fn settle_one(&mut self, p: usize) -> bool {
        if self.processes[p].manifest.is_some() {
            self.manifest(p, true);
            return true;
        }
        if !self.setup.collect && self.processes[p].sweep.is_some() {
            self.sweep(p);
            return true;
        }
        for w in 0..self.processes[p].workers.len() {
            let worker = &self.processes[p].workers[w];
            let open = (0..self.processes[p].workers.len()).find(|from| worker.open(*from));
            if !worker.inbox.is_empty() {
                self.deliver_to_worker(p, w);
            } else if let Some(from) = open {
                self.processes[p].workers[w].receive(from);
            } else if !worker.uploads.is_empty() {
                self.upload(p, w, true);
            } else if !worker.outbox.is_empty() && !self.interesting(p, w) {
                self.deliver_from_worker(p, w);
            } else {
                continue;
            }
            return true;
        }
        false
    }

    /// Whether the order in which a message arrives matters.
    fn interesting(&self, p: usize, w: usize) -> bool {
        let message = self.processes[p].workers[w].outbox.front();
        let acks = matches!(message, Some((_, FromWorker::Ack { .. })));
        let commits = matches!(message, Some((_, FromWorker::Committed { .. })));
        commits || (acks && (self.left.repeats > 0 || self.setup.mutant == Some(Mutant::OldAckAccepted)))
    }

    pub(super) fn ended(&mut self, p: usize, exit: Exit) {
        self.exits.push(exit.clone());
        self.processes[p].exit = Some(exit);
    }
}

pub(super) fn failure(message: &str) -> Failure {
    Failure::new(FailureKind::Worker, message)
}
