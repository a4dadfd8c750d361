//! Arguments that several commands share: which manifest is meant, and what is set over it.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;

use super::{Exit, logging, print_error};
use crate::manifest::{self, Checked, Finding, Outcome, Renderer};

/// The folder of jobs that name no storage, below the current one.
const LOCAL_FOLDER: &str = ".weir";

/// A manifest and what is set over it.
#[derive(Debug, Clone, Args)]
pub(crate) struct ManifestArgs {
    /// The manifest: a YAML file with a StreamJob; "-" reads standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Sets a field over what the manifest says; "spec." may be left out. May be given again
    #[arg(long, value_name = "PATH=VALUE")]
    pub(crate) set: Vec<String>,
    /// The job that is meant, if the file holds several
    #[arg(long, value_name = "NAME")]
    pub(crate) job: Option<String>,
}

/// A manifest that was read, with the name to show.
pub(crate) struct Manifest {
    pub(crate) name: String,
    pub(crate) text: String,
}

impl ManifestArgs {
    /// Reads the file.
    ///
    /// # Errors
    /// What was shown: a file that can't be read, is too large or is not text.
    pub(crate) fn read(&self) -> Result<Manifest, Exit> {
        let name = if self.is_stdin() { "<stdin>".to_owned() } else { self.file.display().to_string() };
        let failed = |exit: Exit, what: String| {
            print_error(&format!("error: {name}: {what}\n"));
            exit
        };
        let limit = manifest::MAX_BYTES as u64 + 1;
        let mut bytes = Vec::new();
        let read = if self.is_stdin() {
            std::io::stdin().lock().take(limit).read_to_end(&mut bytes)
        } else {
            std::fs::File::open(&self.file).and_then(|file| file.take(limit).read_to_end(&mut bytes))
        };
        read.map_err(|error| failed(Exit::File, format!("the manifest can't be read: {error}")))?;
        if bytes.len() > manifest::MAX_BYTES {
            return Err(failed(Exit::Invalid, "the manifest is larger than 1Mi".to_owned()));
        }
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Manifest { name, text }),
            Err(error) => {
                let at = error.utf8_error().valid_up_to();
                Err(failed(Exit::Invalid, format!("the manifest is not UTF-8 text (byte {at})")))
            }
        }
    }

    fn is_stdin(&self) -> bool {
        self.file == Path::new("-")
    }

    /// Reads and checks the manifest as for a run on this machine.
    ///
    /// # Errors
    /// What was shown.
    pub(crate) fn check(&self) -> Result<(Manifest, Outcome), Exit> {
        let manifest = self.read()?;
        let outcome = manifest::check(
            &manifest.text,
            &manifest::Options {
                job: self.job.clone(),
                overrides: self.set.clone(),
                storage: Some(local_storage()?),
                container_memory: container_memory(),
            },
        );
        Ok((manifest, outcome))
    }

    /// The checked job; problems are shown, warnings too.
    ///
    /// # Errors
    /// What was shown.
    pub(crate) fn checked(&self) -> Result<Checked, Exit> {
        let (manifest, outcome) = self.check()?;
        show(&manifest, &outcome.findings);
        outcome.checked.ok_or(Exit::Invalid)
    }
}

/// Shows findings on standard error.
pub(crate) fn show(manifest: &Manifest, findings: &[Finding]) {
    let colours = logging::colours(&std::io::stderr());
    print_error(&Renderer::new(&manifest.name, &manifest.text, colours).all(findings));
}

/// Where a job goes that names no storage: the folder `.weir` under the current one. The folder of
/// each job below it bears the job's name.
fn local_storage() -> Result<String, Exit> {
    let folder = std::env::current_dir().map(|dir| dir.join(LOCAL_FOLDER));
    match folder {
        Ok(folder) => Ok(format!("file://{}", folder.display())),
        Err(error) => {
            print_error(&format!("error: the current folder can't be read: {error}\n"));
            Err(Exit::File)
        }
    }
}

/// The memory limit of the container that this process is in, in bytes.
fn container_memory() -> Option<u64> {
    ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .iter()
        .find_map(|path| std::fs::read_to_string(path).ok())
        .and_then(|text| text.trim().parse::<u64>().ok())
        // Version 1 says "no limit" by a number near the largest.
        .filter(|bytes| *bytes < 1 << 60)
}
