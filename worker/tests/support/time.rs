//! Timestamps as SQL writes them, in milliseconds since the Unix epoch.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

pub(crate) const SECOND: i64 = 1_000;
pub(crate) const HOUR: i64 = 3_600 * SECOND;
pub(crate) const DAY: i64 = 24 * HOUR;

/// Reads `2015-07-15 00:00:00.123`.
pub(crate) fn parse(text: &str) -> i64 {
    let time: DateTime = text.parse().unwrap_or_else(|e| panic!("{text:?}: {e}"));
    time.to_zoned(TimeZone::UTC).expect("a time in UTC").timestamp().as_millisecond()
}

/// Writes it in this form (`strftime`).
pub(crate) fn format_as(form: &str, ms: i64) -> String {
    let time = Timestamp::from_millisecond(ms).expect("a time").to_zoned(TimeZone::UTC);
    time.strftime(form).to_string()
}

/// `2015-07-15 00:00:00.123`
pub(crate) fn format(ms: i64) -> String {
    format_as("%Y-%m-%d %H:%M:%S.%3f", ms)
}

/// The starts of the windows of `size`, one every `slide`, that hold this time.
pub(crate) fn windows(ms: i64, size: i64, slide: i64) -> impl Iterator<Item = i64> {
    let last = ms.div_euclid(slide) * slide;
    (0..).map(move |n| last - n * slide).take_while(move |start| start + size > ms)
}
