//! The processes of one job, what is between them, and what is done to them.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use weir_testing::{NetFault, NetProxy, S3Proxy, S3Server};

use crate::faults::Fault;
use crate::job::Chosen;
use crate::support::cluster::{QUICK, certificates, completed, make_certificates};
use crate::support::http;
use crate::support::place::{DONE, FENCED, Place, Running};
use crate::support::{LONG, Rng, until};

/// When a coordinator takes a silent worker for lost, and the other way round.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(1);
/// The longest sleep of a process: several times every timeout.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);
/// The longest time that a network or a store is bad.
const LONGEST_TROUBLE: Duration = Duration::from_secs(3);
/// The longest time until a process that died is followed by another.
const LONGEST_ABSENCE: Duration = Duration::from_millis(1_000);
const SCRATCH_LIMIT: &str = "8Mi";
/// How far a clock jumps at most, in seconds.
const FARTHEST_JUMP: u64 = 12 * 3_600;
/// The clock of the coordinator, among those of the workers' seats.
const COORDINATOR_CLOCK: &str = "clock-coordinator";

/// What makes something whole again.
enum Heal {
    StartWorker(usize),
    WakeWorker(usize, u32),
    Control(usize),
    Exchange(usize),
    Store,
    Scratch(usize),
    StartCoordinator,
    /// One that was overtaken while it slept.
    Wake(Box<Running>),
}

/// A place for a worker: whoever works there is reached through the same proxies.
struct Seat {
    worker: Option<Running>,
    /// To the two addresses at which a coordinator may be.
    control: [NetProxy; 2],
    exchange: NetProxy,
    scratch: Disk,
}

pub(crate) struct World {
    pub(crate) place: Place,
    seats: Vec<Seat>,
    coordinator: Option<Running>,
    /// At which of the two addresses it is.
    side: usize,
    status_at: Option<SocketAddr>,
    /// Those that were overtaken or may be; they may end as fenced at any time.
    overtaken: Vec<Running>,
    /// Workers that were asked to end.
    leaving: Vec<Running>,
    heals: Vec<(Instant, Heal)>,
    store: S3Proxy,
    _server: S3Server,
    set: Vec<String>,
    last_completed: u64,
    finished: bool,
    started: u64,
    events: Vec<String>,
    began: Instant,
}

impl World {
    pub(crate) fn new(seed: u64, job: &Chosen, random: &mut Rng) -> Self {
        let server = S3Server::start();
        let store = S3Proxy::start(server.port(), seed);
        let mut place = Place::new("torment", &job.sql(), &[]);
        place.store_in(&server, "torment");
        make_certificates(&place, "torment", "certs");
        let mut set: Vec<String> = QUICK.iter().map(|s| (*s).to_owned()).collect();
        set.extend([
            format!("recovery.heartbeatTimeout={}ms", HEARTBEAT_TIMEOUT.as_millis()),
            format!("parallelism={}", job.parallelism),
            format!("checkpoint.endpoint={}", store.endpoint()),
            "checkpoint.interval=100ms".to_owned(),
        ]);
        let seats = (0..3 + random.below(4) as usize)
            .map(|seat| Seat {
                worker: None,
                control: [NetProxy::start(), NetProxy::start()],
                exchange: NetProxy::start(),
                scratch: Disk::new(place.path(&format!("scratch-{seat}"))),
            })
            .collect();
        let mut world = Self {
            place,
            seats,
            coordinator: None,
            side: 0,
            status_at: None,
            overtaken: Vec::new(),
            leaving: Vec::new(),
            heals: Vec::new(),
            store,
            _server: server,
            set,
            last_completed: 0,
            finished: false,
            started: 0,
            events: Vec::new(),
            began: Instant::now(),
        };
        world.start_coordinator();
        for seat in 0..world.seats.len() {
            world.start_worker(seat);
        }
        let ready = until(LONG, || {
            world.pass();
            world.completed() >= 2 || world.over()
        });
        assert!(ready, "the job never ran: {}", world.story());
        world
    }

    /// Whether the job has come to its end.
    pub(crate) fn over(&self) -> bool {
        self.finished
    }

    /// The newest completed checkpoint that anybody told of.
    pub(crate) fn completed(&self) -> u64 {
        self.last_completed
    }

