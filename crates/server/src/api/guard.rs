//! Who may call the data API. It is checked before the message of a call is read into memory.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use fastness_types::Clock;
use tonic::metadata::MetadataValue;
use tonic::transport::server::TlsConnectInfo;
use tonic::{Code, Request, Status};

use super::forward::{Forwarded, USER_HEADER};
use super::refusal::{ApiRefusal, reason};
use crate::access::{Lacking, Refused};
use crate::accounts::Account;
use crate::auth::{self, AuthRefusal, Origin};
use crate::grpc_accept::GrpcConnectInfo;
use crate::shared::NodeShared;
use crate::tls::Identity;

/// The metadata with user and password.
const AUTHORIZATION: &str = "authorization";

/// Checks the user of each call.
#[derive(Clone)]
pub struct ApiGuard {
    node: Arc<NodeShared>,
    clock: Arc<dyn Clock>,
}

impl ApiGuard {
    pub(super) fn new(node: Arc<NodeShared>, clock: Arc<dyn Clock>) -> ApiGuard {
        ApiGuard { node, clock }
    }

    /// The user of a call that another node has passed on.
    fn forwarded(
        &self,
        info: Option<&TlsConnectInfo<GrpcConnectInfo>>,
        user: Option<&[u8]>,
    ) -> Result<Arc<Account>, Status> {
        let identity = info.and_then(TlsConnectInfo::peer_certs).and_then(|chain| Identity::of(chain.first()?));
        if !matches!(identity, Some(Identity::Node(cluster, _)) if cluster == self.node.cluster) {
            let text = format!("DENIED only nodes of the cluster may send {USER_HEADER}");
            return Err(ApiRefusal::from_reply(text.as_bytes()).into());
        }
        let account = user.and_then(|user| self.node.accounts.load().get(user).cloned());
        let account = account.filter(|account| account.user.is_on());
        account.ok_or_else(|| ApiRefusal::from_reply(AuthRefusal::Required.to_string().as_bytes()).into())
    }

    /// The user of a call from this address.
    fn check(
        &self,
        info: Option<&TlsConnectInfo<GrpcConnectInfo>>,
        authorization: Option<&[u8]>,
    ) -> Result<Arc<Account>, AuthRefusal> {
        let (from, _) = addresses(info.map(TlsConnectInfo::get_ref));
        let Some(authorization) = authorization else {
            let chain = info.and_then(TlsConnectInfo::peer_certs);
            let certificate = chain.as_ref().and_then(|chain| chain.first()).map(|certificate| &**certificate);
            let origin = Origin::of(&self.node, certificate);
            return auth::without_password(&self.node, self.clock.boot(), from.ip(), &origin);
        };
        let pair = basic(authorization).ok_or(AuthRefusal::Wrong)?;
        let colon = pair.iter().position(|byte| *byte == b':').ok_or(AuthRefusal::Wrong)?;
        let pair = (&pair[..colon], &pair[colon + 1..]);
        let checked = auth::check(&self.node, self.clock.boot(), from.ip(), pair);
        if let Err(AuthRefusal::Wrong | AuthRefusal::TooMany) = checked {
            self.node.note_refused(Refused {
                lacking: Lacking::Auth,
                context: "toplevel",
                object: AUTHORIZATION.into(),
                user: pair.0.to_vec(),
                client: format!("addr={from} cmd=grpc").into_bytes(),
            });
        }
        checked
    }
}

/// The addresses of both ends of a connection.
pub(super) fn addresses(info: Option<&GrpcConnectInfo>) -> (SocketAddr, SocketAddr) {
    let none = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let of = |address: Option<SocketAddr>| address.unwrap_or(none);
    info.map_or((none, none), |info| (of(info.tcp.remote_addr), of(info.tcp.local_addr)))
}

/// User and password of `Basic <base64>` (RFC 7617).
fn basic(header: &[u8]) -> Option<Vec<u8>> {
    let (scheme, credentials) = header.split_at_checked(6)?;
    scheme.eq_ignore_ascii_case(b"basic ").then(|| BASE64_STANDARD.decode(credentials.trim_ascii()).ok()).flatten()
}

impl tonic::service::Interceptor for ApiGuard {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(user) = request.metadata().get_bin(USER_HEADER).map(MetadataValue::to_bytes) {
            let account = self.forwarded(request.extensions().get(), user.ok().as_deref())?;
            request.extensions_mut().insert(account);
            request.extensions_mut().insert(Forwarded);
            return Ok(request);
        }
        let header = request.metadata().get(AUTHORIZATION).map(tonic::metadata::AsciiMetadataValue::as_bytes);
        match self.check(request.extensions().get(), header) {
            Ok(account) => {
                request.extensions_mut().insert(account);
                Ok(request)
            }
            Err(refusal @ AuthRefusal::TooMany) => {
                let text = refusal.to_string();
                Err(ApiRefusal::new(Code::ResourceExhausted, reason::TOO_MANY_FAILURES, text).into())
            }
            Err(refusal) => Err(ApiRefusal::from_reply(refusal.to_string().as_bytes()).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read_as_rfc_7617_has_them() {
        assert_eq!(basic(b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==").as_deref(), Some(&b"Aladdin:open sesame"[..]));
        assert_eq!(basic(b"basic OnA="), Some(b":p".to_vec()));
        for wrong in [&b"Bearer abc"[..], b"Basic", b"Basic *", b"", "Bäsic x".as_bytes()] {
            assert_eq!(basic(wrong), None);
        }
    }
}
