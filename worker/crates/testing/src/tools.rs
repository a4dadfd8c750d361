//! Programs that tests run and that no crate brings: built once by `go install`, kept outside the clone.

use std::fs::{self, OpenOptions};
use std::path::PathBuf;
use std::process::Command;

/// A Go program.
pub(crate) struct GoTool {
    /// The name of its binary.
    pub(crate) name: &'static str,
    /// What `go install` takes.
    pub(crate) package: &'static str,
    /// The version, part of the folder's name.
    pub(crate) version: &'static str,
}

/// Where tools are kept: `WEIR_TOOLS`, or `~/.cache/weir/tools`.
fn folder() -> PathBuf {
    if let Some(folder) = std::env::var_os("WEIR_TOOLS") {
        return PathBuf::from(folder);
    }
    let home = std::env::var_os("HOME").expect("HOME or WEIR_TOOLS says where tools are kept");
    PathBuf::from(home).join(".cache/weir/tools")
}

impl GoTool {
    /// The binary; builds it first if it is not there (once, whoever else is asking).
    pub(crate) fn path(&self) -> PathBuf {
        let folder = folder().join(format!("{}-{}", self.name, self.version));
        let binary = folder.join(self.name);
        if binary.exists() {
            return binary;
        }
        fs::create_dir_all(&folder).expect("the folder of tools can be made");
        let lock = OpenOptions::new().write(true).create(true).truncate(false).open(folder.join(".lock"));
        let lock = lock.expect("the folder of tools can be written");
        lock.lock().expect("the folder of tools can be locked");
        if !binary.exists() {
            self.build(&folder);
        }
        binary
    }

    fn build(&self, folder: &std::path::Path) {
        let what = format!("{}@{}", self.package, self.version);
        // Built beside and renamed, so that a build that was killed leaves no half binary.
        let beside = folder.join(".build");
        let done = Command::new("go")
            .args(["install", "-ldflags=-s -w", &what])
            .env("GOBIN", &beside)
            .env("GOFLAGS", "-mod=mod")
            .current_dir(folder)
            .output();
        let done = done.unwrap_or_else(|e| {
            panic!(
                "these tests need {} and build it with Go 1.24 or newer; `go` can't be run: {e}",
                self.name
            )
        });
        assert!(done.status.success(), "go install {what}: {}", String::from_utf8_lossy(&done.stderr));
        fs::rename(beside.join(self.name), folder.join(self.name)).expect("the built binary can be moved");
    }
}
