//! One order of events, drawn from a seed.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use weir_runtime::{Random, SeededRandom};

use crate::choice::Choice;
use crate::setup::Setup;
use crate::world::World;

/// Steps in which things go wrong.
const STORMY: usize = 600;
/// Steps that a calm world may take to finish the job.
const CALM: usize = 20_000;

/// How a seed's run went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What broke, and after how many steps.
    pub violation: Option<(usize, String)>,
    /// Steps in all.
    pub steps: usize,
    /// Checkpoints that were recorded.
    pub checkpoints: usize,
    /// A hash over every choice and the world at the end: equal runs, equal hashes.
    pub trace: u64,
}

/// Runs a seed: a stormy time, then calm, in which the job must come to its end. Each choice is told to `trace`.
pub fn run(seed: u64, setup: Setup, mut trace: impl FnMut(usize, &Choice, &World)) -> Outcome {
    let random = SeededRandom::new(seed);
    let mut world = World::new(setup);
    let mut hasher = DefaultHasher::new();
    let mut steps = 0;
    let mut storm = STORMY / 2 + (random.next_u64() % STORMY as u64) as usize;
    while steps < storm + CALM && world.violation().is_none() && !world.finished() {
        if steps == storm {
            world.calm_down();
        }
        let Some(choice) = pick(&world, &random) else {
            if steps >= storm {
                world.ghost.broken("nothing can happen any more, and the job is not finished");
                break;
            }
            // Every process that may be started is dead: the storm is over.
            storm = steps;
            continue;
        };
        trace(steps, &choice, &world);
        choice.hash(&mut hasher);
        if world.setup.clock {
            world.now = world.now.after(Duration::from_micros(random.next_u64() % 2_000));
        }
        world.apply(choice);
        steps += 1;
    }
    if world.violation().is_none() && !world.finished() {
        world.ghost.broken("the job does not come to its end, although nothing goes wrong any more");
    }
    world.hash(&mut hasher);
    let violation = world.violation().map(|what| (steps, what.to_owned()));
    Outcome { violation, steps, checkpoints: world.checkpoints(), trace: hasher.finish() }
}

/// Rare things stay rare: otherwise nothing would ever get far.
fn pick(world: &World, random: &SeededRandom) -> Option<Choice> {
    let choices = world.choices();
    let weight = |choice: &Choice| match choice {
        Choice::Start if world.processes.is_empty() => 100,
        Choice::Start | Choice::End { .. } => 1,
        Choice::Crash { .. } | Choice::Kill { .. } | Choice::Cut { .. } | Choice::FailTask { .. } => 1,
        Choice::Drain { .. } | Choice::Rescale { .. } => 1,
        Choice::Stop { w } if world.workers[*w].paused => 5,
        Choice::Stop { .. } | Choice::Stray { .. } => 2,
        Choice::Pause { p } if world.processes[*p].paused => 5,
        Choice::Pause { .. } => 2,
        Choice::Manifest { ok: false, .. } | Choice::Upload { ok: false, .. } => 2,
        Choice::LoseAnswer { .. } | Choice::Late { .. } => 10,
        Choice::Timer { .. } => 15,
        Choice::Read { .. } => 10,
        _ => 60_u64,
    };
    let total: u64 = choices.iter().map(weight).sum();
    let mut at = random.next_u64().checked_rem(total)?;
    choices.into_iter().find(|choice| {
        let own = weight(choice);
        let found = at < own;
        at = at.saturating_sub(own);
        found
    })
}
