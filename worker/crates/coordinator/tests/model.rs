//! The real step function and the real journal machines under a model checker: within small bounds every
//! order of events, crash, unclear answer and overtaking is tried, and every invariant checked after each step.
#![allow(clippy::panic, clippy::print_stdout, reason = "tests")]

use std::time::{Duration, Instant};

use stateright::{Checker, Model, Property};
use weir_sim::{Choice, Mutant, Setup, World};

struct Bounded(Setup);

impl Model for Bounded {
    type State = World;
    type Action = Choice;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self.0.clone())]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Choice>) {
        if world.violation().is_none() {
            actions.extend(world.choices());
        }
    }

    fn next_state(&self, world: &World, choice: Choice) -> Option<World> {
        let mut next = world.clone();
        next.apply(choice);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("all invariants", |_, world: &World| world.violation().is_none()),
            Property::sometimes("the job finishes", |_, world: &World| world.finished()),
            Property::sometimes("a checkpoint completes", |_, world: &World| world.checkpoints() > 0),
        ]
    }
}

/// Bounds that give more states than this are cut here, shortest runs first; the figures printed say so.
const AT_MOST: usize = 300_000;

/// Explores everything within the bounds.
fn explore(name: &str, setup: Setup) {
    let begun = Instant::now();
    let checker = Bounded(setup).checker().threads(2).target_state_count(AT_MOST).spawn_bfs().join();
    println!(
        "{name}: {} states{}, {} of them different, depth {}, {:.1} s",
        checker.state_count(),
        if checker.state_count() >= AT_MOST { " (cut)" } else { "" },
        checker.unique_state_count(),
        checker.max_depth(),
        begun.elapsed().as_secs_f64()
    );
    if let Some(path) = checker.discovery("all invariants") {
        let what = path.last_state().violation().map(str::to_owned);
        panic!("{name}: {what:?} after {:?}", path.into_actions());
    }
    checker.assert_properties();
}

#[test]
fn a_coordinator_that_is_overtaken_at_any_step() {
    explore("overtaking", Setup { unclear: 0, crashes: 0, ..Setup::model(1) });
}

#[test]
fn a_coordinator_that_crashes_at_any_step_and_an_unclear_answer() {
    explore("crash", Setup { at_once: 1, ..Setup::model(1) });
}

#[test]
fn garbage_is_collected_beside_a_coordinator_that_takes_over() {
    explore("garbage", Setup { unclear: 0, crashes: 0, timers: 2, collect: true, ..Setup::model(1) });
}

#[test]
fn two_subtasks_with_failures() {
    let one = Setup { unclear: 0, crashes: 0, starts: 1, workers: 2, group: 0, ..Setup::model(2) };
    explore("failures", Setup { failures: 1, timers: 2, ..one });
}

#[test]
fn messages_that_come_again() {
    let one = Setup { unclear: 0, crashes: 0, starts: 1, workers: 1, group: 0, ..Setup::model(1) };
    explore("repeats", Setup { repeats: 1, failures: 1, timers: 3, ..one });
}

#[test]
fn what_runs_is_taken_over_when_its_coordinator_dies_at_any_step() {
    let two =
        Setup { unclear: 0, crashes: 1, starts: 2, at_once: 1, workers: 2, group: 0, ..Setup::model(2) };
    explore("taking over", Setup { timers: 1, ..two });
}

#[test]
fn what_was_given_up_is_not_taken_over() {
    let zombie =
        Setup { unclear: 0, crashes: 1, starts: 2, at_once: 1, workers: 2, group: 0, ..Setup::model(1) };
    explore("zombies", Setup { failures: 1, timers: 1, ..zombie });
}

#[test]
fn a_worker_is_left_and_the_parallelism_changes_at_any_step() {
    let one = Setup { unclear: 0, crashes: 0, starts: 1, workers: 2, group: 0, ..Setup::model(1) };
    explore("moving", Setup { moves: 1, timers: 2, ..one });
}

/// Looks for a violation until one is found, at most for a while.
fn catches(mutant: Mutant, setup: Setup) {
    let setup = Setup { mutant: Some(mutant), ..setup };
    let checker = Bounded(setup).checker().threads(2).timeout(Duration::from_secs(120)).spawn_bfs().join();
    let path = checker.discovery("all invariants");
    let states = checker.unique_state_count();
    let path = path.unwrap_or_else(|| panic!("{mutant:?} was not caught in {states} states"));
    let what = path.last_state().violation().map(str::to_owned);
    println!("{mutant:?}: caught after {} steps, {states} states: {what:?}", path.into_actions().len());
}

#[test]
fn mutants_of_the_journal_are_caught() {
    let bounds = || Setup { crashes: 0, ..Setup::model(1) };
    for mutant in
        [Mutant::RestoreReadAgain, Mutant::AppendAtNewEnd, Mutant::ClaimMovesOn, Mutant::UnknownIsFailure]
    {
        catches(mutant, bounds());
    }
}

#[test]
fn mutants_of_checkpoints_are_caught() {
    catches(Mutant::CommitBeforeRecord, Setup { crashes: 0, unclear: 0, ..Setup::model(1) });
    let again =
        Setup { crashes: 0, unclear: 0, starts: 1, failures: 1, repeats: 1, timers: 3, ..Setup::model(1) };
    catches(Mutant::OldAckAccepted, again);
}

/// Those that take a longer way are left to the seeds.
#[test]
fn mutants_of_planned_moves_are_caught() {
    let one = || Setup { unclear: 0, crashes: 0, starts: 1, workers: 2, group: 0, ..Setup::model(1) };
    catches(Mutant::ReleasedTooEarly, Setup { moves: 1, timers: 2, ..one() });
}
