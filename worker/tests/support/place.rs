//! One job in a folder of its own, and processes that run it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use weir_checkpoint::{JournalView, Restore, Store, View};
use weir_protocol::{JobUid, StorageConfig};
use weir_testing::S3Server;

use super::{LONG, until};

/// Exit codes of `weir run` that tests expect.
pub(crate) const DONE: i32 = 0;
pub(crate) const FENCED: i32 = 4;
pub(crate) const TERMINATED: i32 = 143;

/// A file that a job reads: its path below the folder of inputs, and its content.
pub(crate) type Input = (String, Vec<u8>);

/// A job with its manifest, inputs, outputs and state.
pub(crate) struct Place {
    folder: TempDir,
    name: String,
    /// Environment of its processes, for credentials.
    pub(crate) environment: Vec<(String, String)>,
    /// `--set` of every run.
    pub(crate) set: Vec<String>,
}

impl Place {
    /// In the SQL `{in}` and `{out}` stand for the folders of inputs and outputs.
    pub(crate) fn new(name: &str, sql: &str, inputs: &[Input]) -> Self {
        let folder = tempfile::Builder::new().prefix("weir-").tempdir().expect("a folder");
        let place = Self { folder, name: name.to_owned(), environment: Vec::new(), set: Vec::new() };
        for (path, content) in inputs {
            let path = place.path("in").join(path);
            fs::create_dir_all(path.parent().expect("below the folder of inputs"))
                .expect("a folder of inputs");
            fs::write(path, content).expect("an input");
        }
        let folders = [("{in}", place.path("in")), ("{out}", place.path("out"))];
        let sql = folders
            .iter()
            .fold(sql.to_owned(), |sql, (key, path)| sql.replace(key, &path.display().to_string()));
        let lines: String = sql.lines().map(|line| format!("    {line}\n")).collect();
        let manifest = format!(
            "apiVersion: weir.dev/v1alpha1\nkind: StreamJob\nmetadata:\n  name: {name}\nspec:\n  parallelism: 2\n  \
             restart:\n    strategy: None\n  checkpoint:\n    storage: file://{}\n    interval: 50ms\n  sql: |\n{lines}",
            place.path("state").display(),
        );
        fs::write(place.path("job.yaml"), manifest).expect("the manifest");
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The folder of a table's files.
    pub(crate) fn out(&self, table: &str) -> PathBuf {
        self.path("out").join(table)
    }

    /// The job's folder in its file storage.
    pub(crate) fn state(&self) -> PathBuf {
        self.path("state").join(&self.name)
    }

    /// Keeps state below a folder of this server's bucket instead of the storage of the manifest.
    pub(crate) fn store_in(&mut self, server: &S3Server, folder: &str) {
        let storage = server.storage(folder);
        let set =
            [("storage", storage.url), ("endpoint", server.endpoint()), ("region", "us-east-1".to_owned())];
        self.set.extend(set.map(|(key, value)| format!("checkpoint.{key}={value}")));
        self.set.push("checkpoint.pathStyle=true".to_owned());
        self.environment =
            server.environment().map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
    }

    /// `weir` with these arguments, in this place.
    pub(crate) fn weir(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null());
        command.envs(self.environment.iter().cloned());
        command
    }

    /// Starts `weir run`.
    pub(crate) fn start(&self, set: &[&str]) -> Running {
        let mut command = self.weir(&["run", "job.yaml", "--listen", "off", "--progress", "plain"]);
        for set in self.set.iter().map(String::as_str).chain(set.iter().copied()) {
            command.args(["--set", set]);
        }
        self.launch(command)
    }

    /// Starts a process of this place; what it says goes into a file.
    pub(crate) fn launch(&self, mut command: Command) -> Running {
        let log = tempfile::Builder::new().prefix("log-").tempfile_in(self.folder.path()).expect("a log");
        let (file, log) = log.keep().expect("a log that stays");
        let twin = file.try_clone().expect("a second handle of the log");
        let child = command.stdout(file).stderr(twin).spawn().expect("the binary runs");
        Running { child, log }
    }

