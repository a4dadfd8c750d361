//! Several processes claim, append and collect on one journal, while requests are lost, come late or are
//! answered by nobody, and processes pause, crash and come back. Only the pure machines run here, against a map;
//! everything follows from a seed.
//!
//! `WEIR_SEEDS=100000 cargo test --workspace --test journal_simulation` runs more seeds, and
//! `WEIR_SEED=17` replays one.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a broken assumption ends the test"
)]

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use weir_checkpoint::journal::{
    Append, AppendOutcome, Boundary, Claim, ClaimRequest, Claimed, Durable, Request, Response, Start,
    decode_record, digest, encode_boundary,
};
use weir_checkpoint::{Body, Counters, Record, Restore, Slot, View, layout};
use weir_protocol::{Attempt, CheckpointId, CheckpointKind, ManifestRef};
use weir_runtime::{Random, SeededRandom};

const PROCESSES: usize = 4;
const STEPS: usize = 600;

/// A defect put in on purpose: the checks must notice it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mutant {
    None,
    /// Success is believed without a look at the boundary.
    NoBoundaryCheck,
    /// "Exists" is taken for "created".
    ExistsIsMine,
    /// A clear answer is made of an unclear one.
    UnknownIsFailure,
    /// After "exists" the end of the journal is looked up and the record written there.
    ListAgainAndAppend,
    /// A claim that loses the race is written into the next slot, without reading again.
    ClaimMovesOn,
    /// Records are deleted before the boundary is moved.
    DeleteFirst,
}

/// The store, and what must hold in it.
#[derive(Default)]
struct World {
    records: BTreeMap<Slot, Bytes>,
    boundary: Option<(Slot, Bytes)>,
    /// Every record that ever counted: the first content of each slot above the boundary of its time.
    history: BTreeMap<Slot, Bytes>,
    late: Vec<(Slot, Bytes)>,
    /// Manifests that a process deleted because it believed its checkpoint to have failed.
    deleted: BTreeSet<String>,
    violation: Option<String>,
}

impl World {
    fn boundary(&self) -> Slot {
        self.boundary.as_ref().map_or(Slot(0), |(slot, _)| *slot)
    }

