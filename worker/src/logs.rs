//! The form of log lines: each says of which job, process, attempt and execution it is.

use std::fmt;

use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{Format, Full, Json, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;
use weir_runtime::LogIds;

/// Lines in the form `F`, with the ids.
#[derive(Debug)]
pub struct Lines<F> {
    form: Format<F>,
    /// A line of that form, with ids and the number of the process.
    with_ids: fn(&str, &LogIds, u32) -> String,
}

impl Lines<Full> {
    /// For people, coloured or not, with the ids at their ends.
    pub fn text(colours: bool) -> Self {
        Self { form: tracing_subscriber::fmt::format().with_ansi(colours), with_ids: text }
    }
}

impl Lines<Json> {
    /// One object per line, with the ids as its first members.
    pub fn json() -> Self {
        Self { form: tracing_subscriber::fmt::format().json(), with_ids: json }
    }
}

impl<S, N, F> FormatEvent<S, N> for Lines<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    Format<F>: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::new();
        self.form.format_event(context, Writer::new(&mut line), event)?;
        writer.write_str(&(self.with_ids)(&line, &LogIds::now(), std::process::id()))
    }
}

fn text(line: &str, ids: &LogIds, process: u32) -> String {
    let mut line = line.trim_end_matches('\n').to_owned();
    // The name says it, where nobody else gave the uid.
    let uid = if ids.uid == ids.job { "" } else { ids.uid.as_str() };
    for (key, value) in [("job", ids.job.as_str()), ("uid", uid)] {
        if !value.is_empty() {
            line.push_str(&format!(" {key}={value}"));
        }
    }
    for (key, value) in numbers(ids) {
        line.push_str(&format!(" {key}={value}"));
    }
    line.push_str(&format!(" process={process}\n"));
    line
}

fn json(line: &str, ids: &LogIds, process: u32) -> String {
    let Some(rest) = line.strip_prefix('{') else { return line.to_owned() };
    let mut members = Vec::new();
    for (key, value) in [("job", &ids.job), ("uid", &ids.uid)] {
        if !value.is_empty() {
            // A string always has a JSON form.
            members.push(format!("\"{key}\":{}", serde_json::Value::from(value.as_str())));
        }
    }
    members.extend(numbers(ids).map(|(key, value)| format!("\"{key}\":{value}")));
    members.push(format!("\"process\":{process}"));
    format!("{{{},{rest}", members.join(","))
}

/// Those that are known.
fn numbers(ids: &LogIds) -> impl Iterator<Item = (&'static str, u64)> {
    let all = [("worker", ids.worker), ("attempt", ids.attempt), ("execution", ids.execution)];
    all.into_iter().filter(|(_, value)| *value > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> LogIds {
        let (job, uid) = ("hot \"items\"".to_owned(), "u-1".to_owned());
        LogIds { job, uid, worker: 0, attempt: 3, execution: 2 }
    }

    #[test]
    fn every_line_says_whose_it_is() {
        let line = text("WARN x: it is slow\n", &ids(), 7);
        assert_eq!(line, "WARN x: it is slow job=hot \"items\" uid=u-1 attempt=3 execution=2 process=7\n");
        assert_eq!(text("WARN x\n", &LogIds::default(), 7), "WARN x process=7\n");
        let named = LogIds { job: "a".to_owned(), uid: "a".to_owned(), worker: 4, ..LogIds::default() };
        assert_eq!(text("WARN x\n", &named, 7), "WARN x job=a worker=4 process=7\n");
    }

    #[test]
    fn a_line_of_json_stays_one_object() {
        let line = json("{\"level\":\"WARN\",\"fields\":{}}\n", &ids(), 7);
        let object: serde_json::Value = serde_json::from_str(&line).expect("an object");
        assert!(line.ends_with("}\n"));
        let wanted = serde_json::json!({
            "job": "hot \"items\"", "uid": "u-1", "attempt": 3, "execution": 2, "process": 7,
            "level": "WARN", "fields": {},
        });
        assert_eq!(object, wanted);
    }
}