    /// Lets a moment pass: does what is due, and looks how everybody is.
    pub(crate) fn pass(&mut self) {
        let now = Instant::now();
        while let Some(at) = self.heals.iter().position(|(due, _)| *due <= now) {
            let (_, heal) = self.heals.swap_remove(at);
            self.heal(heal);
        }
        self.look();
        std::thread::sleep(Duration::from_millis(10));
    }

    /// Makes everything whole, now.
    pub(crate) fn heal_all(&mut self) {
        for (_, heal) in std::mem::take(&mut self.heals) {
            self.heal(heal);
        }
        self.note("all is well".to_owned());
    }

    /// Does it. False if it can't be done here.
    pub(crate) fn meet(&mut self, fault: Fault, random: &mut Rng) -> bool {
        let seat = random.below(self.seats.len() as u64) as usize;
        let absence = random.up_to(LONGEST_ABSENCE);
        let sleep = Duration::from_millis(100) + random.up_to(LONGEST_SLEEP);
        let trouble = Duration::from_millis(50) + random.up_to(LONGEST_TROUBLE);
        let silent =
            [NetFault::Silent, NetFault::SilentForward, NetFault::SilentBackward][random.below(3) as usize];
        self.note(format!("{fault:?} of worker {seat}"));
        match fault {
            Fault::KillWorker => return self.kill_worker(seat, absence),
            Fault::KillTwoWorkers => {
                let other = (seat + 1) % self.seats.len();
                let one = self.kill_worker(seat, absence);
                return self.kill_worker(other, random.up_to(LONGEST_ABSENCE)) && one;
            }
            Fault::StopWorker => {
                let Some(worker) = self.seats[seat].worker.as_mut() else { return false };
                worker.signal("STOP");
                let heal = Heal::WakeWorker(seat, worker.id());
                self.later(sleep, heal);
            }
            Fault::DrainWorker => {
                let Some(mut worker) = self.seats[seat].worker.take() else { return false };
                worker.signal("TERM");
                self.leaving.push(worker);
                self.later(absence, Heal::StartWorker(seat));
            }
            Fault::KillCoordinator => return self.kill_coordinator(absence),
            Fault::StopCoordinator => {
                let Some(mut coordinator) = self.coordinator.take() else { return false };
                coordinator.signal("STOP");
                self.later(sleep, Heal::Wake(Box::new(coordinator)));
                self.side = 1 - self.side;
                self.later(absence, Heal::StartCoordinator);
            }
            Fault::RivalCoordinator => {
                let Some(coordinator) = self.coordinator.take() else { return false };
                self.overtaken.push(coordinator);
                self.side = 1 - self.side;
                self.start_coordinator();
            }
            Fault::CutControl => self.control(seat, NetFault::Cut, trouble),
            Fault::SilentControl => self.control(seat, silent, trouble),
            Fault::SlowControl => self.control(seat, NetFault::Slow(random.below(100)), trouble),
            Fault::CutExchange => self.exchange(seat, NetFault::Cut, trouble),
            Fault::SilentExchange => self.exchange(seat, silent, trouble),
            Fault::SlowExchange => self.exchange(seat, NetFault::Slow(random.below(50)), trouble),
            Fault::Store => {
                self.store.fail(100 + random.below(700));
                self.later(trouble, Heal::Store);
            }
            Fault::Scratch => {
                let done = if random.below(2) == 0 {
                    self.seats[seat].scratch.fill()
                } else {
                    self.seats[seat].scratch.wipe()
                };
                self.later(trouble, Heal::Scratch(seat));
                return done;
            }
            Fault::Clock => return self.jump_clock(seat, absence, random),
            Fault::Rescale => {
                let body = format!("{{\"parallelism\":{}}}", 1 + random.below(3));
                return self.status_at.is_some_and(|at| http::post(at, "/v1/job/rescale", &body).is_some());
            }
        }
        true
    }

    /// The clock of the coordinator or of a worker jumps, and half of the time its process dies, so that the next one
    /// lives by the wrong clock from its beginning.
    fn jump_clock(&mut self, seat: usize, absence: Duration, random: &mut Rng) -> bool {
        let of_coordinator = random.below(2) == 0;
        let clock = if of_coordinator { COORDINATOR_CLOCK.to_owned() } else { clock_of(seat) };
        let seconds = random.below(2 * FARTHEST_JUMP) as i64 - FARTHEST_JUMP as i64;
        fs::write(self.place.path(&clock), seconds.to_string()).unwrap();
        self.note(format!("{clock} is {seconds} s ahead"));
        match (random.below(2) == 0, of_coordinator) {
            (false, _) => true,
            (true, false) => self.kill_worker(seat, absence),
            (true, true) => self.kill_coordinator(absence),
        }
    }