    fn blame(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    fn create(&mut self, slot: Slot, bytes: &Bytes) -> Response {
        if self.records.contains_key(&slot) {
            return Response::Exists;
        }
        self.records.insert(slot, bytes.clone());
        if slot > self.boundary() {
            if let Some(first) = self.history.get(&slot) {
                let first = digest(first);
                self.blame(format!("J1: slot {slot} was written again, after {first}"));
                return Response::Created;
            }
            self.history.insert(slot, bytes.clone());
            self.check_history(slot);
        }
        Response::Created
    }

    /// J2 to J5 for the newest record.
    fn check_history(&mut self, slot: Slot) {
        let Ok(record) = decode_record(&self.history[&slot]) else {
            return self.blame(format!("slot {slot} can't be decoded"));
        };
        let before = self.history.range(..slot).next_back().map(|(s, b)| (*s, b.clone()));
        let Some((last_slot, last_bytes)) = before else {
            if slot != Slot(1) {
                self.blame(format!("the first record is in slot {slot}"));
            }
            return;
        };
        let last = decode_record(&last_bytes).unwrap();
        if last_slot.0 + 1 != slot.0 {
            self.blame(format!("slot {slot} follows {last_slot}"));
        }
        if record.previous != digest(&last_bytes) {
            self.blame(format!("J3: the chain breaks at slot {slot}"));
        }
        if record.attempt < last.attempt {
            self.blame(format!("J2: attempt falls at slot {slot}"));
        }
        let claims = matches!(record.body, Body::Claim { .. });
        if record.attempt > last.attempt && !claims {
            self.blame(format!("J4: slot {slot} of attempt {} after {}", record.attempt, last.attempt));
        }
        if let Body::Claim { restore, .. } = &record.body {
            let newest = self.history.range(..slot).rev().find_map(|(s, b)| match decode_record(b) {
                Ok(Record { body: Body::Checkpoint { id, .. }, .. }) => Some((*s, id)),
                _ => None,
            });
            let captured = match restore {
                Restore::Captured { slot, id, .. } => Some((*slot, *id)),
                Restore::Genesis { .. } => None,
            };
            if captured != newest {
                self.blame(format!(
                    "J5: the claim in {slot} captures {captured:?}, the newest is {newest:?}"
                ));
            }
        }
    }

    /// F3: what a record of the journal names is there.
    fn check_deleted(&mut self) {
        let named = self.history.values().find_map(|bytes| match decode_record(bytes) {
            Ok(Record { slot, body: Body::Checkpoint { manifest, .. }, .. }) => {
                self.deleted.contains(&manifest.key).then_some(slot)
            }
            _ => None,
        });
        if let Some(slot) = named {
            self.blame(format!("F3: the checkpoint in slot {slot} names a manifest that was deleted"));
        }
    }

    fn answer(&mut self, request: &Request) -> Response {
        match request {
            Request::Create { slot, bytes } => self.create(*slot, bytes),
            Request::Read { slots } => {
                Response::Records(slots.iter().map(|s| self.records.get(s).cloned()).collect())
            }
            Request::ReadBoundary => Response::Boundary(self.boundary.as_ref().map(|(_, b)| b.clone())),
            Request::ListSlots => Response::Slots(self.records.keys().copied().collect()),
            Request::ListRemains => Response::Remains(false),
            Request::CreateBoundary { bytes } => match self.boundary {
                Some(_) => Response::Exists,
                None => {
                    self.boundary = Some((Slot(0), bytes.clone()));
                    Response::Created
                }
            },
        }
    }

    /// J7 and the meaning of durable: what is reported is what counts, for ever.
    fn reported(&mut self, durable: &Durable) {
        let slot = durable.record().slot;
        if self.history.get(&slot).map(|b| digest(b)).as_deref() != Some(durable.digest()) {
            self.blame(format!("J7: slot {slot} is reported durable, but another record counts there"));
        }
    }

    fn advance_boundary(&mut self, to: Slot, nonce: String, mutant: Mutant) {
        if mutant == Mutant::DeleteFirst {
            self.records.retain(|slot, _| *slot > to);
            return;
        }
        if to > self.boundary() {
            // J6: below the newest claim and checkpoint.
            let newest = |is: fn(&Body) -> bool| {
                let found = self.history.iter().rev().find(|(_, b)| is(&decode_record(b).unwrap().body));
                found.map(|(slot, _)| *slot)
            };
            let claim = newest(|b| matches!(b, Body::Claim { .. }));
            let checkpoint = newest(|b| matches!(b, Body::Checkpoint { .. }));
            if [claim, checkpoint].into_iter().flatten().any(|slot| to >= slot) {
                self.blame(format!("J6: the boundary moves to {to}, past {claim:?} or {checkpoint:?}"));
            }
            let bytes = encode_boundary(&Boundary { slot: to, nonce }).unwrap();
            self.boundary = Some((to, bytes));
        }
        let boundary = self.boundary();
        self.records.retain(|slot, _| *slot > boundary);
    }
}

enum Process {
    Idle,
    Claiming(Claim),
    Holding { view: View, attempt: Attempt },
    Appending { view: View, attempt: Attempt, append: Append },
}

struct Simulation {
    world: World,
    random: SeededRandom,
    mutant: Mutant,
    processes: Vec<Process>,
    appended: u64,
    claims: u64,
    fenced: u64,
}

impl Simulation {
    fn new(seed: u64, mutant: Mutant) -> Self {
        let processes = (0..PROCESSES).map(|_| Process::Idle).collect();
        let random = SeededRandom::new(seed);
        Self { world: World::default(), random, mutant, processes, appended: 0, claims: 0, fenced: 0 }
    }

