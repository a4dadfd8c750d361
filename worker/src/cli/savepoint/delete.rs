//! `weir savepoint delete`.

use weir_checkpoint::savepoint::SavepointFolder;

use super::said;
use crate::cli::storage::deleted;
use crate::cli::{Exit, Output};

pub(super) async fn delete(folder: SavepointFolder, output: Output) -> Exit {
    match folder.delete().await {
        Ok(objects) => deleted(folder.url(), objects, output),
        Err(error) => said(&error),
    }
}
