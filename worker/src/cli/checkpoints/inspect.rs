//! `weir checkpoints inspect`.

use weir_checkpoint::manifest::read_manifest;
use weir_checkpoint::{Completed, Manifest, Part};
use weir_protocol::units::{format_duration, format_size};

use super::list::reason;
use super::{Opened, time};
use crate::cli::table::table;
use crate::cli::{Exit, Output, print, print_error, print_json};

pub(super) async fn inspect(opened: &Opened, id: Option<u64>, output: Output) -> Exit {
    let checkpoint = match opened.one(id) {
        Ok(checkpoint) => checkpoint,
        Err(exit) => return exit,
    };
    match read_manifest(opened.store.as_ref(), &checkpoint.manifest).await {
        Ok(manifest) => match output {
            Output::Json => print_json(&manifest),
            Output::Text => {
                print(&text(&checkpoint, &manifest));
                Exit::Done
            }
        },
        Err(problem) => {
            print_error(&format!("error: checkpoint {}: {problem}\n", checkpoint.id));
            Exit::State
        }
    }
}

fn text(checkpoint: &Completed, manifest: &Manifest) -> String {
    let size: u64 = manifest.objects.iter().map(|o| o.size).sum();
    let took = std::time::Duration::from_micros(checkpoint.at_us.saturating_sub(manifest.triggered_us));
    let mut out = format!(
        "checkpoint {} of job {}: completed {} after {} ({}), attempt {}, execution {}\n\
         {} objects, {}; {} key groups; manifest {}\n\n",
        checkpoint.id,
        manifest.job,
        time(checkpoint.at_us),
        format_duration(took),
        reason(checkpoint.reason),
        manifest.attempt,
        manifest.execution,
        manifest.objects.len(),
        format_size(size),
        manifest.max_parallelism,
        checkpoint.manifest.key,
    );
    let rows: Vec<Vec<String>> = manifest.parts.iter().map(|part| row(manifest, part)).collect();
    let headings =
        ["vertex", "subtask", "splits", "tables", "sink handles", "new", "to restore", "align", "upload"];
    out.push_str(&table(&headings, &rows));
    out
}

fn row(manifest: &Manifest, part: &Part) -> Vec<String> {
    let name = manifest.graph.vertex(part.subtask.vertex).map_or("?", |v| v.name.as_str());
    let lists = part.state.iter().flat_map(|s| &s.lists);
    let splits: usize = lists.filter(|(name, _)| name == "splits").map(|(_, list)| list.len()).sum();
    let tables: Vec<&str> = part.state.iter().flat_map(|s| &s.tables).map(|t| t.info.name.as_str()).collect();
    let handles: usize = part.sinks.iter().map(|s| s.handles.len()).sum();
    let micros = |us: u64| format_duration(std::time::Duration::from_micros(us));
    vec![
        name.to_owned(),
        part.subtask.to_string(),
        splits.to_string(),
        if tables.is_empty() { "-".to_owned() } else { tables.join(", ") },
        handles.to_string(),
        format_size(part.new_bytes),
        format_size(part.full_bytes),
        micros(part.times.align_us),
        micros(part.times.upload_us),
    ]
}
