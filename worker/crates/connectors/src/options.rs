//! Options of a table: one list per connector gives the typed struct, the errors and the docs.
//!
//! Owns: parsing of one value, "unknown option, did you mean", collecting all problems. It does not
//! own what the options mean.

use std::num::NonZeroU64;
use std::time::Duration;

use jiff::civil;
use jiff::tz::TimeZone;
use weir_protocol::units;

use crate::{OptionError, TableSpec};

/// Name, default (`None`: required, `Some("")`: absent) and one line of help. In a name `#` stands
/// for any column.
pub type OptionRow = (&'static str, Option<&'static str>, &'static str);

/// The default of an option that must be given.
pub(crate) const REQUIRED: Option<&str> = None;
/// The default of an option that may be left out.
pub(crate) const ABSENT: Option<&str> = Some("");

/// Declares a struct of options; each field with `[name, default, help]`.
macro_rules! options {
    ($(#[$doc:meta])* struct $struct:ident {
        $( [$key:literal, $default:expr, $help:literal] $field:ident: $type:ty, )*
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub(crate) struct $struct { $( #[doc = $help] pub(crate) $field: $type, )* }

        impl $struct {
            /// The rows of the docs.
            pub(crate) const ROWS: &'static [$crate::options::OptionRow] = &[$( ($key, $default, $help), )*];

            /// Reads all of them; `None` if the reader now has problems.
            pub(crate) fn read(reader: &mut $crate::options::OptionReader<'_>) -> Option<Self> {
                $( let $field = reader.get::<$type>(&($key, $default, $help)); )*
                Some(Self { $( $field: $field?, )* })
            }
        }
    };
}
pub(crate) use options;

/// Declares an enum whose values are written as the given words.
macro_rules! choice {
    ($(#[$doc:meta])* enum $enum:ident { $( $(#[$variant_doc:meta])* $variant:ident = $word:literal, )* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum $enum { $( $(#[$variant_doc])* $variant, )* }

        impl $crate::options::OptionValue for $enum {
            fn parse(text: &str) -> Result<Self, String> {
                match text {
                    $( $word => Ok(Self::$variant), )*
                    _ => Err($crate::options::one_of(text, &[$( $word, )*])),
                }
            }
        }
    };
}
pub(crate) use choice;

/// A type that an option's text can be read as.
pub(crate) trait OptionValue: Sized {
    /// Reads it, or says what is allowed.
    fn parse(text: &str) -> Result<Self, String>;

    /// What stands for an option that was left out and has no default.
    fn absent() -> Option<Self> {
        None
    }
}

impl<T: OptionValue> OptionValue for Option<T> {
    fn parse(text: &str) -> Result<Self, String> {
        T::parse(text).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl OptionValue for String {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }

    fn absent() -> Option<Self> {
        Some(Self::new())
    }
}

impl OptionValue for bool {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(one_of(text, &["true", "false"])),
        }
    }
}

macro_rules! whole_number {
    ($type:ty, $allowed:literal) => {
        impl OptionValue for $type {
            fn parse(text: &str) -> Result<Self, String> {
                text.trim().parse().map_err(|_| format!(concat!("{:?} is not ", $allowed), text))
            }
        }
    };
}
whole_number!(u64, "a whole number from 0");
whole_number!(i64, "a whole number");
whole_number!(u32, "a whole number from 0 to 4294967295");
whole_number!(NonZeroU64, "a whole number from 1");

impl OptionValue for f64 {
    fn parse(text: &str) -> Result<Self, String> {
        text.trim()
            .parse()
            .ok()
            .filter(|n: &f64| n.is_finite())
            .ok_or_else(|| format!("{text:?} is not a number"))
    }
}

impl OptionValue for Duration {
    fn parse(text: &str) -> Result<Self, String> {
        units::parse_duration(text)
    }
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ByteSize(pub(crate) u64);

impl OptionValue for ByteSize {
    fn parse(text: &str) -> Result<Self, String> {
        units::parse_size(text).map(Self)
    }
}

/// A point in time, milliseconds since the Unix epoch, written as UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UtcMillis(pub(crate) i64);

impl OptionValue for UtcMillis {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse::<civil::DateTime>()
            .and_then(|t| t.to_zoned(TimeZone::UTC))
            .map(|t| Self(t.timestamp().as_millisecond()))
            .map_err(|_| format!("{text:?} is not a time in UTC such as '2015-07-15 00:00:00'"))
    }
}

/// A single ASCII character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AsciiChar(pub(crate) u8);

impl OptionValue for AsciiChar {
    fn parse(text: &str) -> Result<Self, String> {
        match text.as_bytes() {
            b"\\t" => Ok(Self(b'\t')),
            [c] if c.is_ascii() && !matches!(c, b'\n' | b'\r' | b'"') => Ok(Self(*c)),
            _ => Err(format!(
                "{text:?} is not a single ASCII character (\\t for a tab; line ends and quotes are not allowed)"
            )),
        }
    }
}

/// The message for a word that is not one of the allowed ones.
pub(crate) fn one_of(text: &str, allowed: &[&str]) -> String {
    let list = allowed.iter().map(|a| format!("'{a}'")).collect::<Vec<_>>().join(", ");
    format!("'{text}' is not allowed: write one of {list}{}", suggestion(text, allowed.iter().copied()))
}

/// `; did you mean 'x'?` for the nearest name, if one is near.
pub(crate) fn suggestion<'a>(text: &str, names: impl Iterator<Item = &'a str>) -> String {
    let lower = text.to_lowercase();
    names
        .map(|name| (strsim::jaro_winkler(&lower, &name.to_lowercase()), name))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(score, _)| *score > 0.75)
        .map_or_else(String::new, |(_, name)| format!("; did you mean '{name}'?"))
}

/// How many options the lists have together.
pub(crate) const fn count(lists: &[&[OptionRow]]) -> usize {
    let (mut sum, mut list) = (0, 0);
    while list < lists.len() {
        sum += lists[list].len();
        list += 1;
    }
    sum
}

/// Joins lists of options at compile time, for connectors that share some.
pub(crate) const fn join<const N: usize>(lists: &[&[OptionRow]]) -> [OptionRow; N] {
    let mut all: [OptionRow; N] = [("", None, ""); N];
    let (mut at, mut list) = (0, 0);
    while list < lists.len() {
        let mut row = 0;
        while row < lists[list].len() {
            all[at] = lists[list][row];
            at += 1;
            row += 1;
        }
        list += 1;
    }
    assert!(at == N, "N is the number of all options");
    all
}

/// Reads the options of one table and collects what is wrong with them.
pub(crate) struct OptionReader<'a> {
    table: &'a TableSpec,
    problems: Vec<OptionError>,
}

impl<'a> OptionReader<'a> {
    /// Starts by finding the options that are not known.
    pub(crate) fn new(table: &'a TableSpec, known: &[OptionRow]) -> Self {
        let unknown = |key: &&String| !known.iter().any(|(name, _, _)| matches_name(name, key));
        let problems = table
            .options
            .keys()
            .filter(unknown)
            .map(|key| OptionError {
                key: Some(key.clone()),
                message: format!("unknown option '{key}'{}", hint(key, known)),
            })
            .collect();
        Self { table, problems }
    }

    /// The table.
    pub(crate) fn table(&self) -> &'a TableSpec {
        self.table
    }

    /// Whether the option was written.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.options.contains_key(key)
    }

    /// The value of an option; `None` if that is a problem, which is noted.
    pub(crate) fn get<T: OptionValue>(&mut self, row: &OptionRow) -> Option<T> {
        let (key, default, help) = *row;
        self.get_as(key, default, help)
    }

    /// The value of an option with a computed name.
    pub(crate) fn get_as<T: OptionValue>(
        &mut self,
        key: &str,
        default: Option<&str>,
        help: &str,
    ) -> Option<T> {
        let text = match (self.table.options.get(key).map(String::as_str), default) {
            (Some(text), _) => text,
            (None, Some("")) => return T::absent(),
            (None, Some(default)) => default,
            (None, None) => {
                self.problem(None, format!("the option '{key}' is required: {help}"));
                return None;
            }
        };
        T::parse(text).map_err(|e| self.problem(Some(key), format!("option '{key}': {e}"))).ok()
    }

    /// Notes a problem.
    pub(crate) fn problem(&mut self, key: Option<&str>, message: impl Into<String>) {
        self.problems.push(OptionError { key: key.map(str::to_owned), message: message.into() });
    }

    /// The value, if there were no problems at all.
    pub(crate) fn finish<T>(self, value: Option<T>) -> Result<T, Vec<OptionError>> {
        match value {
            Some(value) if self.problems.is_empty() => Ok(value),
            _ => Err(self.problems),
        }
    }
}

