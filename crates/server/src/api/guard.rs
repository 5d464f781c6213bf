//! Who may call the data API. It is checked before the message of a call is read into memory.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use fastness_types::Clock;
use tonic::{Request, Status};

use super::refusal::ApiRefusal;
use crate::auth::{self, AuthRefusal};
use crate::shared::NodeShared;

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

    fn check(&self, authorization: Option<&[u8]>) -> Result<(), AuthRefusal> {
        let Some(authorization) = authorization else { return auth::without_password(&self.node) };
        let pair = basic(authorization).ok_or(AuthRefusal::Wrong)?;
        let colon = pair.iter().position(|byte| *byte == b':').ok_or(AuthRefusal::Wrong)?;
        auth::check(&self.node, self.clock.boot(), &pair[..colon], &pair[colon + 1..])
    }
}

/// User and password of `Basic <base64>` (RFC 7617).
fn basic(header: &[u8]) -> Option<Vec<u8>> {
    let (scheme, credentials) = header.split_at_checked(6)?;
    scheme.eq_ignore_ascii_case(b"basic ").then(|| BASE64_STANDARD.decode(credentials.trim_ascii()).ok()).flatten()
}

impl tonic::service::Interceptor for ApiGuard {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let header = request.metadata().get(AUTHORIZATION).map(tonic::metadata::AsciiMetadataValue::as_bytes);
        match self.check(header) {
            Ok(()) => Ok(request),
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
