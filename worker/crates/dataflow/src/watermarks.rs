//! The watermark of several inputs or splits. Pure.

use crate::Watermark;

/// What one input says of event time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Active(Watermark),
    /// Does not hold the others back.
    Idle(Watermark),
}

/// A change of the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advance {
    /// The smallest watermark over all that are not idle rose to this.
    To(Watermark),
    /// All became idle: whoever is downstream need not wait for this one.
    Idle,
    /// One became active again after all were idle; its watermark is not higher than the last.
    Active,
}

/// Keeps one watermark per input and the smallest over those that are not idle. It only grows,
/// whatever the inputs say.
///
/// ```
/// use weir_dataflow::{Advance, Watermark, Watermarks};
/// let mut all = Watermarks::new(2);
/// assert_eq!(all.advance(0, Watermark(10)), None);
/// assert_eq!(all.advance(1, Watermark(7)), Some(Advance::To(Watermark(7))));
/// assert_eq!(all.idle(1), Some(Advance::To(Watermark(10))));
/// assert_eq!(all.advance(1, Watermark(8)), None, "behind, and too late to pull it back");
/// ```
#[derive(Debug, Clone)]
pub struct Watermarks {
    inputs: Vec<Progress>,
    smallest: Watermark,
    all_idle: bool,
}

impl Watermarks {
    /// For a number of inputs, none of which has said anything.
    pub fn new(inputs: usize) -> Self {
        Self {
            inputs: vec![Progress::Active(Watermark::MIN); inputs],
            smallest: Watermark::MIN,
            all_idle: false,
        }
    }

    /// The smallest watermark so far.
    pub fn smallest(&self) -> Watermark {
        self.smallest
    }

    /// An input says how far it is; it is active from now on. A lower value than before is
    /// taken as the one before.
    pub fn advance(&mut self, input: usize, to: Watermark) -> Option<Advance> {
        let slot = self.slot(input);
        let (Progress::Active(before) | Progress::Idle(before)) = *slot;
        *slot = Progress::Active(before.max(to));
        self.settle()
    }

    /// An input has nothing to say for now.
    pub fn idle(&mut self, input: usize) -> Option<Advance> {
        let slot = self.slot(input);
        let (Progress::Active(before) | Progress::Idle(before)) = *slot;
        *slot = Progress::Idle(before);
        self.settle()
    }

    /// Makes room for inputs that are found later; new ones are idle until they say something.
    fn slot(&mut self, input: usize) -> &mut Progress {
        if input >= self.inputs.len() {
            self.inputs.resize(input + 1, Progress::Idle(Watermark::MIN));
        }
        &mut self.inputs[input]
    }

    fn settle(&mut self) -> Option<Advance> {
        let smallest = self
            .inputs
            .iter()
            .filter_map(|p| match p {
                Progress::Active(w) => Some(*w),
                Progress::Idle(_) => None,
            })
            .min();
        let was_idle = std::mem::replace(&mut self.all_idle, smallest.is_none());
        match smallest {
            Some(w) if w > self.smallest => {
                self.smallest = w;
                Some(Advance::To(w))
            }
            Some(_) if was_idle => Some(Advance::Active),
            None if !was_idle => Some(Advance::Idle),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_input_decides_and_nothing_goes_back() {
        let mut all = Watermarks::new(2);
        assert_eq!(all.advance(0, Watermark(5)), None);
        assert_eq!(all.advance(1, Watermark(3)), Some(Advance::To(Watermark(3))));
        assert_eq!(all.advance(1, Watermark(1)), None);
        assert_eq!(all.advance(1, Watermark(9)), Some(Advance::To(Watermark(5))));
        assert_eq!(all.smallest(), Watermark(5));
    }

    #[test]
    fn all_idle_is_said_once_and_taken_back_once() {
        let mut all = Watermarks::new(2);
        assert_eq!(all.idle(0), None);
        assert_eq!(all.idle(1), Some(Advance::Idle));
        assert_eq!(all.idle(1), None);
        assert_eq!(all.advance(1, Watermark::MIN), Some(Advance::Active));
        assert_eq!(all.advance(1, Watermark(4)), Some(Advance::To(Watermark(4))));
    }

    #[test]
    fn an_input_that_is_found_later_starts_idle() {
        let mut all = Watermarks::new(1);
        assert_eq!(all.advance(0, Watermark(4)), Some(Advance::To(Watermark(4))));
        assert_eq!(all.advance(3, Watermark(2)), None);
        assert_eq!(all.advance(0, Watermark(6)), None, "held back by the new one");
        assert_eq!(all.advance(3, Watermark::MAX), Some(Advance::To(Watermark(6))));
    }
}
