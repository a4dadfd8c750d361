//! `weir worker`: a process that offers slots to the coordinator of a job. It gets the job from there, plans it
//! itself, and outlives coordinators.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::stream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use weir_control::{ClientEnd, ClientOptions, Heartbeat, Incoming, Limits, LinkState, Outgoing, run_client};
use weir_dataflow::{Exchange, Scratch, WorkerEnd, WorkerInput, WorkerOptions, WorkerOutput};
use weir_protocol::{JobConfig, JobUid, Registration, RunningExecution, WorkerId};
use weir_runtime::tls::Transport;
use weir_runtime::{LogIds, Random, SystemClock, SystemRandom};

use super::port::Port;
use super::served::{self, Known};
use super::{Announced, RunError, Signal, Signals, block_on, planner};

/// For the last words over the connection.
const FAREWELL: Duration = Duration::from_secs(2);

/// What a worker's process is started with.
#[derive(Debug, Clone)]
pub struct WorkerProcess {
    /// Where a coordinator may be, each `host:port`; at least one.
    pub coordinators: Vec<String>,
    /// The job, if this process may belong to one only.
    pub job: Option<JobUid>,
    /// How connections are made secret.
    pub transport: Transport,
    /// Slots to offer; at least 1.
    pub slots: u32,
    /// Where other workers connect.
    pub listen: SocketAddr,
    /// The host, or host and port, under which they find it; the address itself if absent.
    pub advertise: Option<String>,
    /// Where metrics are served; `None`: nowhere.
    pub http: Option<SocketAddr>,
    /// Where copies of state are kept on this machine.
    pub scratch: Option<Scratch>,
    /// How long subtasks may take to move when the process is asked to end.
    pub drain_timeout: Duration,
    /// How long the first coordinator may take to appear.
    pub patience: Duration,
    /// Whether the process ends as soon as its standard input does: it belongs to the process at the other end.
    pub ends_with_input: bool,
    /// A file to write the addresses into.
    pub announce: Option<PathBuf>,
}

/// How a worker's process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkerEnded {
    /// The coordinator needs it no more: the job is over, or its subtasks have moved.
    Released,
    /// There was no coordinator for too long; why the last try came to nothing.
    Alone(Option<String>),
    /// It was asked to end, and its subtasks had not moved in time. What they did since the last checkpoint is
    /// done again elsewhere.
    DrainedTooLong(Signal),
    /// The process that it belongs to is gone.
    Orphan,
}

/// Works for a job until released.
///
/// # Errors
/// [`RunError`]: it did not start.
pub fn run_worker(process: &WorkerProcess) -> Result<WorkerEnded, RunError> {
    block_on(async {
        let mut orphaned = Orphaned::watch(process.ends_with_input);
        let signals = Signals::take();
        let random: Arc<dyn Random> = Arc::new(SystemRandom);
        if let Some(job) = &process.job {
            LogIds::set_job("", job.as_str());
        }
        let mut port = Port::bind(process).await?;
        let known = Known::new(process.slots);
        let http = match process.http {
            Some(address) => Some(served::serve(address, known.clone()).await?),
            None => None,
        };
        if let Some(path) = &process.announce {
            let (process, exchange) = (std::process::id(), Some(port.address()));
            Announced { process, exchange, http, control: None }.write(path)?;
        }
        loop {
            let mut life = Life::begin(process, &port, random.clone(), known.clone());
            let over = tokio::select! {
                over = life.live(process, &mut port, signals.clone()) => over?,
                () = orphaned.gone() => Over::Ended(WorkerEnded::Orphan),
            };
            match over {
                Over::Ended(ended) => return Ok(ended),
                // Nothing of the work before is of use: the next life begins from nothing.
                Over::OtherWork => tracing::info!("the job has changed; this worker starts anew"),
            }
        }
    })
}

/// How one life of the process ended.
enum Over {
    Ended(WorkerEnded),
    OtherWork,
}

/// From the first look for a coordinator to the end, or to work that is another.
struct Life {
    client: JoinHandle<ClientEnd>,
    heard: mpsc::UnboundedReceiver<Incoming>,
    link: watch::Receiver<LinkState>,
    random: Arc<dyn Random>,
    known: Arc<Known>,
    /// Given to the worker when it starts; that it is dropped ends the client.
    output: Option<(mpsc::UnboundedSender<WorkerOutput>, watch::Sender<Option<RunningExecution>>)>,
}

