//! Where calls meet the rules.

use crate::fault::body::{CutBody, SlowBody};
use crate::fault::rule::End;
use crate::fault::{Ending, Faults, Plan};
use crate::front::{Abort, is_grpc};
use axum::body::Body;
use computesdk_modal_proto::client::{RpcRetryPolicy, RpcStatus};
use futures_util::future::{BoxFuture, Either};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use prost::Message as _;
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tonic::{Code, Status};
use tower::{Layer, Service};

/// What a client takes for the server's wish to be asked later (modal-wire notes, 5.3).
const RETRY_POLICY: &str = "type.modal.com/modal.client.RPCRetryPolicy";

/// Puts [`Faults`] before a service. It belongs behind whatever checks who asks: a stranger meets no faults.
#[derive(Clone)]
pub struct FaultLayer {
    faults: Arc<Faults>,
}

impl FaultLayer {
    /// With these rules, which can be changed while it is in use.
    #[must_use]
    pub const fn new(faults: Arc<Faults>) -> Self {
        Self { faults }
    }
}

impl<S> Layer<S> for FaultLayer {
    type Service = FaultService<S>;

    fn layer(&self, inner: S) -> FaultService<S> {
        FaultService { inner, faults: Arc::clone(&self.faults) }
    }
}

/// A service whose calls meet faults.
#[derive(Clone)]
pub struct FaultService<S> {
    inner: S,
    faults: Arc<Faults>,
}

impl<S> Service<Request<Body>> for FaultService<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<S::Future, BoxFuture<'static, Result<Response<Body>, Infallible>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let method = request.uri().path().rsplit('/').next().unwrap_or_default();
        match is_grpc(&request).then(|| self.faults.plan(method)).flatten() {
            None => Either::Left(self.inner.call(request)),
            Some(plan) => {
                // The one that said it is ready.
                let other = self.inner.clone();
                let inner = std::mem::replace(&mut self.inner, other);
                Either::Right(Box::pin(async move { Ok(carry_out(plan, inner, request).await) }))
            }
        }
    }
}

async fn carry_out<S>(plan: Plan, mut inner: S, request: Request<Body>) -> Response<Body>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    if !plan.delay.is_zero() {
        tokio::time::sleep(plan.delay).await;
    }
    let response = match plan.end {
        Some(Ending { end: End::Status { code, message, retry_after }, rule }) => {
            return refusal(code, message.unwrap_or_else(|| injected(&rule)), retry_after).into_http();
        }
        Some(Ending { end: End::Reset, .. }) => return broken(Abort::Stream),
        Some(Ending { end: End::ResetConnection, .. }) => return broken(Abort::Connection),
        Some(Ending { end: End::Hang, .. }) => {
            // The request is kept, or the client would be told to stop sending.
            let _request = request;
            return std::future::pending().await;
        }
        Some(Ending { end: End::LoseAnswer, rule }) => {
            let mut body = call(&mut inner, request).await.into_body();
            // Only a call whose answer is complete has been carried out.
            while let Some(Ok(_)) = body.frame().await {}
            return Status::unavailable(format!("{}; the call was carried out", injected(&rule))).into_http();
        }
        Some(Ending { end: End::CutAfter(bytes), .. }) => {
            call(&mut inner, request).await.map(|body| Body::new(CutBody::new(body, bytes)))
        }
        None => call(&mut inner, request).await,
    };
    match plan.throttle {
        Some(rate) => response.map(|body| Body::new(SlowBody::new(body, rate))),
        None => response,
    }
}

async fn call<S>(inner: &mut S, request: Request<Body>) -> Response<Body>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    match inner.call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

fn injected(rule: &str) -> String {
    format!("injected by the fault rule `{rule}`")
}

fn broken(abort: Abort) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    response.extensions_mut().insert(abort);
    response
}

fn refusal(code: Code, message: String, retry_after: Option<Duration>) -> Status {
    let Some(retry_after) = retry_after else { return Status::new(code, message) };
    let policy = RpcRetryPolicy { retry_after_secs: retry_after.as_secs_f32() };
    let any = prost_types::Any { type_url: RETRY_POLICY.to_owned(), value: policy.encode_to_vec() };
    let details = RpcStatus { code: i32::from(code), message: message.clone(), details: vec![any] };
    Status::with_details(code, message, details.encode_to_vec().into())
}
