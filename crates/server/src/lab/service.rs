//! The gRPC service through which faults are injected, on the port of the admin service; see [`super`].

use std::sync::Arc;
use std::time::Duration;

use fastness_events::Event;
use fastness_log::faulty::DiskFault;
use fastness_types::NodeId;
use fastness_wire::lab::v1::lab_service_server::{LabService, LabServiceServer};
use fastness_wire::lab::v1::{
    DiskFault as DiskFaultMessage, DiskFaultKind, LinkFault as LinkFaultMessage, SetDiskFaultRequest,
    SetDiskFaultResponse, SetLinkFaultRequest, SetLinkFaultResponse, ShowFaultsRequest, ShowFaultsResponse,
};
use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Response, Status};

use super::{Lab, LinkFault};
use crate::admin_guard::{AdminGuard, require_administrator};
use crate::shared::NodeShared;

/// Largest delay of disk operations. A slower disk would count as stalled.
const SLOW_MAX: Duration = Duration::from_secs(60);
/// Largest delay of frames. With a larger one the stream would be closed before a frame arrives.
const DELAY_MAX: Duration = Duration::from_secs(60);

/// The service of the lab.
pub struct LabServer {
    node: Arc<NodeShared>,
}

impl LabServer {
    /// Returns the tonic service, which checks the certificate of every caller.
    pub fn service(node: Arc<NodeShared>) -> InterceptedService<LabServiceServer<LabServer>, AdminGuard> {
        let guard = AdminGuard::new(node.clone());
        LabServiceServer::with_interceptor(LabServer { node }, guard)
    }

    fn lab<T>(&self, request: &Request<T>) -> Result<&Arc<Lab>, Status> {
        require_administrator(&self.node, request)?;
        self.node.lab.as_ref().ok_or_else(|| {
            Status::failed_precondition(format!(
                "faults cannot be injected into node {}: that requires `lab yes` in its config and a certificate that names \
                 {}, as the nodes of `fastness dev` have",
                self.node.node,
                crate::tls::lab_uri(self.node.cluster)
            ))
        })
    }
}

fn disk_fault(message: &DiskFaultMessage) -> Result<Option<DiskFault>, Status> {
    Ok(Some(match message.kind() {
        DiskFaultKind::Unspecified => return Ok(None),
        DiskFaultKind::Stall => DiskFault::Stall,
        DiskFaultKind::Slow => DiskFault::Slow(span("slow_ms", message.slow_ms, SLOW_MAX)?),
        DiskFaultKind::Fill => DiskFault::Fill,
        DiskFaultKind::Fail => DiskFault::Fail,
    }))
}

fn span(name: &str, ms: u32, max: Duration) -> Result<Duration, Status> {
    let span = Duration::from_millis(u64::from(ms));
    let (given, max_ms) = (ms, max.as_millis());
    if span <= max { Ok(span) } else { Err(Status::invalid_argument(format!("{name}: {given} is over {max_ms}"))) }
}

fn disk_message(fault: DiskFault, met: u64) -> DiskFaultMessage {
    let (kind, slow_ms) = match fault {
        DiskFault::Stall => (DiskFaultKind::Stall, 0),
        DiskFault::Slow(span) => (DiskFaultKind::Slow, span.as_millis() as u32),
        DiskFault::Fill => (DiskFaultKind::Fill, 0),
        DiskFault::Fail => (DiskFaultKind::Fail, 0),
    };
    DiskFaultMessage { kind: kind.into(), slow_ms, met }
}

fn link_message(peer: NodeId, fault: LinkFault, met: u64) -> LinkFaultMessage {
    LinkFaultMessage {
        to_node: peer.0,
        delay_ms: Some(fault.delay.as_millis() as u32),
        drop_percent: Some(fault.drop_percent),
        rate_bytes_per_second: Some(fault.rate),
        cut: Some(fault.cut),
        met,
    }
}

#[tonic::async_trait]
impl LabService for LabServer {
    async fn set_disk_fault(
        &self,
        request: Request<SetDiskFaultRequest>,
    ) -> Result<Response<SetDiskFaultResponse>, Status> {
        let lab = self.lab(&request)?;
        let fault = request.into_inner().fault.unwrap_or_default();
        let fault = disk_fault(&fault)?;
        let text = fault.as_ref().map_or_else(|| "removed".to_owned(), ToString::to_string);
        lab.disk.set(fault);
        self.node.events.record(Event::LabFault { fault: format!("disk: {text}") });
        Ok(Response::new(SetDiskFaultResponse {}))
    }

    async fn set_link_fault(
        &self,
        request: Request<SetLinkFaultRequest>,
    ) -> Result<Response<SetLinkFaultResponse>, Status> {
        let lab = self.lab(&request)?;
        let SetLinkFaultRequest { fault, heal } = request.into_inner();
        let fault = fault.unwrap_or_default();
        let peer = NodeId(fault.to_node);
        let known = self.node.map.load().as_ref().is_some_and(|map| map.node(peer).is_some());
        if !known || peer == self.node.node {
            return Err(Status::invalid_argument(format!("node {peer} is no other node of this cluster")));
        }
        let delay = fault.delay_ms.map(|ms| span("delay_ms", ms, DELAY_MAX)).transpose()?;
        if fault.drop_percent.is_some_and(|percent| percent > 100) {
            return Err(Status::invalid_argument("drop_percent: 0 to 100"));
        }
        lab.links.change(peer, |set| {
            if heal {
                *set = LinkFault::default();
            }
            set.delay = delay.unwrap_or(set.delay);
            set.drop_percent = fault.drop_percent.unwrap_or(set.drop_percent);
            set.rate = fault.rate_bytes_per_second.unwrap_or(set.rate);
            set.cut = fault.cut.unwrap_or(set.cut);
        });
        let set = lab.links.all().into_iter().find(|(node, ..)| *node == peer);
        let text =
            set.filter(|(_, fault, _)| fault.is_set()).map_or_else(|| "removed".to_owned(), |(_, f, _)| f.to_string());
        self.node.events.record(Event::LabFault { fault: format!("link to node {peer}: {text}") });
        Ok(Response::new(SetLinkFaultResponse {}))
    }

    async fn show_faults(&self, request: Request<ShowFaultsRequest>) -> Result<Response<ShowFaultsResponse>, Status> {
        let lab = self.lab(&request)?;
        let links = lab.links.all().into_iter().filter(|(_, fault, met)| fault.is_set() || *met > 0);
        Ok(Response::new(ShowFaultsResponse {
            node_id: self.node.node.0,
            disk: lab.disk.get().map(|fault| disk_message(fault, lab.disk.met())),
            links: links.map(|(peer, fault, met)| link_message(peer, fault, met)).collect(),
        }))
    }
}
