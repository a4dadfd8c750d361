//! Splits of the numbers `0, 1, 2, …` by residue class: pure, total, and divisible at any position.

use weir_dataflow::SplitState;
use weir_protocol::{Failure, FailureKind};

/// The numbers `next, next + stride, …`, all of them `residue` modulo `stride`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NumberSplit {
    /// Distance of two neighbours; at least 1.
    pub(crate) stride: u64,
    /// `0 .. stride`.
    pub(crate) residue: u64,
    /// The first number that was not read yet.
    pub(crate) next: u64,
}

/// More splits than this many per subtask are not made to even out the load.
const MAX_SPLITS_PER_SUBTASK: u64 = 8;

impl NumberSplit {
    /// The state for a checkpoint: the class is the id, the next number the position.
    pub(crate) fn state(self, end: u64) -> SplitState {
        SplitState {
            id: format!("{}/{}", self.residue, self.stride),
            ended: self.next >= end,
            position: self.next.to_string().into_bytes(),
        }
    }

    /// Reads [`Self::state`] back.
    fn parse(state: &SplitState) -> Option<Self> {
        let (residue, stride) = state.id.split_once('/')?;
        let next = std::str::from_utf8(&state.position).ok()?.parse().ok()?;
        let split = Self { stride: stride.parse().ok()?, residue: residue.parse().ok()?, next };
        (split.stride > 0 && split.residue < split.stride && split.next % split.stride == split.residue)
            .then_some(split)
    }

    /// The same numbers as `parts` splits.
    fn divide(self, parts: u64) -> impl Iterator<Item = Self> {
        (0..parts).map(move |part| {
            let (stride, next) = (self.stride * parts, self.next + part * self.stride);
            Self { stride, residue: next % stride, next }
        })
    }
}

/// All splits of a source, for a fresh start or from a checkpoint; subtask `i` of `parallelism`
/// owns those at the positions `i, i + parallelism, …`.
///
/// # Errors
/// Splits that no such source wrote.
pub(crate) fn splits(
    restored: Option<&[SplitState]>,
    parallelism: u32,
    end: u64,
) -> Result<Vec<NumberSplit>, Failure> {
    let parallelism = u64::from(parallelism.max(1));
    let Some(states) = restored else {
        let all = NumberSplit { stride: 1, residue: 0, next: 0 };
        return Ok(all.divide(parallelism).collect());
    };
    let mut splits = states
        .iter()
        .map(|s| {
            NumberSplit::parse(s).ok_or_else(|| {
                let message = format!("the checkpoint has a split {:?} that is not a range of numbers", s.id);
                Failure::new(FailureKind::StateIncompatible, message)
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    splits.sort_unstable();
    let (live, ended): (Vec<_>, Vec<_>) = splits.into_iter().partition(|s| s.next < end);
    let parts = parts(live.len() as u64, parallelism);
    Ok(live.into_iter().flat_map(|s| s.divide(parts)).chain(ended).collect())
}

/// Into how many parts each of `splits` is divided so that every subtask has work.
fn parts(splits: u64, parallelism: u64) -> u64 {
    if splits == 0 || splits >= parallelism {
        return 1;
    }
    let even = parallelism / gcd(splits, parallelism);
    if even * splits <= MAX_SPLITS_PER_SUBTASK * parallelism { even } else { parallelism.div_ceil(splits) }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads every split a little further, over a chain of parallelisms; gives how often each
    /// number was read.
    fn run(chain: &[u32], steps: &[u64], end: u64) -> Vec<u32> {
        let mut seen = vec![0_u32; usize::try_from(end).unwrap()];
        let mut steps = steps.iter().cycle();
        let mut restored: Option<Vec<SplitState>> = None;
        for (phase, &parallelism) in chain.iter().enumerate() {
            let all = splits(restored.as_deref(), parallelism, end).unwrap();
            let mut states = Vec::new();
            for index in 0..parallelism {
                for mut split in all.iter().copied().skip(index as usize).step_by(parallelism as usize) {
                    let mut left = if phase + 1 == chain.len() { u64::MAX } else { *steps.next().unwrap() };
                    while split.next < end && left > 0 {
                        seen[usize::try_from(split.next).unwrap()] += 1;
                        split.next += split.stride;
                        left -= 1;
                    }
                    states.push(split.state(end));
                }
            }
            states.sort_by(|a, b| a.id.cmp(&b.id));
            assert!(states.windows(2).all(|w| w[0].id != w[1].id), "ids are unique");
            restored = Some(states);
        }
        seen
    }

    proptest! {
        #[test]
        fn every_number_is_read_once_over_any_chain_of_parallelisms(
            mut chain in prop::collection::vec(1_u32..9, 1..6),
            steps in prop::collection::vec(0_u64..60, 1..20),
            end in 0_u64..900,
        ) {
            prop_assert!(run(&chain, &steps, end).iter().all(|n| *n == 1));
            chain.splice(0..0, [1, 3, 2, 5]);
            prop_assert!(run(&chain, &steps, end).iter().all(|n| *n == 1));
        }

        #[test]
        fn every_subtask_has_work_and_no_subtask_has_many_splits(a in 1_u32..300, b in 1_u32..300) {
            let states: Vec<_> = splits(None, a, 1 << 40).unwrap().iter().map(|s| s.state(1 << 40)).collect();
            let count = splits(Some(&states), b, 1 << 40).unwrap().len() as u64;
            prop_assert!(count >= u64::from(b));
            prop_assert!(count <= u64::from(a).max(MAX_SPLITS_PER_SUBTASK * u64::from(b)));
        }
    }

    #[test]
    fn splits_of_another_source_are_refused() {
        for (id, position) in [("a.json", "0"), ("3/2", "1"), ("0/0", "0"), ("1/2", "4"), ("0/1", "x")] {
            let state =
                SplitState { id: id.into(), ended: false, position: position.as_bytes().to_vec() };
            assert!(splits(Some(&[state]), 1, 10).is_err(), "{id} {position}");
        }
    }
}