/// Whether a key is the one of this name, `#` standing for any column.
fn matches_name(name: &str, key: &str) -> bool {
    match name.split_once('#') {
        Some((head, tail)) => {
            key.len() > head.len() + tail.len() && key.starts_with(head) && key.ends_with(tail)
        }
        None => name == key,
    }
}

fn hint(key: &str, known: &[OptionRow]) -> String {
    let near = suggestion(key, known.iter().map(|r| r.0));
    if !near.is_empty() {
        return near;
    }
    let mut names: Vec<_> = known.iter().map(|r| r.0).collect();
    names.sort_unstable();
    match names.is_empty() {
        true => "; there are no options".to_owned(),
        false => format!("; known options: {}", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use arrow_schema::Schema;

    use super::*;

    options! {
        /// Options of a test.
        struct Sample {
            ["path", REQUIRED, "where the files are"] path: String,
            ["rows", Some("10"), "how many"] rows: u64,
            ["every", ABSENT, "how often"] every: Option<Duration>,
            ["mode", Some("fast"), "how"] mode: Mode,
        }
    }

    choice! {
        /// A choice.
        enum Mode {
            /// Fast.
            Fast = "fast",
            /// Slow.
            Slow = "slow",
        }
    }

    fn read(options: &[(&str, &str)]) -> Result<Sample, Vec<OptionError>> {
        let table = TableSpec {
            name: "t".into(),
            schema: Arc::new(Schema::empty()),
            options: options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<BTreeMap<_, _>>(),
            partitioned_by: vec![],
        };
        let mut reader = OptionReader::new(&table, Sample::ROWS);
        let sample = Sample::read(&mut reader);
        reader.finish(sample)
    }

    #[test]
    fn defaults_fill_what_is_left_out() {
        let sample = read(&[("path", "/tmp"), ("every", "10 s")]).unwrap();
        assert_eq!((sample.path.as_str(), sample.rows, sample.mode), ("/tmp", 10, Mode::Fast));
        assert_eq!(sample.every, Some(Duration::from_secs(10)));
        assert_eq!(read(&[("path", "x")]).unwrap().every, None);
    }

    #[test]
    fn all_problems_are_told_together_with_the_nearest_name() {
        let errors = read(&[("pth", "x"), ("rows", "-1"), ("mode", "slwo"), ("zzz", "1")]).unwrap_err();
        let messages: Vec<_> = errors.iter().map(|e| e.message.as_str()).collect();
        assert_eq!(
            messages,
            [
                "unknown option 'pth'; did you mean 'path'?",
                "unknown option 'zzz'; known options: every, mode, path, rows",
                "the option 'path' is required: where the files are",
                "option 'rows': \"-1\" is not a whole number from 0",
                "option 'mode': 'slwo' is not allowed: write one of 'fast', 'slow'; did you mean 'slow'?",
            ]
        );
    }

    #[test]
    fn a_hash_in_a_name_stands_for_a_column() {
        assert!(matches_name("fields.#.kind", "fields.user id.kind"));
        assert!(!matches_name("fields.#.kind", "fields..kind"));
        assert!(!matches_name("fields.#.kind", "fields.a.min"));
    }
}
