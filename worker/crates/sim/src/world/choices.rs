//! What can happen next, and what follows of it.

use weir_checkpoint::journal::Request;
use weir_coordinator::{Event, Exit, Request as Asked, State, StopRequest};
use weir_protocol::{Failure, FailureKind, FromWorker};

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
        for w in 0..self.workers.len() {
            self.of_worker(w, &mut all);
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
            all.push(Choice::End { p });
        }
        if self.left.moves > 0 && process.state.is_running() && !process.rescaled {
            let most = self.workers.len() as u32 * self.setup.slots;
            let others = (1..=most.min(3)).filter(|to| *to != process.state.parallelism());
            all.extend(others.map(|to| Choice::Rescale { p, to }));
        }
        if !process.gone.is_empty() {
            all.push(Choice::Gone { p });
        }
        if !process.repeats.is_empty() {
            all.push(Choice::Again { p });
        }
    }

    fn of_worker(&self, w: usize, all: &mut Vec<Choice>) {
        let worker = &self.workers[w];
        if !self.setup.eager && (self.left.failures > 0 || worker.paused) {
            all.push(Choice::Stop { w });
        }
        if worker.paused {
            return;
        }
        match &worker.link {
            None if self.setup.eager => {}
            None => all.extend(self.awake().map(|p| Choice::Connect { w, p })),
            Some(link) => {
                let silent = self.process_of(w).is_some_and(|p| self.processes[p].paused);
                if link.cut || silent {
                    all.push(Choice::Notice { w });
                }
                if !link.inbox.is_empty() {
                    all.push(Choice::ToWorker { w });
                }
                if !link.outbox.is_empty() && self.process_of(w).is_some_and(|p| !self.processes[p].paused) {
                    all.push(Choice::FromWorker { w });
                    if self.left.repeats > 0 {
                        all.push(Choice::Repeat { w });
                    }
                }
            }
        }
        if !worker.strays.is_empty() {
            all.push(Choice::Stray { w });
        }
        if !worker.put_off.is_empty() {
            all.push(Choice::CommitAgain { w });
        }
        self.of_run(w, worker, all);
    }

    fn of_run(&self, w: usize, worker: &Worker, all: &mut Vec<Choice>) {
        if self.left.moves > 0 && !worker.draining && !self.setup.eager && worker.link.is_some() {
            all.push(Choice::Drain { w });
        }
        let Some(run) = &worker.run else {
            return;
        };
        for (t, task) in &run.tasks {
            if run.reading && run.held.is_none() {
                let unread = task.source.positions.iter().filter(|(_, at)| **at < self.setup.rows);
                all.extend(unread.map(|(split, _)| Choice::Read { w, t: *t, split: *split }));
            }
            all.extend(task.readable().map(|from| Choice::Take { w, t: *t, from }));
        }
        if !run.uploads.is_empty() {
            all.push(Choice::Upload { w, ok: true });
        }
        if self.left.failures > 0 {
            all.push(Choice::Kill { w });
            if self.process_of(w).is_some() {
                all.push(Choice::Cut { w });
            }
            if !run.failed {
                all.push(Choice::FailTask { w });
            }
            if !run.uploads.is_empty() {
                all.push(Choice::Upload { w, ok: false });
            }
        }
        if self.left.moves > 0 && !worker.draining && self.setup.eager && self.process_of(w).is_some() {
            all.push(Choice::Drain { w });
        }
    }

    /// Processes that take workers.
    fn awake(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.processes.len()).filter(|p| !self.processes[*p].paused && self.processes[*p].lives())
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
            Choice::End { p } => {
                self.left.failures -= 1;
                self.tell(p, Event::Stop(StopRequest::Graceful));
            }
            Choice::Rescale { p, to } => {
                self.left.moves -= 1;
                self.processes[p].rescaled = true;
                self.tell(p, Event::Asked { ticket: 1, request: Asked::Rescale { parallelism: to } });
            }
            Choice::Again { p } => self.again(p),
            Choice::Gone { p } => {
                if let Some((worker, _)) = self.processes[p].gone.pop_front() {
                    self.tell(p, Event::WorkerLost { worker, failure: failure("it left") });
                }
            }
            Choice::CommitAgain { w } => {
                if let Some((stamp, id, handles)) = self.workers[w].put_off.pop_front() {
                    self.commit_again(w, &stamp, id, &handles);
                }
            }
            choice => self.happen_to_worker(choice),
        }
        if self.setup.eager {
            self.settle();
        }
    }

    fn happen_to_worker(&mut self, choice: Choice) {
        match choice {
            Choice::Connect { w, p } => self.connect(w, p),
            Choice::ToWorker { w } => self.deliver_to_worker(w),
            Choice::FromWorker { w } => self.deliver_from_worker(w),
            Choice::Repeat { w } => self.repeat(w),
            Choice::Stray { w } => self.deliver_stray(w),
            Choice::Read { w, t, split } => self.read(w, t, split),
            Choice::Take { w, t, from } => self.receive(w, t, from),
            Choice::Upload { w, ok } => self.upload(w, ok),
            Choice::Notice { w } => self.leave(w),
            Choice::Stop { w } => {
                let worker = &mut self.workers[w];
                worker.paused = !worker.paused;
                self.left.failures -= u32::from(worker.paused);
            }
            Choice::Cut { w } => {
                self.left.failures -= 1;
                self.cut(w);
            }
            Choice::Kill { w } => {
                self.left.failures -= 1;
                self.kill(w);
            }
            Choice::Drain { w } => {
                self.left.moves -= 1;
                self.drain(w);
            }
            Choice::FailTask { w } => self.fail_task(w),
            _ => {}
        }
    }

    fn start(&mut self) {
        self.left.starts = self.left.starts.saturating_sub(u32::from(self.left.starts != u32::MAX));
        self.started += 1;
        let claim = self.new_claim();
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
            next_worker: 1,
            gone: Default::default(),
            deployed: None,
            rescaled: false,
            repeats: Default::default(),
            exit: None,
        });
    }

    /// Lets happen at once what is of no interest by itself, where fewer orders are wanted.
    fn settle(&mut self) {
        for p in 0..self.processes.len() {
            while self.processes[p].lives() && self.settle_process(p) {}
        }
        while (0..self.workers.len()).any(|w| self.settle_worker(w)) {}
    }

    fn settle_process(&mut self, p: usize) -> bool {
        if self.processes[p].manifest.is_some() {
            self.manifest(p, true);
            return true;
        }
        if !self.setup.collect && self.processes[p].sweep.is_some() {
            self.sweep(p);
            return true;
        }
        false
    }

    fn settle_worker(&mut self, w: usize) -> bool {
        self.cut_off();
        let worker = &self.workers[w];
        let (inbox, outbox, cut) = match &worker.link {
            Some(link) => (!link.inbox.is_empty(), !link.outbox.is_empty(), link.cut),
            None => (false, false, false),
        };
        let task = worker.run.iter().flat_map(|run| &run.tasks);
        let open = task.clone().find_map(|(t, task)| Some((*t, task.readable().next()?)));
        let uploads = worker.run.as_ref().is_some_and(|run| !run.uploads.is_empty());
        if inbox {
            self.deliver_to_worker(w);
        } else if cut {
            self.workers[w].link = None;
        } else if let Some(p) = self.expected_process(w).filter(|_| worker.link.is_none()) {
            self.connect(w, p);
        } else if let Some((t, from)) = open {
            self.receive(w, t, from);
        } else if uploads {
            self.upload(w, true);
        } else if outbox && !self.interesting(w) {
            self.deliver_from_worker(w);
        } else {
            return false;
        }
        for p in 0..self.processes.len() {
            while self.processes[p].lives() && self.settle_process(p) {}
        }
        true
    }

    /// Where a worker without a coordinator goes: to that of its group, until there will be none any more.
    fn expected_process(&self, w: usize) -> Option<usize> {
        let lives = |p: &usize| self.processes[*p].lives();
        let all = (0..self.processes.len()).filter(lives);
        if self.setup.group == 0 {
            return all.last();
        }
        let odd = (w / self.setup.group).is_multiple_of(2);
        let own = all.clone().find(|p| self.processes[*p].number.is_multiple_of(2) != odd);
        let will_come = self.left.starts > 0 && (odd || self.started < 2);
        own.or_else(|| all.last().filter(|_| !will_come))
    }

    /// Whether the order in which a message arrives matters.
    fn interesting(&self, w: usize) -> bool {
        let message = self.workers[w].link.as_ref().and_then(|link| link.outbox.front());
        let acks = matches!(message, Some((_, FromWorker::Ack { .. })));
        let commits = matches!(message, Some((_, FromWorker::Committed { .. })));
        commits || (acks && (self.left.repeats > 0 || self.setup.mutant == Some(Mutant::OldAckAccepted)))
    }

    pub(super) fn ended(&mut self, p: usize, exit: Exit) {
        self.exits.push(exit.clone());
        self.processes[p].exit = Some(exit);
    }
}

pub(crate) fn failure(message: &str) -> Failure {
    Failure::new(FailureKind::Worker, message)
}
