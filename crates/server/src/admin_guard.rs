//! Who may call the administration services: whoever has a certificate that names an administrator or a node of this
//! cluster. Most calls then need an administrator.

use std::sync::Arc;

use tonic::transport::server::TlsConnectInfo;
use tonic::{Request, Status};

use crate::grpc_accept::GrpcConnectInfo;
use crate::shared::NodeShared;
use crate::tls::Identity;

/// Lets administrators and nodes of this cluster in, and notes who it is.
#[derive(Clone)]
pub struct AdminGuard {
    node: Arc<NodeShared>,
}

impl AdminGuard {
    /// For the front ends of this node.
    #[must_use]
    pub fn new(node: Arc<NodeShared>) -> AdminGuard {
        AdminGuard { node }
    }
}

/// Refuses whoever is let in by [`AdminGuard`] and is no administrator.
pub(crate) fn require_administrator<T>(node: &NodeShared, request: &Request<T>) -> Result<(), Status> {
    match request.extensions().get::<Identity>() {
        Some(Identity::Admin(_)) => Ok(()),
        _ => Err(no_administrator(node)),
    }
}

impl tonic::service::Interceptor for AdminGuard {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let certificates =
            request.extensions().get::<TlsConnectInfo<GrpcConnectInfo>>().and_then(TlsConnectInfo::peer_certs);
        let identity = certificates.and_then(|chain| Identity::of(chain.first()?));
        match identity {
            Some(identity) if identity.cluster() == self.node.cluster => {
                let mut request = request;
                request.extensions_mut().insert(identity);
                Ok(request)
            }
            _ => Err(no_administrator(&self.node)),
        }
    }
}

fn no_administrator(node: &NodeShared) -> Status {
    let wanted = format!("fastness://{}/admin", node.cluster);
    Status::permission_denied(format!("the certificate does not name an administrator: its SAN must contain {wanted}"))
}
