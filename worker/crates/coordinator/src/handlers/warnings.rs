//! What a user should know of an attempt though nothing is wrong with it: said once, when it begins.

use weir_checkpoint::{Body, Claimed, Record, Restore, Start};

use crate::status::{Warning, WarningKind};
use crate::step::Step;

impl Step<'_> {
    /// The claim says what the attempt starts from.
    pub(crate) fn warn_of_start(&mut self, claimed: &Claimed) {
        if let Some(message) = self.ignored_restore_from(claimed) {
            self.warn(WarningKind::RestoreFromIgnored, message);
        }
        if let (Some(failure), Restore::Captured { id, .. }) =
            (self.state.options.stepped_back.clone(), &claimed.restore)
        {
            let message = format!(
                "the job goes back to checkpoint {id}, as spec.recovery.onUnreadable permits; what was written after it is \
                 written again: {failure}"
            );
            self.warn(WarningKind::SteppedBack, message);
        }
    }

    fn warn(&mut self, kind: WarningKind, message: String) {
        self.state.memory.warnings.push(Warning { at_us: self.at.now.0, kind, message });
    }

    /// `restoreFrom` counts in the first claim of a job only. That it is ignored is said when it has come into
    /// the configuration since the claim before, and not at every start after that.
    fn ignored_restore_from(&self, claimed: &Claimed) -> Option<String> {
        let options = &self.state.options;
        let from = options.restore_from.as_ref()?;
        let records = claimed.view.records();
        if options.start != Start::Continue || records.iter().any(|record| began_from(record, from)) {
            return None;
        }
        // The last one is that of this attempt.
        let before = records.iter().rev().skip(1).find_map(|record| match &record.body {
            Body::Claim { spec, .. } => Some(spec),
            _ => None,
        });
        if before == Some(&options.spec) {
            return None;
        }
        let goes_on = match &claimed.restore {
            Restore::Captured { id, .. } => format!("goes on from its own checkpoint {id}"),
            Restore::Genesis { restore_from: Some(other) } => format!("began from {other}"),
            Restore::Genesis { restore_from: None } => "began from nothing".to_owned(),
        };
        Some(format!(
            "restoreFrom {from} is not used: it counts at the first start of a job, and this one {goes_on}. To start from it, \
             give the job another name, or start it with --fresh"
        ))
    }
}

fn began_from(record: &Record, from: &str) -> bool {
    let Body::Claim { restore: Restore::Genesis { restore_from: Some(recorded) }, .. } = &record.body else {
        return false;
    };
    recorded == from
}
