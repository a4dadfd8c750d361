//! Many seeds, each one run of a job in which everything goes wrong (F1, F2, F3, F6, F22, F25, F26, F32).
//!
//! `WEIR_SEEDS=n` runs that many seeds; `WEIR_SEED=k` runs one and prints what happened.

use weir_sim::{Mutant, Setup, run};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn every_seed_keeps_all_invariants_and_finishes_exactly_once() {
    if let Some(seed) = number("WEIR_SEED") {
        let mut last = String::new();
        let outcome = run(seed, Setup::simulation(), |step, choice, world| {
            println!("{step:6} {choice:?}");
            last = format!("{world:#?}");
        });
        println!("before the last step: {last}");
        println!("{outcome:?}");
        assert_eq!(outcome.violation, None);
        return;
    }
    let seeds = number("WEIR_SEEDS").unwrap_or(2_000);
    let (mut steps, mut checkpoints) = (0, 0);
    for seed in 0..seeds {
        let outcome = run(seed, Setup::simulation(), |_, _, _| ());
        let replay = format!("WEIR_SEED={seed} cargo test --workspace --test seeds -- --nocapture");
        assert_eq!(outcome.violation, None, "seed {seed}; replay: {replay}");
        steps += outcome.steps;
        checkpoints += outcome.checkpoints;
    }
    println!("{seeds} seeds, {steps} steps, {checkpoints} checkpoints");
}

#[test]
fn one_seed_gives_one_run() {
    for seed in 0..20 {
        let once = run(seed, Setup::simulation(), |_, _, _| ());
        assert_eq!(once, run(seed, Setup::simulation(), |_, _, _| ()), "seed {seed}");
    }
    let other = run(1, Setup::simulation(), |_, _, _| ()).trace;
    assert_ne!(run(0, Setup::simulation(), |_, _, _| ()).trace, other, "seeds differ");
}

/// The invariant that a mutant breaks first, or one of them.
fn breaks(mutant: Mutant) -> &'static [&'static str] {
    match mutant {
        Mutant::NoBoundaryCheck => &["J7"],
        Mutant::RestoreReadAgain | Mutant::ClaimMovesOn => &["J5"],
        Mutant::AppendAtNewEnd => &["J2", "J4"],
        Mutant::UnknownIsFailure => &["K4", "a claim was refused"],
        Mutant::CommitBeforeRecord => &["S3"],
        Mutant::OldAckAccepted => &["K1"],
        Mutant::QuietSplitLeftOut | Mutant::OldRowsAccepted => &["K2"],
        Mutant::AdoptIncomplete => &["A1"],
        Mutant::AdoptOlder => &["A2"],
        Mutant::OldCommitAccepted => &["S2"],
        Mutant::HoldIgnored => &["D1"],
        Mutant::ReleasedTooEarly => &["D2"],
    }
}

#[test]
fn mutants_are_caught_by_some_seed() {
    // The one that is left out needs a rare order of few things: the model finds it.
    for mutant in Mutant::ALL.into_iter().filter(|mutant| *mutant != Mutant::RestoreReadAgain) {
        let setup = || Setup { mutant: Some(mutant), ..Setup::simulation() };
        let caught = (0..10_000).find_map(|seed| Some((seed, run(seed, setup(), |_, _, _| ()).violation?)));
        let (seed, (step, what)) = caught.unwrap_or_else(|| panic!("{mutant:?} was not caught"));
        println!("{mutant:?}: seed {seed}, step {step}: {what}");
        assert!(breaks(mutant).iter().any(|name| what.starts_with(name)), "{mutant:?} broke {what}");
    }
}
