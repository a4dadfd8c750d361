//! `weir savepoint inspect`.

use weir_checkpoint::Manifest;
use weir_checkpoint::savepoint::{Savepoint, SavepointFolder};
use weir_protocol::units::format_size;

use super::{said, time};
use crate::cli::table::table;
use crate::cli::{Exit, Output, print, print_json};

pub(super) async fn inspect(folder: SavepointFolder, output: Output) -> Exit {
    let (savepoint, manifest) = match folder.manifest().await {
        Ok(found) => found,
        Err(error) => return said(&error),
    };
    match output {
        Output::Json => print_json(&serde_json::json!({
            "place": folder.url(), "savepoint": savepoint, "manifest": manifest,
        })),
        Output::Text => {
            print(&text(folder.url(), &savepoint, &manifest));
            Exit::Done
        }
    }
}

fn text(place: &str, savepoint: &Savepoint, manifest: &Manifest) -> String {
    let prepared: usize = manifest.parts.iter().flat_map(|p| &p.sinks).map(|s| s.handles.len()).sum();
    let mut out = format!(
        "savepoint {} of job {}, in {place}\n\
         a copy of checkpoint {} (attempt {}), completed {}; copied {}\n\
         {} objects, {}; {} key groups; manifest {}\n",
        savepoint.id,
        savepoint.job,
        savepoint.checkpoint,
        savepoint.attempt,
        time(savepoint.completed_us),
        time(savepoint.copied_us),
        savepoint.objects,
        format_size(savepoint.bytes),
        manifest.max_parallelism,
        savepoint.manifest.key,
    );
    if prepared > 0 {
        out.push_str(&format!(
            "its sinks had prepared {prepared} commits, which are the job's own: who starts from it does not repeat them\n"
        ));
    }
    let rows = manifest.graph.vertices.iter().map(|vertex| {
        let parts = manifest.parts.iter().filter(|part| part.subtask.vertex == vertex.id);
        let transforms: Vec<&str> = vertex.transforms.iter().map(|t| t.name.as_str()).collect();
        vec![
            vertex.name.clone(),
            vertex.parallelism.to_string(),
            format_size(parts.map(|part| part.full_bytes).sum()),
            transforms.join(" → "),
        ]
    });
    let rows: Vec<Vec<String>> = rows.collect();
    out.push_str(&format!("\n{}", table(&["vertex", "parallelism", "to restore", "transforms"], &rows)));
    out
}
