//! Reaching a coordinator: addresses in turn, and growing pauses between the rounds.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use weir_runtime::Random;
use weir_runtime::tls::{Stream, Transport};

use super::ClientOptions;

/// For one address, from its look-up to the open connection.
const REACH: Duration = Duration::from_secs(2);

/// Pauses between rounds: doubled each time, and drawn from the upper half so that workers do not come in
/// step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Backoff(Duration);

impl Backoff {
    const FIRST: Duration = Duration::from_millis(50);
    const LONGEST: Duration = Duration::from_secs(1);

    pub(super) fn new() -> Self {
        Self(Self::FIRST)
    }

    /// The next pause, out of 64 random bits.
    pub(super) fn pause(&mut self, random: u64) -> Duration {
        let half = self.0 / 2;
        self.0 = (self.0 * 2).min(Self::LONGEST);
        // 32 bits are fine enough for a pause of a second.
        half + half.mul_f64((random >> 32) as f64 / f64::from(u32::MAX))
    }
}

/// An open connection that nothing was said over.
pub(super) struct Reached {
    pub(super) address: String,
    pub(super) stream: Stream,
}

pub(super) struct Dialer {
    addresses: Vec<String>,
    /// The one to try next.
    next: usize,
    /// How many of this round were tried.
    tried: usize,
    backoff: Backoff,
    random: Arc<dyn Random>,
    transport: Transport,
    /// What was said last of why there is no coordinator.
    told: String,
}

impl Dialer {
    pub(super) fn new(options: &ClientOptions) -> Self {
        Self {
            addresses: options.coordinators.clone(),
            next: 0,
            tried: 0,
            backoff: Backoff::new(),
            random: options.random.clone(),
            transport: options.transport.clone(),
            told: String::new(),
        }
    }

    /// Tries until an address answers.
    pub(super) async fn dial(&mut self) -> Reached {
        loop {
            if self.tried >= self.addresses.len() {
                tokio::time::sleep(self.backoff.pause(self.random.next_u64())).await;
                self.tried = 0;
            }
            // Without addresses there is only the pause.
            let Some(address) = self.addresses.get(self.next).cloned() else { continue };
            match reach(&self.transport, &address).await {
                Ok(stream) => return Reached { address, stream },
                Err(error) => self.failed(&address, &error.to_string()),
            }
        }
    }

    /// The address gave no welcome: the next one.
    pub(super) fn failed(&mut self, address: &str, why: &str) {
        self.tried += 1;
        self.next = (self.next + 1) % self.addresses.len().max(1);
        let told = format!("{address}: {why}");
        if told != self.told {
            tracing::warn!(coordinator = %address, "no coordinator there, trying on: {why}");
            self.told = told;
        }
    }

    /// The address gave a welcome: it is the first to be tried when the connection breaks, after a short
    /// pause.
    pub(super) fn succeeded(&mut self) {
        self.backoff = Backoff::new();
        self.tried = self.addresses.len();
        self.told.clear();
    }
}

/// All addresses of a name, until one is open.
async fn reach(transport: &Transport, address: &str) -> io::Result<Stream> {
    let late = || io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {REACH:?}"));
    let open = async {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for found in lookup_host(address).await? {
            transport.check(found)?;
            match TcpStream::connect(found).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    };
    let stream = tokio::time::timeout(REACH, open).await.map_err(|_| late())??;
    // The handshake has a deadline of its own.
    transport.connect(stream).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_second_and_are_spread() {
        let pauses = |random: u64| {
            let mut backoff = Backoff::new();
            [(); 7].map(|()| backoff.pause(random).as_millis())
        };
        assert_eq!(pauses(0), [25, 50, 100, 200, 400, 500, 500]);
        assert_eq!(pauses(u64::MAX), [50, 100, 200, 400, 800, 1000, 1000]);
    }
}
