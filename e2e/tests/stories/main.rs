//! Stories on a real cluster: `KUBECONFIG` says which; `e2e/run.sh` brings one up and runs all or some of them by name.
//! Each has a namespace, an S3 server and an operator of its own.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod api_server;
mod bad_sql;
mod bucket_trouble;
mod coordinator_lost;
mod deletion;
mod drain;
mod first_job;
mod frozen;
mod install;
mod node_cut_off;
mod node_lost;
mod operator_away;
mod operator_dies;
mod pod_trouble;
mod rescale;
mod roll_back;
mod savepoint;
mod suspend;
mod two_operators;
mod upgrade;
mod worker_lost;