    fn draw(&self, bound: u64) -> u64 {
        self.random.next_u64() % bound
    }

    fn run(mut self) -> Result<Self, String> {
        for step in 0..STEPS {
            // One process runs much more often than the others, which makes zombies of those.
            let favourite = step / 60 % PROCESSES;
            let at = if self.draw(3) > 0 { favourite } else { self.draw(PROCESSES as u64) as usize };
            let process = std::mem::replace(&mut self.processes[at], Process::Idle);
            self.processes[at] = self.step(process);
            if self.draw(12) == 0
                && let Some((slot, bytes)) = self.world.late.pop()
            {
                self.world.create(slot, &bytes);
            }
            if !self.world.deleted.is_empty() {
                self.world.check_deleted();
            }
            if let Some(violation) = self.world.violation.take() {
                return Err(format!("step {step}: {violation}"));
            }
        }
        Ok(self)
    }

    /// An answer, or none (a read that is asked again). A create that gets no answer may be done, now, later or
    /// never.
    fn ask(&mut self, request: &Request) -> Option<Response> {
        let create = match request {
            Request::Create { slot, bytes } => Some((*slot, bytes.clone())),
            _ => None,
        };
        let response = match (self.draw(10), create) {
            (0, Some(_)) => {
                self.world.answer(request);
                Response::Unknown
            }
            (1, Some(late)) => {
                self.world.late.push(late);
                Response::Unknown
            }
            (2, Some(_)) => Response::Unknown,
            (3, Some(_)) => {
                self.world.answer(request);
                self.world.answer(request)
            }
            (0..2, None) => return None,
            _ => self.world.answer(request),
        };
        Some(match (self.mutant, response) {
            (Mutant::NoBoundaryCheck, Response::Boundary(_)) => Response::Boundary(None),
            (Mutant::ExistsIsMine, Response::Exists) => Response::Created,
            (_, response) => response,
        })
    }

    fn step(&mut self, process: Process) -> Process {
        match process {
            Process::Idle => Process::Claiming(Claim::new(ClaimRequest {
                spec: "spec".to_owned(),
                start: Start::Continue,
                restore_from: None,
                nonce: self.random.nonce(),
                at_us: 0,
            })),
            Process::Claiming(claim) => self.step_claim(claim),
            Process::Holding { view, attempt } => self.begin(view, attempt),
            Process::Appending { view, attempt, append } => self.step_append(view, attempt, append),
        }
    }

    fn step_claim(&mut self, mut claim: Claim) -> Process {
        let request = claim.request().clone();
        // The mutant that reads the boundary as absent must only do so after an append.
        let Some(mut response) = self.ask(&request) else { return Process::Claiming(claim) };
        if self.mutant == Mutant::NoBoundaryCheck && request == Request::ReadBoundary {
            response = self.world.answer(&request);
        }
        if let (Mutant::ClaimMovesOn, Request::Create { slot, bytes }, Response::Exists) =
            (self.mutant, &request, &response)
        {
            // Writes its stale claim behind the end, as it is but for the place.
            let mut record = decode_record(bytes).unwrap();
            record.slot = Slot(slot.0 + 1);
            record.previous = self.world.records.get(slot).map(|b| digest(b)).unwrap_or_default();
            let bytes = Append::new(record).unwrap();
            if let Request::Create { slot, bytes } = bytes.request() {
                self.world.create(*slot, bytes);
            }
        }
        match claim.step(response) {
            None => Process::Claiming(claim),
            Some(Ok(Claimed { claim, attempt, view, .. })) => {
                self.world.reported(&claim);
                self.claims += 1;
                Process::Holding { view, attempt }
            }
            Some(Err(refused)) => {
                self.world.blame(format!("a claim is refused: {refused}"));
                Process::Idle
            }
        }
    }

