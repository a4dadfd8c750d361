//! Windows over event time: which windows a row belongs to, and how windows are cut into slices.
//!
//! Owns the arithmetic. It does not own state or rows.

use weir_protocol::{Failure, FailureKind};

mod hop;
mod tumble;

pub use hop::Hop;
pub use tumble::Tumble;

/// A window table function with its options. All in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// Windows side by side.
    Tumble(Tumble),
    /// Windows that overlap.
    Hop(Hop),
}

/// Where the values of an output column of a window aggregate come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowOutput {
    /// The key with this position in `AggregateSpec::keys`.
    Key(usize),
    /// The call with this position in `AggregateSpec::calls`.
    Call(usize),
    /// The first millisecond of the window.
    Start,
    /// The first millisecond after the window.
    End,
    /// The last millisecond of the window: the event time of the result.
    Time,
}

/// A window aggregation's window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowSpec {
    /// The window.
    pub window: Window,
    /// The input column with the event time, a timestamp.
    pub time: usize,
    /// One per column of the output schema.
    pub output: Vec<WindowOutput>,
}

/// Times further than this from the epoch (about 146 million years, in milliseconds) are refused,
/// so that no arithmetic of windows can overflow.
pub const MAX_TIME: i64 = 1 << 62;

/// The longest window and slide: a thousand years, in milliseconds.
const MAX_SIZE: i64 = 365_250 * 86_400_000;

impl Window {
    /// Length of a window.
    pub const fn size(self) -> i64 {
        match self {
            Self::Tumble(w) => w.size(),
            Self::Hop(w) => w.size(),
        }
    }

    /// Width of a slice: windows are made of whole slices.
    pub const fn pane(self) -> i64 {
        match self {
            Self::Tumble(w) => w.size(),
            Self::Hop(w) => w.pane(),
        }
    }

    /// From the end of one window to the end of the next.
    pub const fn slide(self) -> i64 {
        match self {
            Self::Tumble(w) => w.size(),
            Self::Hop(w) => w.slide(),
        }
    }

    /// The end (exclusive) of the slice that holds a time within [`MAX_TIME`] of the epoch.
    ///
    /// ```
    /// use weir_dataflow::window::{Hop, Window};
    /// let window = Window::Hop(Hop::new(10, 4, 0).unwrap());
    /// assert_eq!(window.slice_end(5), 6);
    /// assert_eq!(window.slice_end(-1), 0);
    /// ```
    pub fn slice_end(self, time: i64) -> i64 {
        match self {
            Self::Tumble(w) => w.slice_end(time),
            Self::Hop(w) => w.slice_end(time),
        }
    }

    /// The end of the first window that ends at `time` or later.
    pub fn window_end_from(self, time: i64) -> i64 {
        match self {
            Self::Tumble(w) => w.slice_end(time - 1),
            Self::Hop(w) => w.window_end_from(time),
        }
    }

    /// The ends of the first and the last window that hold a slice; none if it lies in a gap
    /// between windows (a slide longer than the size).
    pub fn windows_of_slice(self, slice_end: i64) -> Option<(i64, i64)> {
        let first = self.window_end_from(slice_end);
        let beyond = slice_end - self.pane() + self.size();
        (first <= beyond).then(|| {
            let next = self.window_end_from(beyond);
            (first, if next == beyond { next } else { next - self.slide() })
        })
    }
}

/// The largest `offset + k * step` that is not above `time`.
fn floor_multiple(time: i64, step: i64, offset: i64) -> i64 {
    time - (time - offset).rem_euclid(step)
}

fn size_allowed(function: &str, option: &str, ms: i64) -> Result<(), String> {
    if (1..=MAX_SIZE).contains(&ms) {
        return Ok(());
    }
    Err(format!("{function}: the {option} must be from 1 millisecond to 1000 years, not {ms} ms"))
}

/// The refusal of a time that is no time.
pub(crate) fn no_time(column: &str, what: &str) -> Failure {
    Failure::new(FailureKind::Expression, format!("the event time column {column:?} {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows() -> Vec<Window> {
        let mut all = Vec::new();
        for size in 1..13 {
            for offset in -(size - 1)..size {
                all.push(Window::Tumble(Tumble::new(size, offset).expect("allowed")));
            }
            for slide in 1..13 {
                for offset in -(slide - 1)..slide {
                    all.push(Window::Hop(Hop::new(size, slide, offset).expect("allowed")));
                }
            }
        }
        all
    }

    /// The ends of all windows that hold a time, by trying every one.
    fn naive(window: Window, time: i64) -> Vec<i64> {
        let (size, slide, offset) = match window {
            Window::Tumble(w) => (w.size(), w.size(), w.window_offset()),
            Window::Hop(w) => (w.size(), w.slide(), w.window_offset()),
        };
        (-60..60)
            .map(|k| offset + k * slide)
            .filter(|start| (*start..start + size).contains(&time))
            .map(|start| start + size)
            .collect()
    }

    #[test]
    fn slices_lead_to_exactly_the_windows_that_hold_a_time() {
        for window in windows() {
            for time in -30..30 {
                let end = window.slice_end(time);
                assert!(end - window.pane() <= time && time < end, "{window:?} {time}");
                let got: Vec<i64> = match window.windows_of_slice(end) {
                    Some((first, last)) => {
                        (first..=last).step_by(usize::try_from(window.slide()).expect("small")).collect()
                    }
                    None => Vec::new(),
                };
                assert_eq!(got, naive(window, time), "{window:?} {time}");
            }
        }
    }

    #[test]
    fn what_cannot_be_a_window_is_refused_with_what_is_allowed() {
        for (error, part) in [
            (Tumble::new(0, 0).unwrap_err(), "from 1 millisecond"),
            (Tumble::new(10, 10).unwrap_err(), "smaller than the size"),
            (Hop::new(10, -1, 0).unwrap_err(), "slide must be"),
            (Hop::new(1_000_001, 7, 0).unwrap_err(), "multiple of the slide"),
        ] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn the_furthest_times_do_not_overflow() {
        for window in [
            Window::Tumble(Tumble::new(MAX_SIZE, 5).expect("allowed")),
            Window::Hop(Hop::new(MAX_SIZE, MAX_SIZE / 2, -7).expect("allowed")),
        ] {
            for time in [-MAX_TIME, MAX_TIME] {
                assert!(window.windows_of_slice(window.slice_end(time)).is_some());
            }
        }
    }
}
