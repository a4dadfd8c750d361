//! `weir checkpoints delete`.

use weir_checkpoint::erase_job;

use super::folder;
use crate::cli::storage::{Place, deleted, failed};
use crate::cli::{Exit, Output};

pub(super) async fn delete(place: &Place, output: Output) -> Exit {
    let store = match folder(place).await {
        Ok((_, store)) => store,
        Err(exit) => return exit,
    };
    match erase_job(store.as_ref()).await {
        Ok(objects) => deleted(store.url(), objects, output),
        Err(error) => failed(&error),
    }
}
