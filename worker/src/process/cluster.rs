//! `weir run --workers N`: a small cluster on this machine. The coordinator is in this process; each worker is
//! a process of its own, over loopback, with certificates that are made for this run.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use weir_coordinator::StopRequest;
use weir_dataflow::Job;
use weir_protocol::{JobConfig, JobUid};
use weir_runtime::tls::{CertificateOptions, Tls, TlsFiles, Transport, create_certificates};
use weir_runtime::{Clock, SystemClock};

use super::coordinator::Control;
use super::{Coordination, Ended, RunError, Signals, block_on};
use crate::run::RunOptions;
use crate::run::progress::{self, ProgressMode};

/// For how long the certificates of a run are good.
const VALID: Duration = Duration::from_secs(365 * 86_400);
/// How long a worker has to end by itself when the job is over, and again when it was told to.
const FAREWELL: Duration = Duration::from_secs(5);
/// The first pause before a worker that died is started again, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// A worker that lived for this long is started again after the first pause.
const STEADY: Duration = Duration::from_secs(30);

/// What a cluster consists of.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// How many workers.
    pub workers: u32,
    /// Slots of each.
    pub slots: u32,
    /// The program `weir`.
    pub program: PathBuf,
    /// Arguments that every worker gets besides its own.
    pub arguments: Vec<String>,
}

/// Runs a job on workers in processes of their own until it ends or is asked to stop.
///
/// # Errors
/// [`RunError`]: the job did not start.
pub fn run_cluster(
    config: &JobConfig,
    job: &Job,
    options: &RunOptions,
    cluster: &ClusterOptions,
) -> Result<Ended, RunError> {
    block_on(async {
        let signals = Signals::take();
        let folder = tempfile::Builder::new().prefix("weir-run-").tempdir().map_err(|error| {
            RunError::File { what: "a folder for the certificates of this run".to_owned(), error }
        })?;
        let (files, own) = certificates(folder.path(), config, cluster.workers)?;
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut control = Control::open(config, loopback, Transport::Tls(own)).await?;
        let coordination =
            Coordination::open(config, job.graph.clone(), options.listen, options.progress).await?;

        let mut workers = JoinSet::new();
        for (number, files) in (1..).zip(files) {
            let command = Arc::new(WorkerCommand {
                number,
                program: cluster.program.clone(),
                arguments: arguments(cluster, &config.uid, control.address(), &files),
            });
            workers.spawn(supervise(command, options.progress, control.over()));
        }

        let (stop, stops) = mpsc::channel(1);
        let mut asked = signals.clone();
        tokio::spawn(async move {
            asked.first().await;
            let _ = stop.send(StopRequest::Graceful).await;
        });
        let ended = control.coordinate(&coordination, options.start.clone(), stops).await;
        // Also if it did not come as far as that.
        control.end();
        while workers.join_next().await.is_some() {}
        let (exit, served) = ended?;
        drop(served);
        Ok(Ended { exit, signal: signals.seen() })
    })
}

/// Certificates for the coordinator, which is this process, and for each worker.
fn certificates(folder: &Path, config: &JobConfig, workers: u32) -> Result<(Vec<TlsFiles>, Tls), RunError> {
    let failed = |error| RunError::File { what: "the certificates of this run".to_owned(), error };
    let names: Vec<String> = (1..=workers).map(|n| format!("worker-{n}")).collect();
    let processes: Vec<&str> =
        std::iter::once("coordinator").chain(names.iter().map(String::as_str)).collect();
    let job = config.uid.as_str();
    let now = SystemClock::default().now();
    let wanted = CertificateOptions { job, processes: &processes, now, valid: VALID, keep_ca_key: false };
    let mut files = create_certificates(folder, &wanted).map_err(failed)?;
    let own = Tls::load(files.remove(0), job).map_err(failed)?;
    Ok((files, own))
}

