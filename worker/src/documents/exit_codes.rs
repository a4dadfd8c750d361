//! `docs/exit-codes.md`.

use super::{check_part, table};
use crate::cli::Exit;

#[test]
fn the_list_of_exit_codes_is_the_codes() {
    let rows = Exit::ALL
        .map(|(exit, name, meaning)| [(exit as u8).to_string(), name.to_owned(), meaning.to_owned()]);
    check_part("docs/exit-codes.md", "exit codes", &table(["code", "name", "meaning"], rows));
}