impl Life {
    fn begin(process: &WorkerProcess, port: &Port, random: Arc<dyn Random>, known: Arc<Known>) -> Self {
        let (output, said) = mpsc::unbounded_channel();
        let (incoming, heard) = mpsc::unbounded_channel();
        let (running, runs) = watch::channel(None);
        let (state, link) = watch::channel(LinkState::Looking { because: None });
        let options = ClientOptions {
            coordinators: process.coordinators.clone(),
            transport: process.transport.clone(),
            job: port.job().or(process.job.as_ref()).cloned(),
            registration: registration(process, port, random.as_ref()),
            heartbeat: Heartbeat::default(),
            limits: Limits::default(),
            random: random.clone(),
        };
        let client = tokio::spawn(run_client(options, runs, outgoing(said), incoming, state));
        Self { client, heard, link, random, known, output: Some((output, running)) }
    }

    async fn live(
        &mut self,
        process: &WorkerProcess,
        port: &mut Port,
        mut signals: Signals,
    ) -> Result<Over, RunError> {
        let welcome = tokio::select! {
            welcome = self.welcome() => welcome,
            _ = signals.first() => None,
            () = tokio::time::sleep(process.patience) => {
                return Ok(Over::Ended(WorkerEnded::Alone(self.because())));
            }
        };
        let Some((worker, config)) = welcome else {
            // Nothing ever ran here.
            self.farewell().await;
            return Ok(Over::Ended(WorkerEnded::Released));
        };
        let Some((output, running)) = self.output.take() else { return Ok(Over::OtherWork) };
        let exchange = port.serve(&config);
        if let Some(exchange) = &exchange {
            self.known.job(&config, exchange);
        }
        let options = self.worker(process, &config, exchange).await?;
        let (input, told) = mpsc::unbounded_channel();
        let _ = input.send(WorkerInput::Connected { worker });
        let work = tokio::spawn(weir_dataflow::run_worker(options, told, output, running));
        self.serve(process, signals, input, work).await
    }

    /// What the coordinator says next.
    async fn hear(&mut self) -> Option<Incoming> {
        let heard = self.heard.recv().await?;
        match &heard {
            Incoming::Connected { worker, config } => {
                self.known.connected(true);
                LogIds::set_worker(worker.0);
                LogIds::set_job(&config.name, config.uid.as_str());
            }
            Incoming::Disconnected => self.known.connected(false),
            Incoming::Message(stamp, _) => LogIds::set_authority(stamp.attempt.0, stamp.execution.0),
            Incoming::Release { .. } => {}
        }
        Some(heard)
    }

    /// The first welcome; `None` if there is nothing to do here.
    async fn welcome(&mut self) -> Option<(WorkerId, Arc<JobConfig>)> {
        loop {
            match self.hear().await? {
                Incoming::Connected { worker, config } => return Some((worker, config)),
                Incoming::Release { reason } => {
                    tracing::info!("released: {reason}");
                    return None;
                }
                // Of a coordinator whose welcome was heard: there is none before it.
                Incoming::Message(..) | Incoming::Disconnected => {}
            }
        }
    }

    async fn worker(
        &self,
        process: &WorkerProcess,
        config: &Arc<JobConfig>,
        exchange: Option<Arc<Exchange>>,
    ) -> Result<WorkerOptions, RunError> {
        let store = weir_checkpoint::open(&config.checkpoint.storage, &config.uid).await?;
        Ok(WorkerOptions {
            plan: planner(config, None),
            config: config.clone(),
            store,
            clock: Arc::new(SystemClock::default()),
            random: self.random.clone(),
            scratch: process.scratch.clone(),
            coordinator_timeout: config.liveness.coordinator_timeout,
            exchange,
        })
    }

