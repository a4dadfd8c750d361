//! One file per event, and a few for what several of them set off: `advance` (whatever can go on
//! now), `executions`, `adoption`, `moving`, `recovery` and `checkpoints`.

mod adoption;
mod advance;
mod checkpoints;
mod executions;
mod moving;
mod recovery;

mod appended;
mod asked;
mod claimed;
mod garbage_collected;
mod imports;
mod manifest_loaded;
mod manifest_written;
mod message;
mod objects_verified;
mod planned;
mod savepoints;
mod stop;
mod timer;
mod warnings;
mod workers;
