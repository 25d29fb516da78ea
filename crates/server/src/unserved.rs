//! Calls that nobody answers get a sentence that names the feature, for whoever meets it in an exception.

use crate::wire::sentence;
use axum::body::Body;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use std::convert::Infallible;
use std::task::{Context, Poll};
use tonic::{Code, Status};
use tower::{Layer, Service};

/// Adds the sentence to bare UNIMPLEMENTED answers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NameUnserved;

impl<S> Layer<S> for NameUnserved {
    type Service = Unserved<S>;

    fn layer(&self, inner: S) -> Unserved<S> {
        Unserved(inner)
    }
}

/// See [`NameUnserved`].
#[derive(Debug, Clone)]
pub(crate) struct Unserved<S>(S);

impl<S> Service<Request<Body>> for Unserved<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let rpc = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        let answer = self.0.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            let status = Status::from_header_map(answer.headers());
            match status {
                // The services say so of methods that they do not know, without a word.
                Some(status) if status.code() == Code::Unimplemented && status.message().is_empty() => {
                    Ok(Status::unimplemented(sentence(&rpc)).into_http())
                }
                _ => Ok(answer),
            }
        })
    }
}
