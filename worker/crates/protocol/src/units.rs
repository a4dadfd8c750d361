//! Durations and sizes as people write them: `10s`, `1m30s`, `64Mi`.

use std::time::Duration;

/// Parses a duration: one or more of `<whole number><unit>` with the units `ms`, `s`, `m`, `h`, `d`
/// (also with a space between number and unit, and Flink's long names: `10 s`, `5 min`).
///
/// # Errors
/// A sentence that says what is allowed.
///
/// ```
/// use std::time::Duration;
/// assert_eq!(weir_protocol::units::parse_duration("1m30s"), Ok(Duration::from_secs(90)));
/// ```
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let error = || {
        format!(
            "{text:?} is not a duration: write whole numbers with ms, s, m, h or d, such as 500ms, 10s or 1m30s"
        )
    };
    let mut rest = text.trim();
    let mut total: u64 = 0;
    if rest.is_empty() {
        return Err(error());
    }
    while !rest.is_empty() {
        let (number, unit, tail) = number_and_unit(rest).ok_or_else(error)?;
        let millis: u64 = match unit {
            "ms" | "milli" | "millis" | "millisecond" | "milliseconds" => 1,
            "s" | "sec" | "second" | "seconds" => 1_000,
            "m" | "min" | "minute" | "minutes" => 60_000,
            "h" | "hour" | "hours" => 3_600_000,
            "d" | "day" | "days" => 86_400_000,
            _ => return Err(error()),
        };
        total = number
            .checked_mul(millis)
            .and_then(|part| total.checked_add(part))
            .filter(|sum| *sum <= MAX_MILLIS)
            .ok_or_else(|| format!("{text:?} is too long a duration: at most 36500d"))?;
        rest = tail;
    }
    Ok(Duration::from_millis(total))
}

/// A hundred years: nothing that is configured is longer, and sums can't overflow.
const MAX_MILLIS: u64 = 36_500 * 86_400_000;

/// Parses a size in bytes: `<whole number>[unit]` with `Ki`, `Mi`, `Gi`, `Ti` (powers of 1,024) or
/// `k`, `M`, `G`, `T` (powers of 1,000); Flink's `kb`, `mb`, `gb`, `tb` count as powers of 1,024.
///
/// # Errors
/// A sentence that says what is allowed.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let error = || {
        format!(
            "{text:?} is not a size: write a whole number with Ki, Mi, Gi or Ti (or k, M, G, T), such as 64Mi"
        )
    };
    let (number, unit, tail) = number_and_unit(text.trim()).ok_or_else(error)?;
    if !tail.is_empty() {
        return Err(error());
    }
    let factor: u64 = match unit {
        "" | "b" | "B" | "bytes" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "Ki" | "kb" => 1 << 10,
        "Mi" | "mb" => 1 << 20,
        "Gi" | "gb" => 1 << 30,
        "Ti" | "tb" => 1 << 40,
        _ => return Err(error()),
    };
    number
        .checked_mul(factor)
        .filter(|bytes| i64::try_from(*bytes).is_ok())
        .ok_or_else(|| format!("{text:?} is too large a size"))
}

/// The digits and the unit at the start of a text, and what follows.
fn number_and_unit(text: &str) -> Option<(u64, &str, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number = text[..digits].parse().ok()?;
    let after = text[digits..].trim_start();
    let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
    Some((number, &after[..letters], after[letters..].trim_start()))
}

/// Writes a duration so that [`parse_duration`] reads it back (whole milliseconds).
pub fn format_duration(duration: Duration) -> String {
    let mut millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        if millis >= size {
            text.push_str(&format!("{}{unit}", millis / size));
            millis %= size;
        }
    }
    text
}

/// Writes a size for people: `64Mi`, `1.5Gi`, `300`.
pub fn format_size(bytes: u64) -> String {
    for (unit, shift) in [("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)] {
        if bytes >= 1 << shift {
            let value = bytes as f64 / (1_u64 << shift) as f64;
            return if bytes.is_multiple_of(1 << shift) {
                format!("{}{unit}", bytes >> shift)
            } else {
                format!("{value:.1}{unit}")
            };
        }
    }
    bytes.to_string()
}

/// Serde form of a [`Duration`] field: the text of [`format_duration`].
pub mod duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes the text.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&super::format_duration(*value))
    }

    /// Reads the text.
    ///
    /// # Errors
    /// A text that is not a duration.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(from)?;
        super::parse_duration(&text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_people_write_them() {
        for (text, millis) in [
            ("0s", 0),
            ("500ms", 500),
            ("10s", 10_000),
            ("1m30s", 90_000),
            ("7d", 604_800_000),
            ("5 min", 300_000),
            (" 2h 1s ", 7_201_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "10", "s", "-1s", "1.5s", "10x", "10s5", "99999999999999999999s", "40000d"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_read_back() {
        for millis in [0, 1, 999, 1_000, 61_001, 86_400_000, 90_061_001] {
            let duration = Duration::from_millis(millis);
            assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }
    }

    #[test]
    fn sizes_as_people_write_them() {
        for (text, bytes) in
            [("0", 0), ("300", 300), ("64Mi", 64 << 20), ("1Gi", 1 << 30), ("2k", 2_000), ("4 mb", 4 << 20)]
        {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "Mi", "1.5Gi", "-1", "1Mi5", "9999999Ti", "5 parsecs"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
        assert_eq!(format_size(64 << 20), "64Mi");
        assert_eq!(format_size(1_536 << 20), "1.5Gi");
        assert_eq!(format_size(12), "12");
    }
}
