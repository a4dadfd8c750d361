//! The whole check of a manifest: text, shape, meaning and SQL, all problems in one list.

use std::collections::BTreeSet;

use serde_json::Value;
use weir_crds::{Given, Override, Place, Problem, Setting, Shape, StreamJob};
use weir_plan::{PlanOptions, Planned};
use weir_protocol::JobConfig;

use super::document::{self, Documents};
use super::finding::{Finding, Severity};
use super::places::{Places, SqlPlaces};
use super::yaml;

/// What is not in the file but decides how it is read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    /// The job that is meant, if the file holds several.
    pub(crate) job: Option<String>,
    /// Values over those of the manifest, each `path=value`.
    pub(crate) overrides: Vec<String>,
    /// The storage of a job that names none.
    pub(crate) storage: Option<String>,
    /// The memory of the container, in bytes.
    pub(crate) container_memory: Option<u64>,
}

/// A job without problems.
pub(crate) struct Checked {
    pub(crate) config: JobConfig,
    pub(crate) planned: Planned,
    /// The spec as it was written, for what only some commands look at.
    pub(crate) job: StreamJob,
}

/// What came out of a check.
pub(crate) struct Outcome {
    /// The job, if there is no problem among the findings.
    pub(crate) checked: Option<Checked>,
    /// In the order of the file.
    pub(crate) findings: Vec<Finding>,
}

/// Checks a manifest.
pub(crate) fn check(text: &str, options: &Options) -> Outcome {
    let mut findings = Vec::new();
    let checked = check_into(text, options, &mut findings);
    findings.sort_by_key(|f| (f.span.is_some(), f.span, f.severity));
    findings.dedup();
    let clean = findings.iter().all(|f| f.severity != Severity::Problem);
    Outcome { checked: checked.filter(|_| clean), findings }
}

fn check_into(text: &str, options: &Options, findings: &mut Vec<Finding>) -> Option<Checked> {
    let documents = match yaml::read(text) {
        Ok(documents) => documents,
        Err(mistakes) => {
            findings.extend(mistakes.into_iter().map(Finding::from));
            return None;
        }
    };
    let mut documents = document::choose(documents, options.job.as_deref());
    findings.append(&mut documents.findings);
    let node = documents.job.take()?;
    let (places, mut manifest) = Places::of(&node);
    let overridden = take_overrides(&options.overrides, &mut manifest, findings);
    let Shape { job, problems, left_out } = weir_crds::check_shape(&manifest);

    let (sql, sql_places) = find_sql(&documents, &node, &manifest, &overridden);
    let mut check = Check { places, sql_places, overridden, findings };
    check.problems(problems);
    let settings = sql.as_deref().map(|sql| check.settings(sql));
    let job = job?;
    let given = Given {
        sql_from: sql.clone().filter(|_| job.spec.sql_from.is_some()),
        settings: settings.clone().flatten().unwrap_or_default(),
        storage: options.storage.clone(),
        container_memory: options.container_memory,
        left_out,
    };
    let config = match weir_crds::to_config(&job, &given) {
        Ok(config) => Some(config),
        Err(problems) => {
            check.problems(problems);
            None
        }
    };
    // Without readable SET statements the rest of the text would only be told to be wrong twice.
    let sql = sql.filter(|sql| !sql.trim().is_empty() && settings.flatten().is_some())?;
    let planned = check.plan(&sql, config.as_ref());
    Some(Checked { config: config?, planned: planned?, job })
}

/// Takes `--set` into the manifest; the paths that were set.
fn take_overrides(texts: &[String], manifest: &mut Value, findings: &mut Vec<Finding>) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    for text in texts {
        match weir_crds::read_override(text) {
            Ok(set) => {
                Override::apply(&set, manifest);
                paths.insert(set.path);
            }
            Err(message) => {
                let field = Some("--set".to_owned());
                findings.push(Finding { field, ..Finding::problem(None, message) });
            }
        }
    }
    paths
}

