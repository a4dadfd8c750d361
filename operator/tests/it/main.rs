//! The operator against a model of the API server, of kubelets and of the engine: the same code that runs in a
//! cluster, killed wherever it writes, with what it reads as old as it likes.

#![allow(clippy::panic, reason = "tests")]

mod crashes;
mod drive;
mod engine;
mod hostile;
mod kubelet;
mod life;
mod model;
mod transitions;
