//! Claiming the next attempt. A pure state machine over the same requests as [`Append`].
//!
//! boundary → list → records → (only if there are none: is anything else left?) → append the claim. Whoever
//! loses the race for the slot reads everything again: the claim must hold every checkpoint that
//! was completed before it.

use bytes::Bytes;
use weir_protocol::{Attempt, CheckpointId};

use super::append::{Append, AppendOutcome, Durable, Request, Response, read_boundary};
use super::codec::{Boundary, encode_boundary};
use super::view::{BrokenChain, View, captured};
use crate::frame::CodecError;
use crate::{Body, Counters, Record, Restore, Slot, StopReason};

/// What the new attempt is to start from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Start {
    /// From where the job is: the newest completed checkpoint, or the beginning if there never was one.
    Continue,
    /// From the beginning, although there may be checkpoints. The user has asked for it.
    Afresh,
    /// From the beginning if no attempt after this one was begun yet, else from where the job is: a start from the
    /// beginning that may be repeated.
    AfreshAfter(Attempt),
    /// From this completed checkpoint, although there may be newer ones. The user has asked for it.
    At(CheckpointId),
}

/// What a claim needs to know.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClaimRequest {
    /// Digest of the job configuration that will be in force.
    pub spec: String,
    /// What to start from.
    pub start: Start,
    /// A savepoint or checkpoint of another job, for a start at the beginning. It counts in the first claim
    /// only: later ones carry on what that one recorded (F19).
    pub restore_from: Option<String>,
    /// Random; one value per claim.
    pub nonce: String,
    /// The coordinator's clock, microseconds since the Unix epoch.
    pub at_us: u64,
}

/// The authority over a job.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Claimed {
    /// The claim's record; it permits the commits of the checkpoint that it captured.
    pub claim: Durable,
    /// The attempt.
    pub attempt: Attempt,
    /// What to start from.
    pub restore: Restore,
    /// Counters as carried over.
    pub counters: Counters,
    /// The journal up to and with the claim.
    pub view: View,
}

