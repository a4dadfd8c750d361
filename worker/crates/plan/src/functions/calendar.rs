//! Dates and times of day of the proleptic Gregorian calendar, without a zone: taken apart, put
//! together, written and read as Flink does.

/// A point in time, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Civil {
    pub(super) year: i64,
    pub(super) month: i64,
    pub(super) day: i64,
    pub(super) hour: i64,
    pub(super) minute: i64,
    pub(super) second: i64,
    pub(super) nanos: i64,
}

/// Days since 1970-01-01 (Howard Hinnant, "chrono-compatible low-level date algorithms").
pub(super) fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let doy = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468
}

/// Year, month and day of a number of days since 1970-01-01 (the same source).
pub(super) fn date_of(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month, doy - (153 * mp + 2) / 5 + 1)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    let (y, m) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    days_of(y, m, 1) - days_of(year, month, 1)
}

impl Civil {
    /// Of a count of units since the epoch, `per_second` of them a second.
    pub(super) fn of(value: i64, per_second: i64) -> Self {
        let seconds = value.div_euclid(per_second);
        let nanos = value.rem_euclid(per_second) * (1_000_000_000 / per_second);
        let (year, month, day) = date_of(seconds.div_euclid(86_400));
        let time = seconds.rem_euclid(86_400);
        Self { year, month, day, hour: time / 3_600, minute: time / 60 % 60, second: time % 60, nanos }
    }

    /// Days since the epoch.
    pub(super) fn days(&self) -> i64 {
        days_of(self.year, self.month, self.day)
    }

    /// Back to units since the epoch, cut off; `None` if that is out of range.
    pub(super) fn value(&self, per_second: i64) -> Option<i64> {
        let time = self.hour * 3_600 + self.minute * 60 + self.second;
        let seconds = self.days().checked_mul(86_400)?.checked_add(time)?;
        seconds.checked_mul(per_second)?.checked_add(self.nanos / (1_000_000_000 / per_second))
    }

    /// `yyyy-MM-dd`.
    pub(super) fn date_text(&self) -> String {
        format!("{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }

    /// `HH:mm:ss` and `digits` digits of the fraction.
    pub(super) fn time_text(&self, digits: usize) -> String {
        let mut text = format!("{:02}:{:02}:{:02}", self.hour, self.minute, self.second);
        if digits > 0 {
            text.push('.');
            text.push_str(&format!("{:09}", self.nanos)[..digits]);
        }
        text
    }
}

/// Reads `yyyy-[M]M-[d]d`.
pub(super) fn read_date(text: &str) -> Option<Civil> {
    let mut parts = text.splitn(3, '-');
    let year = digits(parts.next()?, 4, 4)?;
    let month = digits(parts.next()?, 1, 2)?;
    let day = digits(parts.next()?, 1, 2)?;
    let valid = (1..=12).contains(&month) && (1..=days_in_month(year, month)).contains(&day);
    valid.then_some(Civil { year, month, day, hour: 0, minute: 0, second: 0, nanos: 0 })
}

/// Reads `[H]H:mm[:ss[.fffffffff]]` into hour, minute, second and nanoseconds.
pub(super) fn read_time(text: &str) -> Option<(i64, i64, i64, i64)> {
    let (clock, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = clock.split(':');
    let hour = digits(parts.next()?, 1, 2)?;
    let minute = digits(parts.next()?, 1, 2)?;
    let second = parts.next().map_or(Some(0), |s| digits(s, 1, 2))?;
    let nanos = if text.contains('.') {
        digits(&format!("{fraction:0<9}"), 9, 9).filter(|_| !fraction.is_empty())?
    } else {
        0
    };
    let valid = parts.next().is_none() && hour < 24 && minute < 60 && second < 60;
    valid.then_some((hour, minute, second, nanos))
}

/// Reads a date, or a date and a time with a blank or `T` between.
pub(super) fn read_timestamp(text: &str) -> Option<Civil> {
    let Some((date, time)) = text.split_once([' ', 'T']) else { return read_date(text) };
    let (hour, minute, second, nanos) = read_time(time)?;
    Some(Civil { hour, minute, second, nanos, ..read_date(date)? })
}

fn digits(text: &str, low: usize, high: usize) -> Option<i64> {
    let fits = (low..=high).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    fits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_go_there_and_back_over_four_hundred_years() {
        for days in -150_000..150_000 {
            let (y, m, d) = date_of(days);
            assert_eq!(days_of(y, m, d), days);
        }
        assert_eq!(date_of(0), (1970, 1, 1));
        assert_eq!(days_of(2000, 3, 1), 11_017);
    }

    #[test]
    fn texts_that_are_no_times_are_not_read() {
        for bad in [
            "",
            "2020",
            "2020-13-01",
            "2021-02-29",
            "2020-1-1x",
            "2020-01-01 24:00",
            "2020-01-01 1:2:3.",
            "20-01-01",
        ] {
            assert_eq!(read_timestamp(bad), None, "{bad}");
        }
        for good in ["2020-02-29", "2020-1-1 1:02", "2020-01-01T23:59:59.123456789"] {
            assert!(read_timestamp(good).is_some(), "{good}");
        }
    }
}
