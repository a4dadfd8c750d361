//! A proxy in front of a real S3 server that makes requests fail in the ways a network and a busy store
//! do, each by chance. Only loopback; ended with its handle.

use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// What can happen to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum S3Fault {
    /// It is passed on after a while.
    Slow,
    /// It is answered with 503 and not passed on.
    Busy,
    /// The connection is closed before it is passed on.
    LostRequest,
    /// It is passed on and done, and the connection is closed without an answer.
    LostAnswer,
    /// It is passed on and done, and answered with 503.
    WrongAnswer,
}

impl S3Fault {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Slow, Self::Busy, Self::LostRequest, Self::LostAnswer, Self::WrongAnswer];
}

/// How long a slow request waits at most.
const SLOW_MS: u64 = 400;
const BUSY: &[u8] = b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nContent-Length: 89\r\n\r\n\
<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>SlowDown</Code><Message/></Error>     ";

struct Shared {
    server: SocketAddr,
    /// Of a thousand requests so many meet a fault.
    per_mille: AtomicU64,
    random: Mutex<u64>,
    met: [AtomicU64; S3Fault::ALL.len()],
    ended: AtomicBool,
}

/// A running proxy.
pub struct S3Proxy {
    shared: Arc<Shared>,
    port: u16,
}

impl S3Proxy {
    /// Starts one in front of a server on this port of 127.0.0.1. It passes everything on until it is told
    /// otherwise. One seed gives one sequence of faults.
    pub fn start(server: u16, seed: u64) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("a bound address").port();
        let shared = Arc::new(Shared {
            server: (Ipv4Addr::LOCALHOST, server).into(),
            per_mille: AtomicU64::new(0),
            random: Mutex::new(seed),
            met: Default::default(),
            ended: AtomicBool::new(false),
        });
        let accepting = shared.clone();
        thread::spawn(move || {
            for connection in listener.incoming() {
                if accepting.ended.load(Ordering::Acquire) {
                    break;
                }
                let shared = accepting.clone();
                // A connection that breaks is the client's to notice.
                thread::spawn(move || connection.and_then(|client| shared.serve(client)));
            }
        });
        Self { shared, port }
    }

    /// Where it listens.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// From now on so many of a thousand requests meet one of the faults.
    pub fn fail(&self, per_mille: u64) {
        self.shared.per_mille.store(per_mille, Ordering::Release);
    }

    /// How many requests met each fault so far, in the order of [`S3Fault::ALL`].
    pub fn met(&self) -> [u64; S3Fault::ALL.len()] {
        std::array::from_fn(|at| self.shared.met[at].load(Ordering::Acquire))
    }
}

impl Drop for S3Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        // Wakes the listener; that it can't be reached means that it has ended.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

impl Shared {
    fn random(&self) -> u64 {
        let mut state = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        // SplitMix64.
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn fault(&self) -> Option<S3Fault> {
        let hit = self.random() % 1_000 < self.per_mille.load(Ordering::Acquire);
        let at = (self.random() % S3Fault::ALL.len() as u64) as usize;
        hit.then(|| {
            self.met[at].fetch_add(1, Ordering::AcqRel);
            S3Fault::ALL[at]
        })
    }

    /// Passes the requests of a connection on, one after the other.
    fn serve(&self, client: TcpStream) -> Result<(), Error> {
        let mut answers = client.try_clone()?;
        let mut requests = BufReader::new(client);
        let mut server = None;
        while let Some(mut head) = Head::read(&mut requests)? {
            if head.has("expect") {
                answers.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
                head.remove("expect");
            }
            let body = head.body(&mut requests)?;
            let fault = self.fault();
            match fault {
                Some(S3Fault::Slow) => thread::sleep(Duration::from_millis(self.random() % SLOW_MS)),
                Some(S3Fault::Busy) => {
                    answers.write_all(BUSY)?;
                    continue;
                }
                Some(S3Fault::LostRequest) => return Ok(()),
                _ => {}
            }
            let server = match &mut server {
                Some(server) => server,
                none => none.insert(BufReader::new(TcpStream::connect(self.server)?)),
            };
            server.get_mut().write_all(&head.bytes())?;
            server.get_mut().write_all(&body)?;
            let Some(answer) = Head::read(server)? else { return Ok(()) };
            let bodiless = head.lines[0].starts_with("HEAD ")
                || [" 204", " 304"].iter().any(|code| answer.lines[0].contains(code));
            let body = if bodiless { Vec::new() } else { answer.body(server)? };
            match fault {
                Some(S3Fault::LostAnswer) => return Ok(()),
                Some(S3Fault::WrongAnswer) => answers.write_all(BUSY)?,
                _ => {
                    answers.write_all(&answer.bytes())?;
                    answers.write_all(&body)?;
                }
            }
        }
        Ok(())
    }
}

/// First line and headers of a request or an answer.
struct Head {
    lines: Vec<String>,
}

impl Head {
    /// `None` at the end of the connection.
    fn read(from: &mut impl BufRead) -> Result<Option<Self>, Error> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if from.read_line(&mut line)? == 0 {
                return Ok(None);
            }
            let line = line.trim_end().to_owned();
            match line.is_empty() {
                true if lines.is_empty() => {}
                true => return Ok(Some(Self { lines })),
                false => lines.push(line),
            }
        }
    }

    fn value(&self, name: &str) -> Option<&str> {
        let headers = self.lines[1..].iter().filter_map(|line| line.split_once(':'));
        headers.into_iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    fn remove(&mut self, name: &str) {
        let named = |line: &String| line.split_once(':').is_some_and(|(n, _)| n.eq_ignore_ascii_case(name));
        self.lines.retain(|line| !named(line));
    }

    fn bytes(&self) -> Vec<u8> {
        (self.lines.join("\r\n") + "\r\n\r\n").into_bytes()
    }

    /// What follows, as it came.
    fn body(&self, from: &mut impl BufRead) -> Result<Vec<u8>, Error> {
        if self.value("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked")) {
            return chunks(from);
        }
        let length = self.value("content-length").map_or(Ok(0), str::parse);
        let mut body = vec![0; length.map_err(|e| Error::new(ErrorKind::InvalidData, e))?];
        from.read_exact(&mut body)?;
        Ok(body)
    }
}

fn chunks(from: &mut impl BufRead) -> Result<Vec<u8>, Error> {
    let mut all = Vec::new();
    loop {
        let mut line = String::new();
        from.read_line(&mut line)?;
        all.extend_from_slice(line.as_bytes());
        let size = line.trim().split(';').next().unwrap_or_default();
        let size = u64::from_str_radix(size, 16).map_err(|e| Error::new(ErrorKind::InvalidData, e))?;
        // With the end of line; behind the last chunk there are none but that.
        from.take(size + 2).read_to_end(&mut all)?;
        if size == 0 {
            return Ok(all);
        }
    }
}
