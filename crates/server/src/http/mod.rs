//! The routes that are not Modal's: JSON over HTTP, of either version.
//!
//! | route | token | |
//! |---|---|---|
//! | `GET /healthz` | no | whether the server is up, and its version |
//! | `GET /v1/faults` | yes | the fault rules, and how often each was met |
//! | `PUT /v1/faults` | yes | puts others in their place: `{"rules":["…"],"seed":1}` |
//! | `DELETE /v1/faults` | yes | takes them away |
//! | `/v1/tokens` | yes | see `tokens` |
//!
//! Errors are `{"error":{"kind","message","hint"}}`. Who asks without a token hears the same of every path below `/v1`.
//! Whether a request is for this server at all, [`front`](crate::front) has looked at before.

mod faults;
mod problem;
pub(crate) mod tokens;

pub(crate) use problem::Problem;

use crate::fault::Faults;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::get;
use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;
use std::sync::Arc;

/// Bytes of a request's body.
const MOST_BODY: usize = 64 << 10;

/// Whether these headers have a token in them that is good here.
pub type Check = Arc<dyn Fn(&HeaderMap) -> bool + Send + Sync>;

/// What the routes work on.
#[derive(Clone)]
pub struct Admin {
    /// The rules in force.
    pub faults: Arc<Faults>,
    /// Asked of every request but for `/healthz`.
    pub check: Check,
}

/// The routes.
pub fn routes(admin: Admin) -> Router {
    let check = Arc::clone(&admin.check);
    let guarded = Router::new()
        .route("/faults", get(faults::list).put(faults::replace).delete(faults::clear))
        .fallback(not_found)
        .method_not_allowed_fallback(not_allowed)
        .layer(from_fn_with_state(check, only_with_token))
        .layer(DefaultBodyLimit::max(MOST_BODY))
        .with_state(admin.faults);
    Router::new()
        .route("/healthz", get(health))
        .nest("/v1", guarded)
        .fallback(not_found)
        .method_not_allowed_fallback(not_allowed)
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
    version: &'static str,
}

async fn health() -> Response {
    problem::json(StatusCode::OK, &Health { status: "ok", version: env!("CARGO_PKG_VERSION") })
}

async fn not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "NotFound", "there is no such route")
}

async fn not_allowed() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "InvalidArgument", "this route knows no such method")
}

async fn only_with_token(State(check): State<Check>, request: Request, next: Next) -> Response {
    if check(request.headers()) {
        return next.run(request).await;
    }
    let problem = Problem::new(StatusCode::UNAUTHORIZED, "AuthenticationFailed", "this route asks for a token")
        .hint("send `Authorization: Bearer TOKEN_ID:TOKEN_SECRET`, or the two as user and password, of a token that the server printed");
    let mut response = problem.answer();
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"compute\""));
    response
}
