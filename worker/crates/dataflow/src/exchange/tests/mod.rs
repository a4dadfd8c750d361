//! The exchange from the outside: real connections, real workers, hostile peers.

mod hostile;
mod peers;
mod setup;
mod two_workers;
