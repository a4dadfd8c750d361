//! The journal's machines of a process against the store, and the ways in which they can be wrong.

use weir_checkpoint::journal::{
    Append, AppendOutcome as Outcome, Claim, ClaimRefused, ClaimRequest, Claimed, Durable, Request, Response,
    captured, decode_record, digest, encode_record,
};
use weir_checkpoint::{Body, Record, Restore, Slot, Start, View};
use weir_coordinator::{AppendOutcome, ClaimOutcome, Entry, Event};
use weir_protocol::{Failure, FailureKind};

use crate::process;
use crate::setup::Mutant;
use crate::world::World;

impl World {
    pub(super) fn new_claim(&mut self) -> Claim {
        Claim::new(ClaimRequest {
            spec: "spec".to_owned(),
            start: Start::Continue,
            restore_from: None,
            nonce: format!("p{}", self.started),
            at_us: self.now.0,
        })
    }

    /// The coordinator gave something to the journal.
    pub(super) fn begin_append(&mut self, p: usize, entry: Entry) {
        let process = &mut self.processes[p];
        let nonce = process.nonce();
        let body = match entry {
            Entry::Body(body) => body,
            Entry::Renewal => process.view.renewal(),
        };
        let record = Record {
            slot: process.view.next_slot(),
            previous: process.view.tail_digest().to_owned(),
            attempt: process.state.attempt(),
            nonce,
            at_us: self.now.0,
            body,
        };
        process.append = Append::new(record).ok();
    }

    /// Carries out what the process asks of the store, and gives it the answer.
    pub(super) fn answer(&mut self, p: usize) {
        if let Some(mut claimed) = self.processes[p].unread_claim.take() {
            claimed.restore = self.newest_now().unwrap_or(claimed.restore);
            return self.hand_over(p, claimed);
        }
        let Some(request) = self.processes[p].asks().cloned() else {
            return;
        };
        let mut response = self.carry_out(&request);
        let appends = self.processes[p].append.is_some();
        if appends && request == Request::ReadBoundary && self.setup.mutant == Some(Mutant::NoBoundaryCheck) {
            response = Response::Boundary(None);
        }
        self.respond(p, response);
    }

    fn carry_out(&mut self, request: &Request) -> Response {
        let response = self.store.ask(request);
        if let (Request::Create { slot, bytes }, Response::Created) = (request, &response) {
            let Self { ghost, store, setup, .. } = self;
            ghost.created(*slot, bytes, store, setup);
        }
        response
    }

    pub(super) fn lose_answer(&mut self, p: usize) {
        self.left.unclear -= 1;
        if let Some(request) = self.processes[p].asks().cloned() {
            self.carry_out(&request);
            self.unclear(p);
        }
    }

    pub(super) fn put_off_create(&mut self, p: usize) {
        self.left.unclear -= 1;
        if let Some(Request::Create { slot, bytes }) = self.processes[p].asks().cloned() {
            self.late.push((slot, bytes));
            self.unclear(p);
        }
    }

    pub(super) fn arrive(&mut self, i: usize) {
        let (slot, bytes) = self.late.remove(i);
        self.carry_out(&Request::Create { slot, bytes });
    }

    fn unclear(&mut self, p: usize) {
        let checkpoint = self.processes[p].append.as_ref().and_then(|append| match &append.record().body {
            Body::Checkpoint { manifest, .. } => Some(manifest.key.clone()),
            _ => None,
        });
        match checkpoint.filter(|_| self.setup.mutant == Some(Mutant::UnknownIsFailure)) {
            Some(key) => {
                self.store.manifests.remove(&key);
                let exit = weir_coordinator::Exit::Failed(Failure::new(FailureKind::Store, "append failed"));
                self.ended(p, exit);
            }
            None => self.respond(p, Response::Unknown),
        }
    }

    fn respond(&mut self, p: usize, response: Response) {
        if let Some(mut append) = self.processes[p].blind_claim.take() {
            match append.step(response) {
                None => self.processes[p].blind_claim = Some(append),
                Some(Outcome::Durable(durable)) => self.claimed(p, Ok(self.claim_of(durable))),
                Some(_) => self.ended(p, weir_coordinator::Exit::Fenced(String::new())),
            }
        } else if let Some(append) = self.processes[p].append.take() {
            self.respond_to_append(p, append, response);
        } else if let Some(mut claim) = self.processes[p].claim.take() {
            let blind = self.blind(&claim, &response);
            match claim.step(response) {
                _ if blind.is_some() => self.processes[p].blind_claim = blind,
                None => self.processes[p].claim = Some(claim),
                Some(outcome) => self.claimed(p, outcome),
            }
        }
    }

