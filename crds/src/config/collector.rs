//! Collects problems while values are read: a value that is wrong gives its default, so that
//! everything after it is still checked.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::{Place, Problem, Setting, text};

pub(super) struct Collector<'a> {
    problems: Vec<Problem>,
    /// Which setting gave a field its value, by the field's path below `spec`.
    origins: BTreeMap<String, Setting>,
    left_out: &'a BTreeSet<String>,
    bad: BTreeSet<String>,
}

impl<'a> Collector<'a> {
    pub(super) fn new(
        problems: Vec<Problem>,
        origins: BTreeMap<String, Setting>,
        left_out: &'a BTreeSet<String>,
    ) -> Self {
        Self { problems, origins, left_out, bad: BTreeSet::new() }
    }

    /// The value if there is no problem.
    pub(super) fn finish<T>(self, value: Option<T>) -> Result<T, Vec<Problem>> {
        match value {
            Some(value) if self.problems.is_empty() => Ok(value),
            _ => Err(self.problems),
        }
    }

    /// A problem of one field, at the `SET` that gave it its value if one did.
    pub(super) fn problem(&mut self, path: &str, message: impl Into<String>) {
        self.bad.insert(path.to_owned());
        let message = message.into();
        let origin = path.strip_prefix("spec.").and_then(|p| self.origins.get(p));
        self.problems.push(match origin {
            Some(set) => Problem::new(
                Place::Sql { line: set.line, column: set.column },
                format!("SET '{}': {message}", set.key),
            ),
            None => Problem::field(path, message),
        });
    }

    /// Whether a `SET` gave a field its value.
    pub(super) fn is_set(&self, path: &str) -> bool {
        path.strip_prefix("spec.").is_some_and(|p| self.origins.contains_key(p))
    }

    /// A rule between several fields; it is only looked at if each of them could be read. The
    /// problem is put at the first that was given.
    pub(super) fn together(&mut self, paths: &[&str], holds: bool, message: impl FnOnce() -> String) {
        let unreadable = |path: &&str| {
            self.bad.contains(*path)
                || self.left_out.iter().any(|out| {
                    path.strip_prefix(out.as_str())
                        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
                })
        };
        if !holds && !paths.iter().any(|path| unreadable(path)) {
            self.problem(paths[0], message());
        }
    }

    pub(super) fn count(
        &mut self,
        path: &str,
        value: Option<i32>,
        range: RangeInclusive<i32>,
        default: u32,
    ) -> u32 {
        let Some(value) = value else { return default };
        if !range.contains(&value) {
            let (low, high) = (range.start(), range.end());
            self.problem(path, format!("must be a whole number from {low} to {high}, not {value}"));
        }
        u32::try_from(value).unwrap_or(default)
    }

    pub(super) fn share(
        &mut self,
        path: &str,
        value: Option<f64>,
        range: RangeInclusive<f64>,
        default: f64,
    ) -> f64 {
        let Some(value) = value else { return default };
        if !range.contains(&value) {
            let (low, high) = (range.start(), range.end());
            self.problem(path, format!("must be a number from {low} to {high}, not {value}"));
        }
        value
    }

    pub(super) fn duration(
        &mut self,
        path: &str,
        value: &Option<String>,
        limits: &RangeInclusive<Duration>,
        default: Duration,
    ) -> Duration {
        self.read(path, value, |text| text::duration(text, limits), default)
    }

    pub(super) fn size(
        &mut self,
        path: &str,
        value: &Option<String>,
        limits: &RangeInclusive<u64>,
        default: u64,
    ) -> u64 {
        self.read(path, value, |text| text::size(text, limits), default)
    }

    fn read<T>(
        &mut self,
        path: &str,
        value: &Option<String>,
        read: impl FnOnce(&str) -> Result<T, String>,
        default: T,
    ) -> T {
        match value.as_deref().map(read) {
            None => default,
            Some(Ok(value)) => value,
            Some(Err(message)) => {
                self.problem(path, message);
                default
            }
        }
    }
}
