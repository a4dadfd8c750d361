//! A TCP proxy between two processes that makes their connections fail in the ways a network does. Only
//! loopback; ended with its handle.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// What happens to all connections through a proxy, from the moment it is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetFault {
    /// Nothing: bytes pass.
    None,
    /// Connections are closed, and new ones as soon as they are made.
    Cut,
    /// Nothing passes in either direction, and nobody is told. What was sent arrives when it is over, as with
    /// a network that lost packets for a while.
    Silent,
    /// Nothing passes from the one who made the connection; answers do.
    SilentForward,
    /// Nothing passes to the one who made the connection.
    SilentBackward,
    /// Every piece of at most 16 KiB waits so many milliseconds.
    Slow(u64),
}

const PIECE: usize = 16 << 10;
/// How often a connection that says nothing looks whether it was cut.
const LOOK_EVERY: Duration = Duration::from_millis(20);

struct State {
    target: Option<SocketAddr>,
    fault: NetFault,
    /// Connections of an older generation were cut.
    generation: u64,
    ended: bool,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// A running proxy.
pub struct NetProxy {
    shared: Arc<Shared>,
    port: u16,
}

impl NetProxy {
    /// Starts one. Until it has a target it closes what connects.
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("a bound address").port();
        let state = State { target: None, fault: NetFault::None, generation: 0, ended: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let accepting = shared.clone();
        thread::spawn(move || {
            for connection in listener.incoming() {
                if accepting.lock().ended {
                    break;
                }
                let shared = accepting.clone();
                thread::spawn(move || connection.map(|client| shared.serve(client)));
            }
        });
        Self { shared, port }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Where connections go that are made from now on.
    pub fn target(&self, target: SocketAddr) {
        self.shared.lock().target = Some(target);
    }

    /// What happens from now on.
    pub fn set(&self, fault: NetFault) {
        let mut state = self.shared.lock();
        state.fault = fault;
        if fault == NetFault::Cut {
            state.generation += 1;
        }
        self.shared.changed.notify_all();
    }
}

impl Drop for NetProxy {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.ended = true;
        state.generation += 1;
        self.shared.changed.notify_all();
        drop(state);
        // Wakes the listener; that it can't be reached means that it has ended.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(self: Arc<Self>, client: TcpStream) {
        let (target, generation) = {
            let state = self.lock();
            (state.target.filter(|_| state.fault != NetFault::Cut), state.generation)
        };
        let Some(server) = target.and_then(|target| TcpStream::connect(target).ok()) else { return };
        let (Ok(client2), Ok(server2)) = (client.try_clone(), server.try_clone()) else { return };
        let shared = self.clone();
        thread::spawn(move || shared.pump(server2, client2, generation, false));
        self.pump(client, server, generation, true);
    }

    /// Carries bytes one way until an end closes or the connection is cut.
    fn pump(&self, mut from: TcpStream, mut to: TcpStream, generation: u64, forward: bool) {
        let _ = (from.set_nodelay(true), to.set_nodelay(true), from.set_read_timeout(Some(LOOK_EVERY)));
        let mut piece = vec![0; PIECE];
        while let Some(wait) = self.permits(generation, forward) {
            match from.read(&mut piece) {
                Ok(0) => break,
                Ok(n) => {
                    thread::sleep(wait);
                    // What was read before the network fell silent must not pass.
                    if self.permits(generation, forward).is_none() || to.write_all(&piece[..n]).is_err() {
                        break;
                    }
                }
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => break,
            }
        }
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }

    /// Waits while nothing may pass. How long a piece is to wait; `None` if the connection is cut.
    fn permits(&self, generation: u64, forward: bool) -> Option<Duration> {
        let mut state = self.lock();
        loop {
            if state.generation != generation {
                return None;
            }
            match (state.fault, forward) {
                (NetFault::Silent, _)
                | (NetFault::SilentForward, true)
                | (NetFault::SilentBackward, false) => {
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                (NetFault::Slow(ms), _) => return Some(Duration::from_millis(ms)),
                _ => return Some(Duration::ZERO),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that sends back what it gets.
    fn echo() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for connection in listener.incoming() {
                thread::spawn(move || {
                    let mut connection = connection.unwrap();
                    let mut back = connection.try_clone().unwrap();
                    let _ = std::io::copy(&mut connection, &mut back);
                });
            }
        });
        address
    }

    fn connect(proxy: &NetProxy) -> TcpStream {
        let connection = TcpStream::connect(proxy.address()).unwrap();
        connection.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        connection
    }

    fn said(connection: &mut TcpStream, word: &[u8; 4]) -> bool {
        let mut back = [0; 4];
        connection.write_all(word).is_ok() && connection.read_exact(&mut back).is_ok() && &back == word
    }

    #[test]
    fn bytes_pass_wait_or_are_cut_as_it_is_told() {
        let proxy = NetProxy::start();
        assert!(!said(&mut connect(&proxy), b"lost"), "no target yet");
        proxy.target(echo());
        let mut connection = connect(&proxy);
        assert!(said(&mut connection, b"pass"));
        for silent in [NetFault::Silent, NetFault::SilentForward, NetFault::SilentBackward] {
            proxy.set(silent);
            connection.write_all(b"late").unwrap();
            connection.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            assert!(connection.read(&mut [0; 4]).is_err(), "{silent:?}: nothing comes");
            proxy.set(NetFault::None);
            connection.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let mut back = [0; 4];
            connection.read_exact(&mut back).unwrap();
            assert_eq!(&back, b"late", "{silent:?}: it comes when it is over");
        }
        proxy.set(NetFault::Slow(5));
        assert!(said(&mut connection, b"slow"));
        proxy.set(NetFault::Cut);
        assert_eq!(connection.read(&mut [0; 4]).unwrap_or(0), 0, "closed");
        assert!(!said(&mut connect(&proxy), b"cut!"));
        proxy.set(NetFault::None);
        assert!(said(&mut connect(&proxy), b"here"));
    }
}
