//! `weir checkpoints gc --dry-run`: what would go, and why.

use std::collections::BTreeSet;

use weir_checkpoint::gc::{Plan, Retention, Survey, plan};
use weir_protocol::units::format_size;
use weir_runtime::{Clock, SystemClock};

use super::Opened;
use crate::cli::storage::failed;
use crate::cli::table::table;
use crate::cli::{Exit, Output, print, print_json};

pub(super) async fn dry_run(opened: &Opened, retention: Retention, output: Output) -> Exit {
    let inventory = match Survey::default().take(opened.store.as_ref(), &opened.view).await {
        Ok(inventory) => inventory,
        Err(error) => return failed(&error),
    };
    let now = SystemClock::default().now();
    // What a running job is about to write is not known here; the job's own attempt is never touched.
    let plan = plan(&opened.view, &inventory, retention, &BTreeSet::new(), now.0);
    match output {
        Output::Json => print_json(&json(&plan)),
        Output::Text => {
            print(&text(&plan));
            Exit::Done
        }
    }
}

fn json(plan: &Plan) -> serde_json::Value {
    let deletions = |list: &[weir_checkpoint::gc::Deletion]| {
        list.iter()
            .map(|d| serde_json::json!({"key": d.key, "bytes": d.size, "reason": d.reason}))
            .collect::<Vec<_>>()
    };
    serde_json::json!({
        "records": plan.append.iter().map(|p| serde_json::json!({"body": p.body, "reason": p.reason})).collect::<Vec<_>>(),
        "manifests": deletions(&plan.manifests),
        "data": deletions(&plan.data),
        "uploads": plan.uploads.iter().map(|(u, why)| serde_json::json!({"key": u.key, "id": u.id, "reason": why})).collect::<Vec<_>>(),
        "boundary": plan.boundary.map(|b| b.0),
        "slots": plan.slots.iter().map(|s| s.0).collect::<Vec<_>>(),
        "bytes": plan.bytes(),
        "blocked": plan.blocked,
    })
}

fn text(plan: &Plan) -> String {
    if plan.is_empty() && plan.blocked.is_none() {
        return "nothing would be deleted\n".to_owned();
    }
    let mut out = String::new();
    for proposed in &plan.append {
        out.push_str(&format!("would record: {}\n", proposed.reason));
    }
    let rows: Vec<Vec<String>> = plan
        .manifests
        .iter()
        .chain(&plan.data)
        .map(|d| vec![d.key.clone(), format_size(d.size), d.reason.clone()])
        .chain(
            plan.uploads
                .iter()
                .map(|(u, why)| vec![format!("{} (upload)", u.key), "?".to_owned(), why.clone()]),
        )
        .collect();
    if !rows.is_empty() {
        out.push_str(&format!(
            "would delete {}:\n\n{}",
            format_size(plan.bytes()),
            table(&["object", "size", "why"], &rows)
        ));
    }
    if let Some(boundary) = plan.boundary {
        out.push_str(&format!("the journal would begin after slot {}\n", boundary.0));
    }
    if !plan.slots.is_empty() {
        out.push_str(&format!("would delete {} records of the journal\n", plan.slots.len()));
    }
    if let Some(why) = &plan.blocked {
        out.push_str(&format!("files are left alone: {why}\n"));
    }
    out
}
