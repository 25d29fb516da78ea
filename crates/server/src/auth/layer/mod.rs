//! The layer before both gRPC services. It looks at headers alone, so a call that is refused costs no memory for its body.

#[cfg(test)]
mod tests;

use super::caller::{self, Caller, RouterCaller};
use super::jwt::Signer;
use crate::state::{Identity, State};
use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::{Either, Ready, ready};
use http::{HeaderMap, Request, Response, header};
use std::task::{Context, Poll};
use tonic::Status;
use tower::{Layer, Service};

const CONTROL: &str = "/modal.client.ModalClient/";
const ROUTER: &str = "/modal.task_command_router.TaskCommandRouter/";
const TOKEN_ID: &str = "x-modal-token-id";
const TOKEN_SECRET: &str = "x-modal-token-secret";
const AUTH_TOKEN: &str = "x-modal-auth-token";

/// Ids and secrets have 25 bytes.
const MOST_CREDENTIAL: usize = 256;
const MOST_TOKEN: usize = 4096;

const NO_TOKEN: &str = "no valid credentials for this server: set MODAL_TOKEN_ID and MODAL_TOKEN_SECRET to what \
                        `compute serve` printed when it started";
const NO_ROUTER_TOKEN: &str = "no valid token for this sandbox: ask for access to it again";

/// Lets through who has a valid token, with a [`Caller`] or a [`RouterCaller`] in the request's extensions. Other paths
/// than those of the two services go through as they are.
#[derive(Debug, Clone)]
pub(crate) struct AuthLayer {
    state: State,
    signer: Signer,
}

impl AuthLayer {
    pub(crate) fn new(state: State, signer: Signer) -> Self {
        Self { state, signer }
    }

    /// Adds who calls, or says why it cannot be told.
    fn admit<B>(&self, request: &mut Request<B>) -> Result<(), Status> {
        let path = request.uri().path();
        if path.starts_with(CONTROL) {
            let caller = self.caller(request).ok_or_else(|| Status::unauthenticated(NO_TOKEN))?;
            request.extensions_mut().insert(caller);
        } else if path.starts_with(ROUTER) {
            let caller = self.router_caller(request.headers());
            let caller = caller.ok_or_else(|| Status::unauthenticated(NO_ROUTER_TOKEN))?;
            request.extensions_mut().insert(caller);
        }
        Ok(())
    }

    fn caller<B>(&self, request: &Request<B>) -> Option<Caller> {
        let headers = request.headers();
        let id = single(headers, TOKEN_ID, MOST_CREDENTIAL)?;
        let secret = single(headers, TOKEN_SECRET, MOST_CREDENTIAL)?;
        let Identity { token_id, workspace } = self.state.verify(id, secret)?;
        // Never instead of the pair; but one that is sent must be right.
        if headers.contains_key(AUTH_TOKEN) {
            let claims = self.signer.verify_auth(single(headers, AUTH_TOKEN, MOST_TOKEN)?).ok()?;
            if claims.workspace != workspace {
                return None;
            }
        }
        let (client, client_version) = caller::client(headers);
        let authority = caller::authority(request.uri(), headers);
        Some(Caller { workspace, token_id, client, client_version, authority })
    }

    fn router_caller(&self, headers: &HeaderMap) -> Option<RouterCaller> {
        let (scheme, token) = scheme_of(headers)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let claims = self.signer.verify_router(token).ok()?;
        Some(RouterCaller { workspace: claims.workspace, sandbox_id: claims.sandbox_id, task_id: claims.task_id })
    }
}

/// Whose request this is, for HTTP routes: `Authorization: Bearer ak-…:as-…`, or Basic with the id as the user and the
/// secret as the password.
pub(crate) fn bearer(headers: &HeaderMap, state: &State) -> Option<Identity> {
    let (scheme, credentials) = scheme_of(headers)?;
    let verify = |pair: &str| pair.split_once(':').and_then(|(id, secret)| state.verify(id, secret));
    if credentials.len() > 2 * MOST_CREDENTIAL {
        None
    } else if scheme.eq_ignore_ascii_case("bearer") {
        verify(credentials)
    } else if scheme.eq_ignore_ascii_case("basic") {
        verify(std::str::from_utf8(&STANDARD.decode(credentials).ok()?).ok()?)
    } else {
        None
    }
}

/// The two words of the one `authorization` header.
fn scheme_of(headers: &HeaderMap) -> Option<(&str, &str)> {
    let (scheme, rest) = single(headers, header::AUTHORIZATION.as_str(), MOST_TOKEN + 16)?.split_once(' ')?;
    Some((scheme, rest.trim_matches(' ')))
}

/// The value of a header that is there once, and not too long.
fn single<'a>(headers: &'a HeaderMap, name: &str, most: usize) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() || value.len() > most {
        return None;
    }
    value.to_str().ok()
}

impl<S> Layer<S> for AuthLayer {
    type Service = AuthService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        AuthService { inner, layer: self.clone() }
    }
}

/// A service behind an [`AuthLayer`].
#[derive(Debug, Clone)]
pub(crate) struct AuthService<S> {
    inner: S,
    layer: AuthLayer,
}

impl<S, B> Service<Request<B>> for AuthService<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<Ready<Result<Response<Body>, S::Error>>, S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        match self.layer.admit(&mut request) {
            Ok(()) => Either::Right(self.inner.call(request)),
            Err(status) => {
                tracing::debug!(path = request.uri().path(), "a call without a valid token");
                Either::Left(ready(Ok(status.into_http())))
            }
        }
    }
}