    /// What a claim does that goes on to the next slot without reading.
    fn blind(&self, claim: &Claim, response: &Response) -> Option<Append> {
        let Request::Create { slot, bytes } = claim.request() else {
            return None;
        };
        if self.setup.mutant != Some(Mutant::ClaimMovesOn) || *response != Response::Exists {
            return None;
        }
        let record = decode_record(bytes).ok()?;
        let there = self.store.records.get(slot)?;
        let attempt = decode_record(there).ok()?.attempt.max(record.attempt);
        Append::new(Record {
            slot: Slot(slot.0 + 1),
            previous: digest(there),
            attempt: if attempt == record.attempt { attempt.next() } else { attempt },
            ..record
        })
        .ok()
    }

    /// The whole claim that a durable claim record stands for.
    fn claim_of(&self, claim: Durable) -> Claimed {
        let mut view = View::new(self.store.boundary());
        let slots = self.store.records.range(view.next_slot()..=claim.record().slot);
        slots.for_each(|(_, bytes)| drop(view.read(bytes)));
        let restore = match &claim.record().body {
            Body::Claim { restore, .. } => restore.clone(),
            _ => Restore::Genesis { restore_from: None },
        };
        Claimed { attempt: claim.record().attempt, restore, counters: view.counters(), view, claim }
    }

    fn claimed(&mut self, p: usize, outcome: Result<Claimed, ClaimRefused>) {
        let outcome = match outcome {
            Ok(claimed) => {
                self.ghost.reported(claimed.claim.record());
                if self.setup.mutant == Some(Mutant::RestoreReadAgain) {
                    self.processes[p].unread_claim = Some(claimed);
                    return;
                }
                return self.hand_over(p, claimed);
            }
            Err(ClaimRefused::Finished(last)) => ClaimOutcome::AlreadyFinished { last },
            Err(why) => {
                self.ghost.broken(format!("a claim was refused: {why}"));
                ClaimOutcome::Failed(Failure::new(FailureKind::StateUnreadable, why.to_string()))
            }
        };
        self.tell(p, Event::Claimed(outcome));
    }

    fn hand_over(&mut self, p: usize, claimed: Claimed) {
        self.check_restore(&claimed);
        self.processes[p].view = claimed.view.clone();
        self.tell(p, Event::Claimed(ClaimOutcome::Claimed(Box::new(claimed))));
    }

    fn newest_now(&self) -> Option<Restore> {
        let mut view = View::new(self.store.boundary());
        self.store.records.range(view.next_slot()..).for_each(|(_, bytes)| drop(view.read(bytes)));
        view.newest().map(captured)
    }

    /// J5: what is restored is the newest checkpoint below the claim.
    fn check_restore(&mut self, claimed: &Claimed) {
        let restored = match &claimed.restore {
            Restore::Captured { id, .. } => Some(*id),
            Restore::Genesis { .. } => None,
        };
        let below = restored == process::captured(claimed.claim.record());
        self.ghost.require(below, "J5: what is restored is not what the claim captured");
    }

    fn respond_to_append(&mut self, p: usize, mut append: Append, response: Response) {
        let outcome = match append.step(response) {
            None => {
                self.processes[p].append = Some(append);
                return;
            }
            Some(Outcome::Durable(durable)) => {
                self.ghost.reported(durable.record());
                if let Ok(bytes) = encode_record(durable.record()) {
                    let read = self.processes[p].view.read(&bytes);
                    self.ghost.require(read.is_ok(), "a process can't read its own record");
                }
                AppendOutcome::Durable(durable)
            }
            Some(Outcome::Fenced(by)) => match self.at_new_end(append.record()) {
                Some(again) => {
                    self.processes[p].append = Some(again);
                    return;
                }
                None => AppendOutcome::Fenced(by.to_string()),
            },
            Some(Outcome::Damaged(why)) => {
                AppendOutcome::Failed(Failure::new(FailureKind::StateUnreadable, why.to_string()))
            }
        };
        self.tell(p, Event::Appended(outcome));
    }

    /// What an append does that lists again after "exists".
    fn at_new_end(&self, record: &Record) -> Option<Append> {
        if self.setup.mutant != Some(Mutant::AppendAtNewEnd) {
            return None;
        }
        let (slot, bytes) = self.store.records.last_key_value()?;
        Append::new(Record { slot: Slot(slot.0 + 1), previous: digest(bytes), ..record.clone() }).ok()
    }
}
