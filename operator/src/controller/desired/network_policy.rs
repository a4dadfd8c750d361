//! Who may connect to the pods of a job, and where they may connect to.

use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
    NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::controller::validate::Wanted;
use crate::names::{ADMIN_PORT, CONTROL_PORT, EXCHANGE_PORT, HTTP_PORT};

/// The NetworkPolicy. In: the job's own pods to each other, the operator where changes are taken, everybody where
/// status and metrics are read. Out: everywhere but the addresses of nodes' metadata, unless the job has an
/// account of its own, whose credentials may come from there.
pub(super) fn network_policy(wanted: &Wanted) -> NetworkPolicy {
    let ingress = vec![
        from(vec![pods(wanted.identity.selector(), false)], &[CONTROL_PORT, EXCHANGE_PORT]),
        from(
            vec![pods([("app.kubernetes.io/name".to_owned(), "weir-operator".to_owned())].into(), true)],
            &[ADMIN_PORT],
        ),
        from(vec![], &[HTTP_PORT]),
    ];
    let hidden = |cidr: &str, except: &[&str]| NetworkPolicyPeer {
        ip_block: Some(IPBlock {
            cidr: cidr.to_owned(),
            except: Some(except.iter().map(|e| (*e).to_owned()).collect()),
        }),
        ..NetworkPolicyPeer::default()
    };
    let to = match wanted.worker().service_account_name {
        Some(_) => None,
        None => Some(vec![
            hidden("0.0.0.0/0", &["169.254.0.0/16"]),
            hidden("::/0", &["fe80::/10", "fd00:ec2::/32"]),
        ]),
    };
    NetworkPolicy {
        metadata: wanted.identity.metadata(wanted.identity.base()),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(LabelSelector {
                match_labels: Some(wanted.identity.selector()),
                ..LabelSelector::default()
            }),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: Some(ingress),
            egress: Some(vec![NetworkPolicyEgressRule { to, ports: None }]),
        }),
    }
}

fn pods(labels: std::collections::BTreeMap<String, String>, everywhere: bool) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        pod_selector: Some(LabelSelector { match_labels: Some(labels), ..LabelSelector::default() }),
        namespace_selector: everywhere.then(LabelSelector::default),
        ..NetworkPolicyPeer::default()
    }
}

fn from(peers: Vec<NetworkPolicyPeer>, ports: &[u16]) -> NetworkPolicyIngressRule {
    let port = |number: &u16| NetworkPolicyPort {
        port: Some(IntOrString::Int(i32::from(*number))),
        protocol: Some("TCP".to_owned()),
        ..NetworkPolicyPort::default()
    };
    NetworkPolicyIngressRule {
        from: (!peers.is_empty()).then_some(peers),
        ports: Some(ports.iter().map(port).collect()),
    }
}
