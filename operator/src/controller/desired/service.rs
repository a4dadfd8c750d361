//! Where workers find the coordinator, and Prometheus its metrics.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::controller::validate::Wanted;
use crate::names::{ADMIN_PORT, COMPONENT, CONTROL_PORT, HTTP_PORT};

/// The headless Service of the coordinator.
pub(super) fn service(wanted: &Wanted) -> Service {
    let mut selector = wanted.identity.selector();
    selector.insert(COMPONENT.to_owned(), "coordinator".to_owned());
    let port = |name: &str, number: u16| ServicePort {
        name: Some(name.to_owned()),
        port: i32::from(number),
        target_port: Some(IntOrString::Int(i32::from(number))),
        protocol: Some("TCP".to_owned()),
        ..ServicePort::default()
    };
    Service {
        metadata: wanted.identity.metadata(wanted.identity.base()),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            selector: Some(selector),
            ports: Some(vec![
                port("control", CONTROL_PORT),
                port("http", HTTP_PORT),
                port("admin", ADMIN_PORT),
            ]),
            // Not those that are not ready: on a node that does not answer there may be one for long.
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}
