//! One operator at a time, by a Lease. For efficiency alone: two at once do no harm, since all that they write is
//! compared with what was read. Whoever loses the Lease ends its process.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};

use crate::cluster::{ClusterError, bounded};

/// For how long a Lease is held without a sign of life.
const HELD: Duration = Duration::from_secs(15);
/// How often the holder gives one.
const RENEW: Duration = Duration::from_secs(5);
/// How often others look.
const LOOK: Duration = Duration::from_secs(2);

/// What a look at the Lease says.
#[derive(Debug, Clone, PartialEq)]
enum Look {
    /// Nobody holds it, or its holder has given no sign of life: it may be taken, by this.
    Take(LeaseSpec),
    /// It is ours: it is to be renewed, by this.
    Renew(LeaseSpec),
    /// Another one holds it.
    Wait,
}

/// Somebody else's sign of life, by our own clock: clocks of two machines are not compared.
#[derive(Debug, Clone, PartialEq)]
struct Sign {
    spec: LeaseSpec,
    seen: Timestamp,
}

/// Decides. Pure.
fn look(me: &str, spec: &LeaseSpec, sign: Option<&Sign>, now: Timestamp) -> Look {
    let holder = spec.holder_identity.as_deref().filter(|holder| !holder.is_empty());
    let mine = LeaseSpec {
        holder_identity: Some(me.to_owned()),
        lease_duration_seconds: i32::try_from(HELD.as_secs()).ok(),
        renew_time: Some(MicroTime(now)),
        ..spec.clone()
    };
    if holder == Some(me) {
        return Look::Renew(mine);
    }
    let silent = sign.is_some_and(|sign| {
        let age = Duration::try_from(now.duration_since(sign.seen)).unwrap_or_default();
        sign.spec == *spec && age >= HELD
    });
    match holder.is_none() || silent {
        true => Look::Take(LeaseSpec {
            acquire_time: Some(MicroTime(now)),
            lease_transitions: Some(spec.lease_transitions.unwrap_or(0) + 1),
            ..mine
        }),
        false => Look::Wait,
    }
}

/// The Lease of operators.
pub struct Leader {
    leases: Api<Lease>,
    name: String,
    me: String,
    sign: Option<Sign>,
}

impl Leader {
    /// Under a name of its own.
    pub fn new(client: Client, namespace: &str, name: &str, me: String) -> Self {
        Self { leases: Api::namespaced(client, namespace), name: name.to_owned(), me, sign: None }
    }

    /// Waits until the Lease is ours.
    pub async fn lead(&mut self) {
        loop {
            match self.turn().await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => tracing::warn!("the Lease can't be looked at: {error}"),
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Renews the Lease until it is lost: to another one, or because the API server did not answer for too long.
    pub async fn hold(&mut self) {
        let mut renewed = tokio::time::Instant::now();
        while renewed.elapsed() < HELD {
            tokio::time::sleep(RENEW).await;
            match self.turn().await {
                Ok(true) => renewed = tokio::time::Instant::now(),
                Ok(false) => return,
                Err(error) => tracing::warn!("the Lease can't be renewed: {error}"),
            }
        }
    }

    /// Gives the Lease back, so that the next operator need not wait. That it fails costs only that wait.
    pub async fn release(&mut self) {
        if let Err(error) = self.give_back().await {
            tracing::info!("the Lease could not be given back: {error}");
        }
    }

    async fn give_back(&self) -> Result<(), ClusterError> {
        let what = || format!("Lease {}", self.name);
        let lease = bounded(what, self.leases.get(&self.name)).await?;
        let spec = lease.spec.clone().unwrap_or_default();
        if spec.holder_identity.as_deref() != Some(self.me.as_str()) {
            return Ok(());
        }
        let free = Lease { spec: Some(LeaseSpec { holder_identity: None, ..spec }), ..lease };
        bounded(what, self.leases.replace(&self.name, &PostParams::default(), &free)).await.map(drop)
    }

    /// Takes or renews it, unless it changed since it was read; whether it is ours.
    async fn turn(&mut self) -> Result<bool, ClusterError> {
        let what = || format!("Lease {}", self.name);
        let now = Timestamp::now();
        let Some(lease) = bounded(what, self.leases.get_opt(&self.name)).await? else {
            let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
            let empty = Lease { metadata, spec: Some(LeaseSpec::default()) };
            return match bounded(what, self.leases.create(&PostParams::default(), &empty)).await {
                Ok(_) | Err(ClusterError::Conflict { .. }) => Ok(false),
                Err(error) => Err(error),
            };
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let decided = look(&self.me, &spec, self.sign.as_ref(), now);
        if self.sign.as_ref().is_none_or(|sign| sign.spec != spec) {
            self.sign = Some(Sign { spec, seen: now });
        }
        let (Look::Take(wanted) | Look::Renew(wanted)) = decided else { return Ok(false) };
        let changed = Lease { spec: Some(wanted), ..lease };
        // With the resourceVersion that was read: of two that try, one fails.
        match bounded(what, self.leases.replace(&self.name, &PostParams::default(), &changed)).await {
            Ok(_) => Ok(true),
            Err(ClusterError::Conflict { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_taken_only_after_its_holder_was_silent_by_our_own_clock() {
        let at = |second| Timestamp::from_second(second).expect("a time");
        let held = |by: &str, renewed: i64| LeaseSpec {
            holder_identity: Some(by.to_owned()),
            renew_time: Some(MicroTime(at(renewed))),
            lease_transitions: Some(3),
            ..LeaseSpec::default()
        };
        let other = held("other", 5);
        let sign = |seen| Some(Sign { spec: other.clone(), seen: at(seen) });
        assert!(matches!(look("me", &LeaseSpec::default(), None, at(0)), Look::Take(_)));
        assert!(matches!(look("me", &held("me", 0), None, at(1000)), Look::Renew(_)));
        assert_eq!(look("me", &other, None, at(100_000)), Look::Wait, "its clock may be wrong");
        assert_eq!(look("me", &other, sign(100).as_ref(), at(114)), Look::Wait);
        assert_eq!(look("me", &held("other", 6), sign(100).as_ref(), at(200)), Look::Wait, "it gave a sign");
        let Look::Take(taken) = look("me", &other, sign(100).as_ref(), at(115)) else { panic!("not taken") };
        assert_eq!((taken.holder_identity.as_deref(), taken.lease_transitions), (Some("me"), Some(4)));
    }
}