    /// What the holder of the authority does next.
    fn begin(&mut self, mut view: View, attempt: Attempt) -> Process {
        let id = view.next_checkpoint();
        let body = match self.draw(10) {
            0 => return Process::Idle,
            1 | 2 => {
                let claim = view.claim().map(|r| r.slot);
                let newest = view.newest().map(|c| c.slot);
                if let (Some(claim), Some(newest)) = (claim, newest) {
                    let nonce = self.random.nonce();
                    let to = Slot(claim.0.min(newest.0) - 1);
                    self.world.advance_boundary(to, nonce, self.mutant);
                    view.advance(to);
                }
                return Process::Holding { view, attempt };
            }
            3 => view.newest().map_or(Body::Unpin { name: "x".to_owned() }, |c| Body::Committed { id: c.id }),
            _ => checkpoint(id, attempt, self.random.nonce()),
        };
        let record = Record {
            slot: view.next_slot(),
            previous: view.tail_digest().to_owned(),
            attempt,
            nonce: self.random.nonce(),
            at_us: 0,
            body,
        };
        Process::Appending { view, attempt, append: Append::new(record).unwrap() }
    }

    fn step_append(&mut self, mut view: View, attempt: Attempt, mut append: Append) -> Process {
        let request = append.request().clone();
        let Some(response) = self.ask(&request) else { return Process::Appending { view, attempt, append } };
        match (self.mutant, &response) {
            // Gives the record up, removes what it names, and goes on.
            (Mutant::UnknownIsFailure, Response::Unknown) => {
                if let Body::Checkpoint { manifest, .. } = &append.record().body {
                    self.world.deleted.insert(manifest.key.clone());
                }
                return Process::Holding { view, attempt };
            }
            (Mutant::ListAgainAndAppend, Response::Exists) => {
                let mut record = append.record().clone();
                let Some((last, bytes)) = self.world.records.last_key_value() else { return Process::Idle };
                (record.slot, record.previous) = (Slot(last.0 + 1), digest(bytes));
                return Process::Appending { view, attempt, append: Append::new(record).unwrap() };
            }
            _ => {}
        }
        match append.step(response) {
            None => Process::Appending { view, attempt, append },
            Some(AppendOutcome::Durable(durable)) => {
                self.world.reported(&durable);
                self.appended += 1;
                // As the driver does it: through the bytes, which also checks the chain.
                match self.world.history.get(&durable.record().slot).map(|bytes| view.read(bytes)) {
                    Some(Ok(())) => Process::Holding { view, attempt },
                    broken => {
                        self.world.blame(format!("an appended record does not fit the view: {broken:?}"));
                        Process::Idle
                    }
                }
            }
            Some(AppendOutcome::Fenced(_)) => {
                self.fenced += 1;
                Process::Idle
            }
            Some(AppendOutcome::Damaged(why)) => {
                self.world.blame(format!("damaged: {why}"));
                Process::Idle
            }
        }
    }
}

fn checkpoint(id: CheckpointId, attempt: Attempt, nonce: String) -> Body {
    let key = layout::manifest(attempt, id, &nonce);
    Body::Checkpoint {
        id,
        reason: CheckpointKind::Periodic,
        manifest: ManifestRef { key, size: 1, digest: "0".repeat(64) },
        commits: true,
        counters: Counters::default(),
    }
}

fn seeds(default: u64) -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse().ok());
    match number("WEIR_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("WEIR_SEEDS").unwrap_or(default)).collect(),
    }
}

#[test]
fn j1_to_j7_hold_for_every_interleaving_of_claims_appends_and_collection() {
    let (mut appended, mut claims, mut fenced, mut collected) = (0, 0, 0, 0);
    for seed in seeds(1_000) {
        let run = Simulation::new(seed, Mutant::None).run();
        let run = run.unwrap_or_else(|why| {
            panic!("{why}\nreplay: WEIR_SEED={seed} cargo test --workspace --test journal_simulation")
        });
        appended += run.appended;
        claims += run.claims;
        fenced += run.fenced;
        collected += run.world.boundary().0;
    }
    println!("{appended} appends, {claims} claims, {fenced} fenced, {collected} slots collected");
    assert!(appended > 100 && claims > 10 && fenced > 5 && collected > 10, "the runs do what they are about");
}

