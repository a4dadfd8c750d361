//! The account of the job's pods: it has no rights, and its token is never mounted.

use k8s_openapi::api::core::v1::ServiceAccount;

use crate::controller::validate::Wanted;

/// The ServiceAccount.
pub(super) fn service_account(wanted: &Wanted) -> ServiceAccount {
    ServiceAccount {
        metadata: wanted.identity.metadata(wanted.identity.base()),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}
