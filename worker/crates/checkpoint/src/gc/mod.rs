//! Garbage: what may be deleted, why, and in which order.
//!
//! `plan` decides, purely, from the journal, the manifests of every checkpoint that is not dropped, and a
//! listing. A file goes only by proof, never by age: nothing that is retained names it, **and** its attempt is
//! fenced or a durable `Drop` names its checkpoint. `Survey` gathers the facts; [`Sweep`] carries a plan out in
//! steps. It does not own when it runs, nor savepoints, which nobody but their user deletes.

mod plan;
mod survey;
mod sweep;

pub use plan::{Deletion, Inventory, Plan, Proposed, RENEW_AFTER, Retention, plan};
pub use survey::{Survey, SurveyError};
pub use sweep::{Step, Sweep};
