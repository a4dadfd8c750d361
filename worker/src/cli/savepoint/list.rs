//! `weir savepoint list`.

use serde::Serialize;
use weir_checkpoint::layout;
use weir_checkpoint::savepoint::{Found, Savepoint, list_savepoints};
use weir_protocol::units::format_size;

use super::{folder, time};
use crate::cli::storage::{Place, failed};
use crate::cli::table::table;
use crate::cli::{Exit, Output, print, print_json};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    job: String,
    storage: String,
    savepoints: Vec<Row>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    id: String,
    place: String,
    checkpoint: Option<u64>,
    checkpoint_time: Option<String>,
    time: Option<String>,
    objects: Option<u64>,
    bytes: Option<u64>,
    problem: Option<String>,
}

pub(super) async fn list(place: &Place, output: Output) -> Exit {
    let (uid, store) = match folder(place).await {
        Ok(job) => job,
        Err(exit) => return exit,
    };
    let found = match list_savepoints(&store, layout::SAVEPOINTS).await {
        Ok(found) => found,
        Err(error) => return failed(&error),
    };
    let row = |found: &Found| Row::new(store.url(), found);
    let answer = Answer {
        job: uid.to_string(),
        storage: store.url().to_owned(),
        savepoints: found.iter().map(row).collect(),
    };
    match output {
        Output::Json => print_json(&answer),
        Output::Text => {
            print(&answer.text());
            Exit::Done
        }
    }
}

impl Row {
    fn new(storage: &str, found: &Found) -> Self {
        let whole: Option<&Savepoint> = match found {
            Found::Whole(savepoint) => Some(savepoint),
            Found::Unfinished { .. } | Found::Unreadable { .. } => None,
        };
        Self {
            id: found.id().to_owned(),
            place: format!("{storage}/{}", layout::savepoint(found.id())),
            checkpoint: whole.map(|s| s.checkpoint.0),
            checkpoint_time: whole.map(|s| time(s.completed_us)),
            time: whole.map(|s| time(s.copied_us)),
            objects: whole.map(|s| s.objects),
            bytes: whole.map(|s| s.bytes),
            problem: found.problem(),
        }
    }
}

impl Answer {
    fn text(&self) -> String {
        if self.savepoints.is_empty() {
            return format!("job {} in {} has no savepoints\n", self.job, self.storage);
        }
        let unknown = || "?".to_owned();
        let cells = |row: &Row| {
            vec![
                row.id.clone(),
                row.time.clone().unwrap_or_else(unknown),
                row.checkpoint.map_or_else(unknown, |id| id.to_string()),
                row.bytes.map_or_else(unknown, format_size),
                row.problem.clone().unwrap_or_else(|| row.place.clone()),
            ]
        };
        let rows: Vec<Vec<String>> = self.savepoints.iter().map(cells).collect();
        table(&["id", "made", "checkpoint", "size", "place"], &rows)
    }
}