/// The SQL and where it stands: in the job, or in a ConfigMap of the same file.
fn find_sql(
    documents: &Documents,
    node: &yaml::Node,
    manifest: &Value,
    overridden: &BTreeSet<String>,
) -> (Option<String>, Option<SqlPlaces>) {
    let spec = &manifest["spec"];
    if let Some(sql) = spec["sql"].as_str() {
        let node = node.field("spec").and_then(|s| s.field("sql"));
        let places = node.filter(|_| !overridden.contains("spec.sql")).map(SqlPlaces::of);
        return (Some(sql.to_owned()), places);
    }
    let from = &spec["sqlFrom"]["configMapKeyRef"];
    let found = from["name"].as_str().zip(from["key"].as_str()).and_then(|(n, k)| documents.config_map(n, k));
    (found.and_then(yaml::Node::text).map(str::to_owned), found.map(SqlPlaces::of))
}

struct Check<'a> {
    places: Places,
    sql_places: Option<SqlPlaces>,
    overridden: BTreeSet<String>,
    findings: &'a mut Vec<Finding>,
}

impl Check<'_> {
    fn problems(&mut self, problems: Vec<Problem>) {
        for problem in problems {
            let other = problem.other.as_ref().and_then(|place| self.span(place, 1).0);
            let length = if matches!(problem.place, Place::Sql { .. }) { 3 } else { 1 };
            let (span, exact) = self.span(&problem.place, length);
            let (field, message) = match &problem.place {
                Place::Field(path) | Place::Name(path) => (Some(self.shown(path)), problem.message),
                Place::Sql { line, column } => (None, in_sql(problem.message, *line, *column, exact)),
            };
            self.findings.push(Finding { field, other, ..Finding::problem(span, message) });
        }
    }

    /// The path as the person gave it: what came by `--set` is not in the file.
    fn shown(&self, path: &str) -> String {
        if self.is_overridden(path) { format!("--set {path}") } else { path.to_owned() }
    }

    fn is_overridden(&self, path: &str) -> bool {
        self.overridden.iter().any(|set| {
            let below = |long: &str, short: &str| {
                long.strip_prefix(short).is_some_and(|r| r.is_empty() || r.starts_with(['.', '[']))
            };
            below(path, set) || (below(set, path) && self.places.name(path).is_none())
        })
    }

    /// The place in the file, and whether it is exact.
    fn span(&self, place: &Place, length: u32) -> (Option<yaml::Span>, bool) {
        match place {
            Place::Field(path) | Place::Name(path) if self.is_overridden(path) => (None, true),
            Place::Field(path) => (self.places.field(path), true),
            Place::Name(path) => (self.places.name(path), true),
            Place::Sql { line, column } => match &self.sql_places {
                Some(sql) => {
                    let (span, exact) = sql.locate(*line, *column, length);
                    (Some(span), exact)
                }
                None => (None, false),
            },
        }
    }

    fn sql_problem(&mut self, severity: Severity, problem: weir_plan::Problem) {
        let weir_plan::Problem { line, column, length, message, hint, .. } = problem;
        let (span, exact) = self.span(&Place::Sql { line, column }, length);
        let message = in_sql(message, line, column, exact);
        self.findings.push(Finding { severity, hint, ..Finding::problem(span, message) });
    }

    /// The SET statements; `None` if the SQL can't be taken apart into statements.
    fn settings(&mut self, sql: &str) -> Option<Vec<Setting>> {
        match weir_plan::settings(sql) {
            Ok(settings) => Some(
                settings
                    .into_iter()
                    .map(|s| Setting { key: s.key, value: s.value, line: s.line, column: s.column })
                    .collect(),
            ),
            Err(problems) => {
                problems.into_iter().for_each(|p| self.sql_problem(Severity::Problem, p));
                None
            }
        }
    }

    /// Plans the SQL, with what is known of the configuration.
    fn plan(&mut self, sql: &str, config: Option<&JobConfig>) -> Option<Planned> {
        let defaults = PlanOptions::default();
        let options = match config {
            Some(config) => PlanOptions {
                parallelism: config.parallelism,
                max_parallelism: config.max_parallelism,
                state_ttl: config.state.ttl,
                ..defaults
            },
            None => defaults,
        };
        match weir_plan::plan(sql, &options) {
            Ok(planned) => {
                for warning in planned.warnings.clone() {
                    self.sql_problem(Severity::Warning, warning);
                }
                Some(planned)
            }
            Err(problems) => {
                problems.into_iter().for_each(|p| self.sql_problem(Severity::Problem, p));
                None
            }
        }
    }
}

/// The message with the place in the SQL, where the file can't show it.
fn in_sql(message: String, line: u32, column: u32, exact: bool) -> String {
    if exact { message } else { format!("{message} (line {line}, column {column} of the SQL)") }
}