#[test]
fn one_seed_gives_one_run() {
    for seed in [1, 2, 3] {
        let run = || Simulation::new(seed, Mutant::None).run().map(|s| (s.world.history, s.world.records));
        assert_eq!(run(), run());
    }
}

#[test]
fn every_mutant_is_caught() {
    for mutant in [
        Mutant::NoBoundaryCheck,
        Mutant::ExistsIsMine,
        Mutant::UnknownIsFailure,
        Mutant::ListAgainAndAppend,
        Mutant::ClaimMovesOn,
        Mutant::DeleteFirst,
    ] {
        let caught =
            (0..3_000).find_map(|seed| Simulation::new(seed, mutant).run().err().map(|why| (seed, why)));
        let (seed, why) = caught.unwrap_or_else(|| panic!("{mutant:?} was not noticed"));
        println!("{mutant:?}: seed {seed}: {why}");
    }
}

/// A slot whose record was written, superseded, collected and deleted is created again by a writer that slept.
#[test]
fn f1_f2_a_zombie_that_creates_a_collected_slot_is_fenced() {
    let mut simulation = Simulation::new(0, Mutant::None);
    let mut world = World::default();
    let holder = |world: &mut World, nonce: &str| -> Claimed {
        let mut claim = Claim::new(ClaimRequest {
            spec: String::new(),
            start: Start::Continue,
            restore_from: None,
            nonce: nonce.to_owned(),
            at_us: 0,
        });
        loop {
            let response = world.answer(&claim.request().clone());
            if let Some(outcome) = claim.step(response) {
                return outcome.expect("a claim");
            }
        }
    };
    let append = |world: &mut World, view: &mut View, attempt, body| -> AppendOutcome {
        let (slot, previous) = (view.next_slot(), view.tail_digest().to_owned());
        let mut append =
            Append::new(Record { slot, previous, attempt, nonce: "n".into(), at_us: 0, body }).unwrap();
        loop {
            let response = world.answer(&append.request().clone());
            if let Some(outcome) = append.step(response) {
                if let AppendOutcome::Durable(d) = &outcome {
                    view.read(&world.history[&d.record().slot]).unwrap();
                }
                return outcome;
            }
        }
    };
    let zombie = holder(&mut world, "zombie");
    let mut zombie_view = zombie.view.clone();
    let mut live = holder(&mut world, "live");
    for id in 1..=3 {
        let body = checkpoint(CheckpointId(id), live.attempt, id.to_string());
        let outcome = append(&mut world, &mut live.view, live.attempt, body);
        assert!(matches!(outcome, AppendOutcome::Durable(_)));
    }
    let renewed = live.view.renewal();
    append(&mut world, &mut live.view, live.attempt, renewed);
    let boundary = Slot(live.view.newest().unwrap().slot.0 - 1);
    world.advance_boundary(boundary, simulation.random.nonce(), Mutant::None);
    assert!(!world.records.contains_key(&zombie_view.next_slot()), "the zombie's slot is free again");
    let body = checkpoint(CheckpointId(1), zombie.attempt, "zombie".into());
    let outcome = append(&mut world, &mut zombie_view, zombie.attempt, body);
    assert!(matches!(outcome, AppendOutcome::Fenced(_)), "{outcome:?}");
    assert_eq!(world.violation, None);
    // And what it left in its slot is no record of the journal.
    let next = holder(&mut world, "next");
    let ids: BTreeSet<CheckpointId> = next.view.checkpoints().into_iter().map(|c| c.id).collect();
    assert_eq!(ids, BTreeSet::from([CheckpointId(3)]));
    simulation.world = world;
}
