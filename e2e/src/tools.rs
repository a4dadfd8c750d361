//! Programs that stories run, and where they are.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate is in a folder of the repository")
        .to_owned()
}

/// The program that this variable names; else the one of this name in `PATH`.
pub(crate) fn program(variable: &str, name: &str) -> Command {
    Command::new(std::env::var_os(variable).unwrap_or_else(|| name.into()))
}

/// `weir` itself, for what is computed outside the cluster: in the folder `WEIR_E2E_PROGRAMS`, else in `PATH`.
pub(crate) fn weir() -> Command {
    match std::env::var_os("WEIR_E2E_PROGRAMS") {
        Some(folder) => Command::new(PathBuf::from(folder).join("weir")),
        None => Command::new("weir"),
    }
}

/// Runs it to its end. The error is what it said.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let Output { status, stdout, stderr } =
        command.output().map_err(|e| format!("{} can't be run: {e}", command.get_program().display()))?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    let arguments: Vec<_> = command.get_args().map(|a| a.to_string_lossy()).collect();
    let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    Err(format!("{} {}: {status}: {said}", command.get_program().display(), arguments.join(" ")))
}
