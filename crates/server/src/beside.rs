//! Several gRPC services on one port.

use std::task::{Context, Poll};

use futures::future::Either;
use tonic::codegen::Service;

/// Two services: calls to the one of this name go to the first one, all other calls to the second one.
#[derive(Debug, Clone)]
pub struct Beside<N, O> {
    /// Full name of the first service, as in the path of a call.
    pub name: &'static str,
    /// The first service.
    pub named: N,
    /// The other service.
    pub other: O,
}

impl<B, N, O> Service<hyper::Request<B>> for Beside<N, O>
where
    N: Service<hyper::Request<B>>,
    O: Service<hyper::Request<B>, Response = N::Response, Error = N::Error>,
{
    type Response = N::Response;
    type Error = N::Error;
    type Future = Either<N::Future, O::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), N::Error>> {
        match self.named.poll_ready(cx) {
            Poll::Ready(Ok(())) => self.other.poll_ready(cx),
            waits => waits,
        }
    }

    fn call(&mut self, request: hyper::Request<B>) -> Self::Future {
        let service = request.uri().path().strip_prefix('/').and_then(|path| path.split_once('/'));
        match service {
            Some((name, _)) if name == self.name => Either::Left(self.named.call(request)),
            _ => Either::Right(self.other.call(request)),
        }
    }
}
