//! Where other workers connect to exchange rows with this one: bound once, served from the moment at which the
//! job is known.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use weir_dataflow::{Exchange, ExchangeLimits, ExchangeOptions};
use weir_protocol::{JobConfig, JobUid};
use weir_runtime::tls::Transport;

use super::{RunError, WorkerProcess};

/// The port of one worker process.
pub(super) struct Port {
    address: SocketAddr,
    /// As other workers are told.
    advertised: String,
    transport: Transport,
    /// Until it is served.
    listener: Option<TcpListener>,
    serving: Option<(JobUid, Arc<Exchange>)>,
}

impl Port {
    pub(super) async fn bind(process: &WorkerProcess) -> Result<Self, RunError> {
        let failed = |error| RunError::Listen { what: "other workers", address: process.listen, error };
        process.transport.check(process.listen).map_err(failed)?;
        let listener = TcpListener::bind(process.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let advertised = advertised(process.advertise.as_deref(), address);
        let transport = process.transport.clone();
        Ok(Self { address, advertised, transport, listener: Some(listener), serving: None })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn advertised(&self) -> &str {
        &self.advertised
    }

    /// The job that the port is served for, once there is one: this process belongs to it for good.
    pub(super) fn job(&self) -> Option<&JobUid> {
        self.serving.as_ref().map(|(job, _)| job)
    }

    /// Serves the port for a job; always the same one.
    pub(super) fn serve(&mut self, config: &JobConfig) -> Option<Arc<Exchange>> {
        if let Some(listener) = self.listener.take() {
            let (transport, job) = (self.transport.clone(), config.uid.clone());
            let limits = ExchangeLimits {
                ping_every: config.liveness.heartbeat_interval,
                lost_after: config.liveness.heartbeat_timeout,
                ..ExchangeLimits::default()
            };
            let exchange = Exchange::start(listener, ExchangeOptions { transport, job: job.clone(), limits });
            self.serving = Some((job, exchange));
        }
        self.serving.as_ref().map(|(_, exchange)| exchange.clone())
    }
}

fn advertised(place: Option<&str>, address: SocketAddr) -> String {
    match place {
        Some(place) if names_port(place) => place.to_owned(),
        // An IPv6 address is told from its port by brackets.
        Some(host) if host.contains(':') && !host.starts_with('[') => format!("[{host}]:{}", address.port()),
        Some(host) => format!("{host}:{}", address.port()),
        None => address.to_string(),
    }
}

/// Whether a place is a host with a port behind it; an IPv6 address without brackets is a host.
fn names_port(place: &str) -> bool {
    place.rsplit_once(':').is_some_and(|(host, port)| {
        let whole = !host.is_empty() && (!host.contains(':') || host.ends_with(']'));
        whole && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_told_the_host_and_the_port_that_the_system_chose() {
        let bound: SocketAddr = "0.0.0.0:7071".parse().expect("an address");
        assert_eq!(advertised(Some("worker-1"), bound), "worker-1:7071");
        assert_eq!(advertised(Some("worker-1:80"), bound), "worker-1:80", "behind something that maps ports");
        assert_eq!(advertised(Some("[::1]:80"), bound), "[::1]:80");
        assert_eq!(advertised(Some("fd00::1"), bound), "[fd00::1]:7071");
        assert_eq!(advertised(Some("[fd00::1]"), bound), "[fd00::1]:7071");
        assert_eq!(advertised(None, "127.0.0.1:9".parse().expect("an address")), "127.0.0.1:9");
    }
}
