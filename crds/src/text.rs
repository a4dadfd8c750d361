//! Texts of a spec that mean a number: durations, sizes and Kubernetes quantities.

use std::ops::RangeInclusive;
use std::time::Duration;

use weir_protocol::units::{format_duration, format_size, parse_duration, parse_size};

/// A duration as a spec may hold it: `10s`, `1m30s`, without spaces and long names, because the
/// API server takes no others.
pub(crate) fn duration(text: &str, limits: &RangeInclusive<Duration>) -> Result<Duration, String> {
    let plain = is_units(text, &["ms", "s", "m", "h", "d"], 13);
    let value = match parse_duration(text) {
        Ok(value) if plain => value,
        Ok(value) => {
            return Err(format!("{text:?} is not a duration here: write {}", format_duration(value)));
        }
        Err(message) => return Err(message),
    };
    if limits.contains(&value) {
        return Ok(value);
    }
    let (low, high) = (format_duration(*limits.start()), format_duration(*limits.end()));
    Err(format!("{text} is outside of what is allowed: {low} to {high}"))
}

/// A size as a spec may hold it: `64Mi`, `2G`, `300`.
pub(crate) fn size(text: &str, limits: &RangeInclusive<u64>) -> Result<u64, String> {
    let plain = is_units(text, &["Ki", "Mi", "Gi", "Ti", "k", "M", "G", "T", ""], 18);
    let value = match parse_size(text) {
        Ok(value) if plain => value,
        Ok(value) => return Err(format!("{text:?} is not a size here: write {}", exact_size(value))),
        Err(message) => return Err(message),
    };
    if limits.contains(&value) {
        return Ok(value);
    }
    let (low, high) = (format_size(*limits.start()), format_size(*limits.end()));
    Err(format!("{text} is outside of what is allowed: {low} to {high}"))
}

/// A size so that it is read back exactly.
pub(crate) fn exact_size(bytes: u64) -> String {
    let text = format_size(bytes);
    if text.contains('.') { bytes.to_string() } else { text }
}

/// Whether a text is one or more of `<up to n digits><unit>`; a text of sizes has one part.
fn is_units(text: &str, units: &[&str], digits: usize) -> bool {
    let mut rest = text;
    while !rest.is_empty() {
        let number = rest.bytes().take_while(u8::is_ascii_digit).count();
        let letters = rest[number..].bytes().take_while(u8::is_ascii_alphabetic).count();
        if number == 0 || number > digits || !units.contains(&&rest[number..number + letters]) {
            return false;
        }
        rest = &rest[number + letters..];
    }
    !text.is_empty()
}

/// The bytes of a Kubernetes quantity (`2Gi`, `1500M`, `1.5G`, `1e9`), rounded up.
pub(crate) fn quantity_bytes(text: &str) -> Option<u64> {
    let bytes = quantity(text)?.ceil();
    // Far below the point where f64 can't hold whole numbers any more.
    (0.0..9e15).contains(&bytes).then_some(bytes as u64)
}

/// The number that a Kubernetes quantity stands for; what is negative or not finite is none.
pub(crate) fn quantity(text: &str) -> Option<f64> {
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let number: f64 = text[..split].parse().ok()?;
    let factor = match &text[split..] {
        "" => 1.0,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "Ki" => 1024.0,
        "Mi" => 1024.0 * 1024.0,
        "Gi" => 1024.0 * 1024.0 * 1024.0,
        "Ti" => 1024.0_f64.powi(4),
        "Pi" => 1024.0_f64.powi(5),
        exponent => 10.0_f64.powi(exponent.strip_prefix(['e', 'E'])?.parse().ok()?),
    };
    Some(number * factor).filter(|n| n.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_as_kubernetes_writes_them() {
        for (text, bytes) in
            [("0", 0), ("128974848", 128_974_848), ("1.5Gi", 3 << 29), ("129e6", 129_000_000), ("500m", 1)]
        {
            assert_eq!(quantity_bytes(text), Some(bytes), "{text}");
        }
        for text in ["", "Gi", "1 Gi", "-1", "1e99", "5x", "1.2.3"] {
            assert_eq!(quantity_bytes(text), None, "{text}");
        }
    }

    #[test]
    fn a_duration_that_only_flink_reads_is_answered_with_how_to_write_it() {
        let limits = Duration::ZERO..=Duration::from_secs(86_400);
        assert_eq!(duration("1m30s", &limits), Ok(Duration::from_secs(90)));
        assert_eq!(duration("5 min", &limits), Err("\"5 min\" is not a duration here: write 5m".to_owned()));
        assert_eq!(duration("2d", &limits), Err("2d is outside of what is allowed: 0s to 1d".to_owned()));
    }
}
