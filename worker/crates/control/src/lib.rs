//! The control link between a coordinator and the worker processes of its job: one gRPC connection per
//! worker, one stream in each direction on it.
//!
//! Owns: how workers make themselves known and get a number, frames and their limits, heartbeats, when a
//! connection counts as lost, and how a worker finds its coordinator again. It does not own what messages
//! mean (`weir-coordinator`, `weir-dataflow`) nor how a connection is made secret (`weir-runtime`).
//!
//! Nothing here decides about safety: a worker that is taken for lost although it lives is refused by its
//! stamp, and so is a coordinator that was overtaken.

mod client;
mod codec;
mod decode;
mod frame;
mod limits;
mod outbox;
mod server;
mod stream;
#[cfg(test)]
mod tests;
mod wire;

pub use client::{ClientEnd, ClientOptions, Incoming, LinkState, Outgoing, run_client};
#[doc(hidden)]
pub use decode::decode_frame;
pub use limits::{Heartbeat, Limits};
pub use server::{Counters, Events, Server, ServerError, ServerEvent, ServerOptions};