    /// Passes on what is heard, until the worker has ended.
    async fn serve(
        &mut self,
        process: &WorkerProcess,
        mut signals: Signals,
        input: mpsc::UnboundedSender<WorkerInput>,
        mut work: JoinHandle<WorkerEnd>,
    ) -> Result<Over, RunError> {
        let mut drain: Option<(Signal, Instant)> = None;
        let end = loop {
            tokio::select! {
                heard = self.hear() => match heard {
                    Some(heard) => {
                        // A worker that has ended hears nothing; `work` tells.
                        let _ = input.send(into_input(heard));
                    }
                    // The client ended first: what runs here is of no use any more.
                    None => {
                        drop(input);
                        break work.await;
                    }
                },
                end = &mut work => break end,
                signal = signals.first(), if drain.is_none() => {
                    tracing::info!("asked to end: waiting for the subtasks here to move, at most {:?}", process.drain_timeout);
                    drain = Some((signal, Instant::now() + process.drain_timeout));
                    let _ = input.send(WorkerInput::Drain);
                }
                signal = late(drain) => return Ok(Over::Ended(WorkerEnded::DrainedTooLong(signal))),
            }
        };
        let because = self.because();
        let client = self.farewell().await;
        Ok(match (end, client) {
            (_, Some(ClientEnd::OtherWork)) => Over::OtherWork,
            (Ok(WorkerEnd::Released | WorkerEnd::Closed), _) => Over::Ended(WorkerEnded::Released),
            (Ok(WorkerEnd::CoordinatorGone), _) => Over::Ended(WorkerEnded::Alone(because)),
            // A bug that was already said; the process must not go on as if it worked.
            (Err(panicked), _) => std::panic::resume_unwind(panicked.into_panic()),
        })
    }

    /// Why there is no coordinator.
    fn because(&self) -> Option<String> {
        match &*self.link.borrow() {
            LinkState::Looking { because } => because.clone(),
            LinkState::Connected { .. } => None,
        }
    }

    /// Ends the connection in good order; how the client ended.
    async fn farewell(&mut self) -> Option<ClientEnd> {
        self.output = None;
        tokio::time::timeout(FAREWELL, &mut self.client).await.ok()?.ok()
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.client.abort();
    }
}

async fn late(drain: Option<(Signal, Instant)>) -> Signal {
    match drain {
        Some((signal, at)) => {
            tokio::time::sleep_until(at).await;
            signal
        }
        None => std::future::pending().await,
    }
}

fn into_input(heard: Incoming) -> WorkerInput {
    match heard {
        Incoming::Connected { worker, .. } => WorkerInput::Connected { worker },
        Incoming::Message(stamp, message) => WorkerInput::Message(stamp, message),
        Incoming::Disconnected => WorkerInput::Disconnected,
        Incoming::Release { reason } => {
            tracing::info!("released: {reason}");
            WorkerInput::Release
        }
    }
}

/// What the worker says, as the client takes it.
fn outgoing(
    said: mpsc::UnboundedReceiver<WorkerOutput>,
) -> impl stream::Stream<Item = Outgoing> + Send + Unpin {
    Box::pin(stream::unfold(said, async |mut said| {
        let outgoing = match said.recv().await? {
            WorkerOutput::Message(stamp, message) => Outgoing::Message(stamp, message),
            WorkerOutput::Draining => Outgoing::Draining,
        };
        Some((outgoing, said))
    }))
}

fn registration(process: &WorkerProcess, port: &Port, random: &dyn Random) -> Registration {
    Registration {
        process: random.nonce(),
        name: format!("{} ({})", host_name(), std::process::id()),
        slots: process.slots,
        data_address: Some(port.advertised().to_owned()),
        running: None,
        draining: false,
    }
}

/// For people.
fn host_name() -> String {
    let named = std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty());
    let read =
        || std::fs::read_to_string("/proc/sys/kernel/hostname").ok().map(|name| name.trim().to_owned());
    named.or_else(read).unwrap_or_else(|| "worker".to_owned())
}

/// Tells when the process at the other end of standard input is gone, however it ended.
struct Orphaned(Option<watch::Receiver<bool>>);

impl Orphaned {
    fn watch(wanted: bool) -> Self {
        let watch = || {
            let (gone, seen) = watch::channel(false);
            // A thread of its own: a read that nothing ends would hold up the end of the runtime.
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
                gone.send_replace(true);
            });
            seen
        };
        Self(wanted.then(watch))
    }

    async fn gone(&mut self) {
        match &mut self.0 {
            Some(seen) => drop(seen.wait_for(|gone| *gone).await),
            None => std::future::pending().await,
        }
    }
}