/// Why there is no claim.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ClaimRefused {
    /// There was a journal, and now there is none. Never taken for a fresh start.
    #[error(
        "the journal of this job is lost: {0}. Its records must be brought back, or the job's folder removed to start afresh"
    )]
    Lost(&'static str),
    /// A record that must be there is not.
    #[error("slot {0} of the journal is missing, though slots before and after it are there")]
    Gap(Slot),
    /// A record is not what it must be.
    #[error(transparent)]
    Broken(#[from] BrokenChain),
    /// The boundary is not what it must be.
    #[error("journal.boundary: {0}")]
    Boundary(CodecError),
    /// The job has come to its end.
    #[error("the job is finished; to run it again it has to be started afresh")]
    Finished(Option<CheckpointId>),
    /// The checkpoint that was asked for is not there.
    #[error("checkpoint {asked} is not there to start from; there are {there:?}")]
    NoSuchCheckpoint {
        /// Which.
        asked: CheckpointId,
        /// Which are there.
        there: Vec<u64>,
    },
    /// The claim can't be written.
    #[error("the claim can't be written: {0}")]
    Record(CodecError),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum State {
    Boundary,
    Slots,
    Records {
        slots: Vec<Slot>,
    },
    Remains,
    /// Something is wrong, unless records were collected while they were being read.
    Recheck(ClaimRefused),
    Append(Append),
    CreateBoundary(Durable),
}

/// One claim on its way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Claim {
    wanted: ClaimRequest,
    round: u64,
    boundary: Option<Slot>,
    /// There were files before the slots were listed this time.
    remains: bool,
    view: View,
    state: State,
    request: Request,
}

impl Claim {
    /// A claim that is about to begin.
    pub fn new(wanted: ClaimRequest) -> Self {
        Self {
            wanted,
            round: 0,
            boundary: None,
            remains: false,
            view: View::default(),
            state: State::Boundary,
            request: Request::ReadBoundary,
        }
    }

    /// What is to be asked of the store now.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Takes the answer to [`Self::request`]. `None`: there is a next request.
    pub fn step(&mut self, response: Response) -> Option<Result<Claimed, ClaimRefused>> {
        match self.advance(response) {
            Ok(None) => None,
            Ok(Some(claimed)) => Some(Ok(claimed)),
            Err(refused) => Some(Err(refused)),
        }
    }

    fn advance(&mut self, response: Response) -> Result<Option<Claimed>, ClaimRefused> {
        match (std::mem::replace(&mut self.state, State::Boundary), response) {
            (State::Boundary, Response::Boundary(found)) => {
                let slot = read_boundary(found.as_deref()).map_err(ClaimRefused::Boundary)?;
                self.boundary = found.is_some().then_some(slot);
                self.view = View::new(slot);
                self.ask(State::Slots, Request::ListSlots);
            }
            (State::Slots, Response::Slots(slots)) => self.on_slots(slots)?,
            (State::Records { slots }, Response::Records(found)) => self.on_records(slots, found)?,
            (State::Recheck(wrong), Response::Boundary(found)) => {
                let slot = read_boundary(found.as_deref()).map_err(ClaimRefused::Boundary)?;
                if slot <= self.view.boundary() {
                    return Err(wrong);
                }
                self.again();
            }
            (State::Remains, Response::Remains(true)) => {
                // Files come after the first claim's record: one that was made since the slots were listed
                // would explain them, so look once more before calling the journal lost.
                self.remains = true;
                self.again();
            }
            (State::Remains, Response::Remains(false)) => self.write()?,
            (State::Append(append), response) => return self.on_append(append, response),
            // Whether it was created by us or by another: it is there, or will be tried again by the next claim.
            (State::CreateBoundary(claim), _) => return Ok(Some(self.claimed(claim))),
            // An answer to no question of ours changes nothing.
            (state, _) => self.state = state,
        }
        Ok(None)
    }

    fn ask(&mut self, state: State, request: Request) {
        self.state = state;
        self.request = request;
    }

    fn again(&mut self) {
        self.round += 1;
        self.ask(State::Boundary, Request::ReadBoundary);
    }

    fn on_slots(&mut self, slots: Vec<Slot>) -> Result<(), ClaimRefused> {
        let first = self.view.next_slot();
        let Some(tail) = slots.into_iter().filter(|s| *s >= first).max() else {
            if self.boundary.is_some() {
                return Err(ClaimRefused::Lost("it has a boundary, but no record behind it"));
            }
            if self.remains {
                return Err(ClaimRefused::Lost("there are checkpoint files, but no record of any"));
            }
            self.ask(State::Remains, Request::ListRemains);
            return Ok(());
        };
        // A listing shows at least what was there when it began; what lies between is read in any case.
        let slots: Vec<Slot> = (first.0..=tail.0).map(Slot).collect();
        self.ask(State::Records { slots: slots.clone() }, Request::Read { slots });
        Ok(())
    }

    fn on_records(&mut self, slots: Vec<Slot>, found: Vec<Option<Bytes>>) -> Result<(), ClaimRefused> {
        for (slot, bytes) in slots.into_iter().zip(found) {
            // Collected meanwhile (and then perhaps written again by a zombie), or damaged: the boundary knows.
            let read = match bytes {
                Some(bytes) => self.view.read(&bytes).map_err(ClaimRefused::from),
                None => Err(ClaimRefused::Gap(slot)),
            };
            if let Err(wrong) = read {
                self.ask(State::Recheck(wrong), Request::ReadBoundary);
                return Ok(());
            }
        }
        self.write()
    }

    fn write(&mut self) -> Result<(), ClaimRefused> {
        let record = Record {
            slot: self.view.next_slot(),
            previous: self.view.tail_digest().to_owned(),
            attempt: self.view.attempt().next(),
            nonce: format!("{}-{}", self.wanted.nonce, self.round),
            at_us: self.wanted.at_us,
            body: Body::Claim {
                spec: self.wanted.spec.clone(),
                restore: self.restore()?,
                counters: self.view.counters(),
            },
        };
        let append = Append::new(record).map_err(ClaimRefused::Record)?;
        self.request = append.request().clone();
        self.state = State::Append(append);
        Ok(())
    }

    fn restore(&self) -> Result<Restore, ClaimRefused> {
        let genesis = || Restore::Genesis { restore_from: self.wanted.restore_from.clone() };
        match &self.wanted.start {
            Start::AfreshAfter(last) if self.view.attempt() <= *last => Ok(genesis()),
            Start::Continue | Start::AfreshAfter(_) => match self.view.stopped() {
                Some((id, StopReason::Finished)) => Err(ClaimRefused::Finished(id)),
                _ => Ok(self.view.restore().unwrap_or_else(genesis)),
            },
            Start::Afresh => Ok(genesis()),
            Start::At(asked) => {
                let there = self.view.checkpoints();
                match there.iter().find(|c| c.id == *asked) {
                    Some(checkpoint) => Ok(captured(checkpoint.clone())),
                    None => Err(ClaimRefused::NoSuchCheckpoint {
                        asked: *asked,
                        there: there.iter().map(|c| c.id.0).collect(),
                    }),
                }
            }
        }
    }

    fn on_append(&mut self, mut append: Append, response: Response) -> Result<Option<Claimed>, ClaimRefused> {
        match append.step(response) {
            None => {
                self.request = append.request().clone();
                self.state = State::Append(append);
                Ok(None)
            }
            Some(AppendOutcome::Fenced(_)) => {
                self.again();
                Ok(None)
            }
            Some(AppendOutcome::Damaged(why)) => Err(ClaimRefused::Boundary(why)),
            Some(AppendOutcome::Durable(claim)) => self.on_durable(claim),
        }
    }

    /// The first claim of a job leaves a mark beside the journal, so that a journal that is lost later is not
    /// taken for one that never was.
    fn on_durable(&mut self, claim: Durable) -> Result<Option<Claimed>, ClaimRefused> {
        if self.boundary.is_some() {
            return Ok(Some(self.claimed(claim)));
        }
        let boundary = Boundary { slot: Slot(0), nonce: claim.record().nonce.clone() };
        let bytes = encode_boundary(&boundary).map_err(ClaimRefused::Record)?;
        self.ask(State::CreateBoundary(claim), Request::CreateBoundary { bytes });
        Ok(None)
    }

    fn claimed(&mut self, claim: Durable) -> Claimed {
        let mut view = std::mem::take(&mut self.view);
        view.take(claim.record().clone(), claim.digest().to_owned());
        let attempt = view.attempt();
        let counters = view.counters();
        let restore = match &claim.record().body {
            Body::Claim { restore, .. } => restore.clone(),
            _ => Restore::Genesis { restore_from: None },
        };
        Claimed { claim, attempt, restore, counters, view }
    }
}