    fn kill_coordinator(&mut self, absence: Duration) -> bool {
        let Some(coordinator) = self.coordinator.take() else { return false };
        coordinator.kill();
        self.later(absence, Heal::StartCoordinator);
        true
    }

    fn kill_worker(&mut self, seat: usize, absence: Duration) -> bool {
        let Some(worker) = self.seats[seat].worker.take() else { return false };
        worker.kill();
        self.later(absence, Heal::StartWorker(seat));
        true
    }

    fn control(&mut self, seat: usize, fault: NetFault, trouble: Duration) {
        self.seats[seat].control.iter().for_each(|proxy| proxy.set(fault));
        self.later(trouble, Heal::Control(seat));
    }

    fn exchange(&mut self, seat: usize, fault: NetFault, trouble: Duration) {
        self.seats[seat].exchange.set(fault);
        self.later(trouble, Heal::Exchange(seat));
    }

    fn later(&mut self, after: Duration, heal: Heal) {
        self.heals.push((Instant::now() + after, heal));
    }

    fn heal(&mut self, heal: Heal) {
        match heal {
            Heal::StartWorker(seat) => self.start_worker(seat),
            Heal::WakeWorker(seat, id) => {
                if let Some(worker) = self.seats[seat].worker.as_mut().filter(|w| w.id() == id) {
                    worker.signal("CONT");
                }
                for worker in self.leaving.iter_mut().filter(|w| w.id() == id) {
                    worker.signal("CONT");
                }
            }
            Heal::Control(seat) => self.seats[seat].control.iter().for_each(|p| p.set(NetFault::None)),
            Heal::Exchange(seat) => self.seats[seat].exchange.set(NetFault::None),
            Heal::Store => self.store.fail(0),
            Heal::Scratch(seat) => self.seats[seat].scratch.empty(),
            Heal::StartCoordinator => self.start_coordinator(),
            Heal::Wake(mut coordinator) => {
                coordinator.signal("CONT");
                self.overtaken.push(*coordinator);
            }
        }
    }

