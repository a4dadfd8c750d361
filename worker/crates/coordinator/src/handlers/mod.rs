//! One file per event, and three for what several of them set off: `advance` (whatever can go on
//! now), `executions` and `checkpoints`.

mod advance;
mod checkpoints;
mod executions;

mod appended;
mod claimed;
mod garbage_collected;
mod manifest_loaded;
mod manifest_written;
mod message;
mod objects_verified;
mod stop;
mod timer;
mod workers;
