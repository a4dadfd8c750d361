//! `weir savepoint delete`.

use weir_checkpoint::savepoint::SavepointFolder;

use super::said;
use crate::cli::{Exit, Output, print, print_json};

pub(super) async fn delete(folder: SavepointFolder, output: Output) -> Exit {
    let deleted = match folder.delete().await {
        Ok(deleted) => deleted,
        Err(error) => return said(&error),
    };
    let place = folder.url();
    match (output, deleted) {
        (Output::Json, _) => print_json(&serde_json::json!({"place": place, "deletedObjects": deleted})),
        (Output::Text, 0) => {
            print(&format!("{place}: there was nothing to delete\n"));
            Exit::Done
        }
        (Output::Text, deleted) => {
            print(&format!("{place}: deleted, {deleted} objects\n"));
            Exit::Done
        }
    }
}