fn arguments(
    cluster: &ClusterOptions,
    job: &JobUid,
    coordinator: SocketAddr,
    files: &TlsFiles,
) -> Vec<String> {
    let path = |path: &Path| path.display().to_string();
    let own = [
        ("--coordinator", coordinator.to_string()),
        ("--slots", cluster.slots.to_string()),
        ("--listen", "127.0.0.1:0".to_owned()),
        ("--uid", job.to_string()),
        ("--tls-ca", path(&files.ca)),
        ("--tls-cert", path(&files.certificate)),
        ("--tls-key", path(&files.key)),
    ];
    let own = own.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]);
    let mut all = vec!["worker".to_owned(), "--ends-with-input".to_owned()];
    all.extend(own);
    all.extend(cluster.arguments.iter().cloned());
    all
}

/// How a worker is started.
struct WorkerCommand {
    number: u32,
    program: PathBuf,
    arguments: Vec<String>,
}

impl WorkerCommand {
    /// Starts the process. It ends with this one, whose end closes its standard input.
    fn start(&self) -> std::io::Result<Child> {
        Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::piped())
            // Ctrl-C is for this process, which tells the job.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }
}

/// Keeps one worker alive until the job is over.
async fn supervise(command: Arc<WorkerCommand>, progress: ProgressMode, mut over: watch::Receiver<bool>) {
    let number = command.number;
    let mut backoff = Backoff::default();
    loop {
        let begun = Instant::now();
        let how = match command.start() {
            Ok(mut child) => {
                let process = child.id().unwrap_or_default();
                progress::note(progress, &format!("worker {number} is process {process}"));
                // Waiting would close it.
                let alive = child.stdin.take();
                let status = tokio::select! {
                    status = child.wait() => status,
                    () = told(&mut over) => return end(child, alive, number).await,
                };
                format!("process {process}, {}", describe(status))
            }
            Err(error) => format!("can't be started: {error}"),
        };
        let pause = backoff.pause(begun.elapsed());
        if *over.borrow() {
            return;
        }
        progress::note(
            progress,
            &format!("worker {number} has ended ({how}); another takes its place in {pause:?}"),
        );
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = told(&mut over) => return,
        }
    }
}

/// The job is over. Usually the coordinator has told the worker that it may end; if another coordinator has taken
/// over, the end of its standard input does.
async fn end(mut child: Child, alive: Option<ChildStdin>, number: u32) {
    if tokio::time::timeout(FAREWELL, child.wait()).await.is_ok() {
        return;
    }
    drop(alive);
    if tokio::time::timeout(FAREWELL, child.wait()).await.is_err() {
        tracing::warn!(worker = number, "the worker does not end and is killed");
        let _ = child.kill().await;
    }
}

async fn told(over: &mut watch::Receiver<bool>) {
    // The sender lives as long as the run.
    let _ = over.wait_for(|over| *over).await;
}

fn describe(status: std::io::Result<ExitStatus>) -> String {
    match status {
        // By the coordinator: somebody asked this one worker to end, and what ran there has moved.
        Ok(status) if status.success() => "released".to_owned(),
        Ok(status) => status.to_string(),
        Err(error) => format!("nobody knows how: {error}"),
    }
}

/// Pauses between starts: doubled each time, short again after a steady life.
#[derive(Debug, Default)]
struct Backoff(Option<Duration>);

impl Backoff {
    fn pause(&mut self, lived: Duration) -> Duration {
        let pause = match self.0 {
            Some(last) if lived < STEADY => (last * 2).min(PAUSES.1),
            _ => PAUSES.0,
        };
        self.0 = Some(pause);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_dies_again_and_again_is_started_ever_more_slowly() {
        let mut backoff = Backoff::default();
        let pauses: Vec<u128> = (0..9).map(|_| backoff.pause(Duration::ZERO).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert_eq!(backoff.pause(STEADY), PAUSES.0);
        assert_eq!(backoff.pause(Duration::ZERO), PAUSES.0 * 2);
    }
}
