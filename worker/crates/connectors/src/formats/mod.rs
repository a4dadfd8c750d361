//! Formats: how rows are read from and written to bytes, and what is done about bad records.

pub(crate) mod json;
pub(crate) mod projection;
pub(crate) mod records;

use crate::options::choice;

choice! {
    /// What the files hold.
    enum Format {
        /// One JSON object per line.
        Json = "json",
    }
}
