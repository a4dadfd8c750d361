//! Restart strategies: whether and when an execution that failed is followed by another.

use std::collections::VecDeque;
use std::time::Duration;

use weir_protocol::RestartStrategy;

use crate::event::Moment;
use weir_runtime::Timestamp;

/// What a strategy has to remember.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RestartState {
    /// Failures so far that count (all, or those within the interval).
    failures: VecDeque<Timestamp>,
    /// How many in all, for strategies that count.
    count: u32,
    /// The last delay without jitter.
    delay: Option<Duration>,
    /// The newest failure, of whatever kind.
    last: Option<Timestamp>,
}

impl RestartState {
    /// An execution lost a worker: the same, but if nothing failed for as long as `calm` the next one follows
    /// at once and this failure does not count. A job that is not to be restarted at all is not.
    pub fn lost_worker(
        &mut self,
        strategy: &RestartStrategy,
        calm: Duration,
        moment: Moment,
    ) -> Option<Duration> {
        let quiet = self.last.is_none_or(|last| moment.now.since(last) >= calm);
        if quiet && *strategy != RestartStrategy::None {
            self.last = Some(moment.now);
            return Some(Duration::ZERO);
        }
        self.failed(strategy, moment)
    }

    /// An execution failed: how long to wait before the next, or `None` if there is to be none.
    pub fn failed(&mut self, strategy: &RestartStrategy, moment: Moment) -> Option<Duration> {
        self.last = Some(moment.now);
        match strategy {
            RestartStrategy::None => None,
            RestartStrategy::FixedDelay { attempts, delay } => {
                self.count = self.count.saturating_add(1);
                (self.count <= *attempts).then_some(*delay)
            }
            RestartStrategy::ExponentialDelay {
                initial_delay,
                max_delay,
                backoff_multiplier,
                reset_after,
                jitter,
            } => {
                let quiet = self.failures.back().is_none_or(|last| {
                    moment.now.since(*last) >= self.delay.unwrap_or_default() + *reset_after
                });
                let base = match self.delay {
                    Some(delay) if !quiet => grow(delay, *backoff_multiplier),
                    _ => *initial_delay,
                }
                .min(*max_delay);
                self.failures = VecDeque::from([moment.now]);
                self.delay = Some(base);
                Some(spread(base, *jitter, moment.random).min(*max_delay))
            }
            RestartStrategy::FailureRate { max_failures_per_interval, interval, delay } => {
                self.failures.retain(|at| moment.now.since(*at) < *interval);
                self.failures.push_back(moment.now);
                (self.failures.len() <= *max_failures_per_interval as usize).then_some(*delay)
            }
        }
    }
}

/// The next delay; one that is out of range is the longest there is.
fn grow(delay: Duration, by: f64) -> Duration {
    Duration::try_from_secs_f64(delay.as_secs_f64() * by.max(1.0)).unwrap_or(Duration::MAX)
}

/// The delay, plus or minus up to `jitter` of it.
fn spread(delay: Duration, jitter: f64, random: u64) -> Duration {
    let unit = random as f64 / u64::MAX as f64;
    let factor = 1.0 + jitter.clamp(0.0, 1.0) * (2.0 * unit - 1.0);
    Duration::try_from_secs_f64(delay.as_secs_f64() * factor).unwrap_or(delay)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delays(strategy: &RestartStrategy, failures_at_s: &[u64]) -> Vec<Option<u64>> {
        let mut state = RestartState::default();
        failures_at_s
            .iter()
            .map(|s| Moment { now: Timestamp(s * 1_000_000), random: u64::MAX / 2 })
            .map(|moment| state.failed(strategy, moment).map(|d| d.as_millis() as u64))
            .collect()
    }

    #[test]
    fn each_strategy_restarts_as_often_and_as_late_as_it_says() {
        let s = Duration::from_secs;
        assert_eq!(delays(&RestartStrategy::None, &[0]), [None]);
        let fixed = RestartStrategy::FixedDelay { attempts: 2, delay: s(3) };
        assert_eq!(delays(&fixed, &[0, 1000, 2000]), [Some(3000), Some(3000), None]);
        let growing = RestartStrategy::ExponentialDelay {
            initial_delay: s(1),
            max_delay: s(5),
            backoff_multiplier: 2.0,
            reset_after: s(60),
            jitter: 0.0,
        };
        assert_eq!(
            delays(&growing, &[0, 1, 2, 3, 4, 200]),
            [Some(1000), Some(2000), Some(4000), Some(5000), Some(5000), Some(1000)]
        );
        let rate =
            RestartStrategy::FailureRate { max_failures_per_interval: 2, interval: s(10), delay: s(1) };
        assert_eq!(
            delays(&rate, &[0, 5, 20, 21, 22]),
            [Some(1000), Some(1000), Some(1000), Some(1000), None]
        );
    }

    #[test]
    fn the_loss_of_a_worker_after_a_calm_time_costs_nothing() {
        let fixed = RestartStrategy::FixedDelay { attempts: 1, delay: Duration::from_secs(3) };
        let calm = Duration::from_secs(60);
        let mut state = RestartState::default();
        let mut lost = |s: u64| {
            let moment = Moment { now: Timestamp(s * 1_000_000), random: 0 };
            state.lost_worker(&fixed, calm, moment).map(|delay| delay.as_secs())
        };
        assert_eq!(
            [lost(0), lost(100), lost(110), lost(200), lost(201)],
            [Some(0), Some(0), Some(3), Some(0), None]
        );
        let mut state = RestartState::default();
        assert_eq!(state.lost_worker(&RestartStrategy::None, calm, Moment::default()), None);
    }

    #[test]
    fn jitter_stays_within_its_share_and_the_maximum() {
        let s = Duration::from_secs;
        for (random, want) in [(0, s(8)), (u64::MAX / 2, s(10)), (u64::MAX, s(12))] {
            let got = spread(s(10), 0.2, random);
            assert!(got.abs_diff(want) < Duration::from_millis(1), "{random}: {got:?}");
        }
    }
}
