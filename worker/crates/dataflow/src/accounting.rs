//! How a subtask spends its time: working, waiting for room in an output, or (the rest) idle. It is told
//! times and reads no clock.

use std::time::Duration;

use weir_runtime::Timestamp;

/// The times of one subtask. Working and waiting for room never overlap, so that the two and the rest are
/// the whole.
///
/// The subtasks of a slot take turns: one that has no room is waiting also while others have theirs.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Accounting {
    busy: Duration,
    full: Duration,
    full_since: Option<Timestamp>,
}

impl Accounting {
    /// The subtask had its turn. `worked`: it did something; `full`: it ended because an output had no room.
    pub(crate) fn turn(&mut self, start: Timestamp, end: Timestamp, worked: bool, full: bool) {
        if let Some(since) = self.full_since.take() {
            self.full += start.since(since);
        }
        if worked {
            self.busy += end.since(start);
        }
        if full {
            self.full_since = Some(if worked { end } else { start });
        }
    }

    /// Microseconds of work so far.
    pub(crate) fn busy_us(&self) -> u64 {
        micros(self.busy)
    }

    /// Microseconds until now in which there was no room.
    pub(crate) fn full_us(&self, now: Timestamp) -> u64 {
        micros(self.full + self.full_since.map_or(Duration::ZERO, |since| now.since(since)))
    }
}

/// Whole microseconds.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Turns as (start, end, worked, full); what is busy and what is full at `now`.
    fn spent(turns: &[(u64, u64, bool, bool)], now: u64) -> (u64, u64) {
        let mut accounting = Accounting::default();
        for (start, end, worked, full) in turns {
            accounting.turn(Timestamp(*start), Timestamp(*end), *worked, *full);
        }
        (accounting.busy_us(), accounting.full_us(Timestamp(now)))
    }

    #[test]
    fn every_moment_counts_once() {
        // Nothing came in: all of it is idle.
        assert_eq!(spent(&[(0, 1, false, false), (50, 51, false, false)], 100), (0, 0));
        // Work, then no room until a look at 30 finds some.
        assert_eq!(
            spent(&[(0, 10, true, true), (20, 21, false, true), (30, 40, true, false)], 100),
            (20, 20)
        );
        // It is still waiting.
        assert_eq!(spent(&[(0, 10, true, true)], 100), (10, 90));
        // A look that finds no room is waiting, not working; what comes after room was found is idle.
        assert_eq!(spent(&[(0, 5, false, true), (60, 61, false, false)], 100), (0, 60));
        // Work up to the next lack of room.
        assert_eq!(spent(&[(0, 10, true, true), (15, 25, true, true)], 25), (20, 5));
    }
}