    fn start_coordinator(&mut self) {
        if self.coordinator.is_some() || self.finished {
            return;
        }
        self.started += 1;
        let file = format!("coordinator-{}.json", self.started);
        let mut arguments = vec!["coordinator", "job.yaml", "--log", "info", "--progress", "plain"];
        arguments.extend(["--announce", &file, "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
        let set = self.place.set.iter().chain(&self.set);
        arguments.extend(set.flat_map(|set| ["--set", set.as_str()]));
        let mut command = self.place.weir(&arguments);
        command.env("WEIR_CLOCK_SHIFT", self.place.path(COORDINATOR_CLOCK));
        command.args(certificates(&self.place.path("certs"), "coordinator"));
        self.coordinator = Some(self.place.launch(command));
        self.status_at = None;
        self.note(format!("coordinator {} starts", self.started));
    }

    fn start_worker(&mut self, at: usize) {
        if self.finished || self.seats[at].worker.is_some() {
            return;
        }
        let seat = &self.seats[at];
        let control = seat.control.each_ref().map(|proxy| proxy.address().to_string()).join(",");
        let (advertise, announce) = (seat.exchange.address().to_string(), format!("worker-{at}.json"));
        let scratch = seat.scratch.folder.display().to_string();
        let arguments = [
            "worker",
            "--log",
            "info",
            "--uid",
            "torment",
            "--slots",
            "1",
            "--coordinator",
            &control,
            "--listen",
            "127.0.0.1:0",
            "--advertise",
            &advertise,
            "--announce",
            &announce,
            "--scratch",
            &scratch,
            "--scratch-limit",
            SCRATCH_LIMIT,
        ];
        let mut command = self.place.weir(&arguments);
        command.env("WEIR_CLOCK_SHIFT", self.place.path(&clock_of(at)));
        command.args(certificates(&self.place.path("certs"), "worker"));
        // The file tells of the worker before.
        let _ = fs::remove_file(self.place.path(&announce));
        self.seats[at].worker = Some(self.place.launch(command));
    }

    /// Who has told where it is, who has ended, and what the coordinator says.
    fn look(&mut self) {
        for (at, seat) in self.seats.iter_mut().enumerate() {
            if let Some(address) = address(&self.place, &format!("worker-{at}.json"), "exchange") {
                seat.exchange.target(address);
            }
            let Some(worker) = seat.worker.as_mut() else { continue };
            if let Some(code) = worker.exited() {
                assert!(self.finished || code == DONE, "worker {at} ended with {code}: {}", worker.log());
            }
        }
        self.leaving.retain_mut(|worker| match worker.exited() {
            Some(code) => {
                assert!(
                    code == DONE || code == crate::support::place::TERMINATED,
                    "{code}: {}",
                    worker.log()
                );
                false
            }
            None => true,
        });
        let finished = &mut self.finished;
        self.overtaken.retain_mut(|coordinator| match coordinator.exited() {
            Some(DONE) => {
                *finished = true;
                false
            }
            Some(code) => {
                assert_eq!(code, FENCED, "{}", coordinator.log());
                false
            }
            None => true,
        });
        let file = format!("coordinator-{}.json", self.started);
        if let Some(control) = address(&self.place, &file, "control") {
            self.seats.iter().for_each(|seat| seat.control[self.side].target(control));
            self.status_at = address(&self.place, &file, "http");
        }
        let Some(coordinator) = self.coordinator.as_mut() else { return };
        if let Some(code) = coordinator.exited() {
            // One that was overtaken may have overtaken the other in turn; then this is the older.
            match code {
                DONE => self.finished = true,
                FENCED => {
                    self.coordinator = None;
                    self.later(Duration::ZERO, Heal::StartCoordinator);
                }
                _ => panic!("the coordinator ended with {code}: {}", self.story()),
            }
            return;
        }
        if let Some(status) = self.status_at.and_then(|at| http::get(at, "/v1/job")) {
            self.last_completed = self.last_completed.max(completed(&status));
        }
    }

    fn note(&mut self, event: String) {
        self.events.push(format!("{:?} {event}", self.began.elapsed()));
    }

    /// What happened, for a person who has to find out why.
    pub(crate) fn story(&self) -> String {
        let mut story = self.events[self.events.len().saturating_sub(40)..].join("\n");
        if let Some(coordinator) = &self.coordinator {
            story.push_str(&format!("\ncoordinator: {}", coordinator.log()));
        }
        for (at, seat) in self.seats.iter().enumerate() {
            let log = seat.worker.as_ref().map(Running::log).unwrap_or_default();
            story.push_str(&format!("\nworker {at}: {log}"));
        }
        story
    }
}

/// The file of the clock of a worker's seat.
fn clock_of(seat: usize) -> String {
    format!("clock-{seat}")
}

fn address(place: &Place, file: &str, name: &str) -> Option<SocketAddr> {
    let text = fs::read_to_string(place.path(file)).ok()?;
    serde_json::from_str::<Value>(&text).ok()?[name].as_str()?.parse().ok()
}

/// A small disk of its own where that can be had, else a folder.
struct Disk {
    folder: PathBuf,
    mounted: bool,
}

impl Disk {
    fn new(folder: PathBuf) -> Self {
        fs::create_dir_all(&folder).unwrap();
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=16m", "tmpfs"]).arg(&folder).output();
        Self { mounted: mount.is_ok_and(|done| done.status.success()), folder }
    }

    fn filler(&self) -> PathBuf {
        self.folder.join("filler")
    }

    /// Until there is no room; false where that would fill the machine's disk.
    fn fill(&self) -> bool {
        if self.mounted {
            // It ends with an error: the disk is full.
            let _ = fs::write(self.filler(), vec![1; 32 << 20]);
        }
        self.mounted
    }

    /// All that is there vanishes.
    fn wipe(&self) -> bool {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        for entry in entries {
            let _ = fs::remove_dir_all(entry.path());
        }
        true
    }

    fn empty(&self) {
        let _ = fs::remove_file(self.filler());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.mounted {
            let _ = Command::new("umount").arg("-l").arg(&self.folder).status();
        }
    }
}