    /// The name of the job, which is its uid.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Runs the job to its end.
    pub(crate) fn finish(&self, set: &[&str]) {
        let mut run = self.start(set);
        let code = run.wait(LONG);
        assert_eq!(code, DONE, "{}: {}", self.name, run.log());
    }

    /// Number of the newest record in the file storage's journal; 0 if there is none.
    pub(crate) fn newest_slot(&self) -> u64 {
        let Ok(entries) = fs::read_dir(self.state().join("journal")) else { return 0 };
        let number = |e: fs::DirEntry| e.file_name().to_str()?.strip_suffix(".rec")?.parse().ok();
        entries.filter_map(Result::ok).filter_map(number).max().unwrap_or(0)
    }

    /// Starts the job and stops it by SIGTERM when its journal has so many records behind its
    /// claim. False if the job came to its end before that.
    pub(crate) fn stop_after(&self, records: u64, set: &[&str]) -> bool {
        let begin = self.newest_slot();
        let mut run = self.start(set);
        let enough = until(LONG, || run.exited().is_some() || self.newest_slot() > begin + records);
        assert!(enough, "{}: no {records} records: {}", self.name, run.log());
        run.signal("TERM");
        match run.wait(LONG) {
            DONE => false,
            TERMINATED => {
                let complete = !run.log().contains("was not completed");
                // Stopped right behind its claim it may not have run yet.
                assert!(complete || records == 0, "{}: {}", self.name, run.log());
                complete
            }
            other => panic!("{}: SIGTERM ended it with {other}: {}", self.name, run.log()),
        }
    }

    /// The journal in the file storage.
    pub(crate) fn journal(&self) -> View {
        let storage = StorageConfig {
            url: format!("file://{}", self.path("state").display()),
            endpoint: None,
            region: None,
            path_style: false,
        };
        let uid = JobUid::new(self.name.clone()).expect("the name of the job");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let store = weir_checkpoint::open(&storage, &uid).await.expect("the storage");
            view(store).await
        })
    }
}

/// The journal of a job's folder.
pub(crate) async fn view(store: Arc<dyn Store>) -> View {
    JournalView::read(store.as_ref()).await.expect("a journal that can be read").view
}

/// Whether the newest attempt went on from a checkpoint.
pub(crate) fn restored(view: &View) -> bool {
    matches!(view.restore(), Some(Restore::Captured { .. })) && view.attempt().0 > 1
}

/// A process that runs a job. Dropping it ends it.
pub(crate) struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal. The process was not waited for, so its number is its own.
    pub(crate) fn signal(&mut self, signal: &str) {
        if self.exited().is_none() {
            // The shell's own `kill`, which is everywhere; a crate for it would change features of
            // libc, and with that all that is built.
            let kill = format!("kill -{signal} {}", self.child.id());
            let done = Command::new("sh").args(["-c", &kill]).status().expect("sh runs");
            assert!(done.success(), "{kill}");
        }
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    /// The exit code, if it ended; 128 and the signal if that ended it.
    pub(crate) fn exited(&mut self) -> Option<i32> {
        use std::os::unix::process::ExitStatusExt;
        let status = self.child.try_wait().expect("the child can be asked")?;
        Some(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
    }

    /// The exit code, if it ends in time.
    pub(crate) fn exits_within(&mut self, limit: Duration) -> Option<i32> {
        let mut code = None;
        until(limit, || {
            code = self.exited();
            code.is_some()
        });
        code
    }

    /// The exit code.
    pub(crate) fn wait(&mut self, limit: Duration) -> i32 {
        match self.exits_within(limit) {
            Some(code) => code,
            None => panic!("no end within {limit:?}: {}", self.log()),
        }
    }

    /// What it said, the end of it.
    pub(crate) fn log(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&text[text.len().saturating_sub(4000)..]).into_owned()
    }

    /// How much it has said so far.
    pub(crate) fn log_bytes(&self) -> u64 {
        fs::metadata(&self.log).map_or(0, |file| file.len())
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// Copies a folder with all that is below it.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder").map(|e| e.expect("an entry")) {
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}
