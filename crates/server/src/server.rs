//! All rooms put together.

use crate::ServerOptions;
use crate::auth::{AuthLayer, Signer, bearer};
use crate::fault::{FaultLayer, Faults};
use crate::front::{self, ServeReport};
use crate::http::{Admin, Check, routes, tokens};
use crate::live::output::Spool;
use crate::live::table::Quota;
use crate::state::{State, StateError, StateOptions};
use crate::unserved::NameUnserved;
use crate::wire::{Control, Host, HostOptions, Router, end_all};
use axum::body::Body;
use computesdk_core::Provider;
use computesdk_modal_proto::client::modal_client_server::ModalClientServer;
use computesdk_modal_proto::router::task_command_router_server::TaskCommandRouterServer;
use http::Request;
use secrecy::SecretString;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tower::{Layer as _, ServiceExt as _};

/// The most that a client sends or takes in one message: what Modal's own clients allow (modal-wire notes, 2.4).
const MOST_MESSAGE: usize = 100 << 20;
/// The workspace of those who have a token from the server's start.
pub(crate) const WORKSPACE: &str = "local";
/// How long the sandboxes may take to end when the server stops.
const ENDING: Duration = Duration::from_secs(20);
/// Ended sandboxes that are remembered in each workspace.
const REMEMBERED: usize = 100_000;
/// The smallest sensible cap: the memory of a stream, and room for what leaves it.
const LEAST_SPOOL: u64 = 4 << 20;

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct ServerError(#[from] StateError);

/// What a client shows to be let in.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// For `MODAL_TOKEN_ID`.
    pub token_id: String,
    /// For `MODAL_TOKEN_SECRET`.
    pub token_secret: SecretString,
}

/// Modal's API in front of a provider, ready to be served.
///
/// One state folder has one server at a time. Dropping it before [`serve`](Self::serve) lets the folder go.
pub struct Server {
    provider: Arc<dyn Provider>,
    state: State,
    faults: Arc<Faults>,
    options: ServerOptions,
    lost: usize,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("provider", &self.provider)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Takes the state folder. Sandboxes that a server before this one left without an end are marked as lost with it.
    ///
    /// # Errors
    /// [`ServerError`], each with what to do: another server has the folder; it cannot be read or written; it is from a newer version;
    /// it is damaged.
    pub async fn open(provider: Arc<dyn Provider>, mut options: ServerOptions) -> Result<Self, ServerError> {
        options.spool_cap = options.spool_cap.max(LEAST_SPOOL);
        let place = StateOptions { dir: options.state_dir.clone(), key: options.key_file.clone() };
        let state = State::open(place).await?;
        let lost = state.mark_lost("the server that it ran under ended").await?.len();
        state.prune(REMEMBERED).await?;
        let faults = Faults::new(options.faults.clone(), options.fault_seed);
        Ok(Self { provider, state, faults, options, lost })
    }

    /// How many sandboxes were found to have ended with the server before this one.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.lost
    }

    /// The fault rules, to be changed while the server runs.
    #[must_use]
    pub fn faults(&self) -> Arc<Faults> {
        Arc::clone(&self.faults)
    }

    /// A fresh token. It stays valid in this state folder, also after a restart: of those that were issued so, the last 32.
    ///
    /// # Errors
    /// [`ServerError`] if it cannot be stored.
    pub async fn issue_token(&self) -> Result<Credentials, ServerError> {
        self.issue_token_in(WORKSPACE, "start").await
    }

    /// A token of another workspace, whose sandboxes, apps and secrets are its own.
    ///
    /// # Errors
    /// [`ServerError`] if it cannot be stored.
    pub async fn issue_token_for(&self, workspace: &str) -> Result<Credentials, ServerError> {
        self.issue_token_in(workspace, "issued").await
    }

    async fn issue_token_in(&self, workspace: &str, note: &str) -> Result<Credentials, ServerError> {
        let pair = self.state.issue_token(workspace, note, None).await?;
        Ok(Credentials { token_id: pair.id, token_secret: pair.secret })
    }

    /// Serves on this listener until `stop`, then lets calls that are under way finish, ends every sandbox that it made, and returns. All
    /// of it is bounded in time.
    pub async fn serve(self, listener: TcpListener, stop: impl Future<Output = ()>) -> ServeReport {
        let local = listener.local_addr().unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)));
        let signer = Signer::new(self.state.signing_key(), self.options.router_token_life);
        let host_options = HostOptions {
            router_url: format!("https://{local}"),
            quota: Quota { total: self.options.max_sandboxes, per_token: self.options.max_sandboxes_per_token },
            spool: Spool { dir: self.options.spool_dir.clone(), cap: self.options.spool_cap },
        };
        let host = Host::new(self.provider, self.state.clone(), signer.clone(), host_options);

        let control = ModalClientServer::new(Control(Arc::clone(&host)))
            .max_decoding_message_size(MOST_MESSAGE)
            .max_encoding_message_size(MOST_MESSAGE);
        let router = TaskCommandRouterServer::new(Router(Arc::clone(&host)))
            .max_decoding_message_size(MOST_MESSAGE)
            .max_encoding_message_size(MOST_MESSAGE);
        let grpc = tonic::service::Routes::new(control).add_service(router).prepare().into_axum_router();
        let grpc = FaultLayer::new(self.faults.clone()).layer(NameUnserved.layer(grpc));
        let grpc = AuthLayer::new(self.state.clone(), signer).layer(grpc);
        let state = self.state.clone();
        // Faults and tokens are everybody's: whoever was only let in to a workspace of another name does not touch them.
        let check: Check = Arc::new(move |headers: &http::HeaderMap| {
            bearer(headers, &state).is_some_and(|who| who.workspace == WORKSPACE)
        });
        let tokens = tokens::routes(self.state.clone(), Arc::clone(&check));
        let admin = routes(Admin { faults: self.faults, check }).merge(tokens);
        let service = tower::service_fn(move |request: Request<Body>| {
            let (grpc, admin) = (grpc.clone(), admin.clone());
            let path = tracing::enabled!(tracing::Level::DEBUG).then(|| request.uri().path().to_owned());
            let begun = Instant::now();
            async move {
                let answer =
                    if front::is_grpc(&request) { grpc.oneshot(request).await } else { admin.oneshot(request).await };
                if let (Some(path), Ok(answer)) = (path, &answer) {
                    let grpc = answer.headers().get("grpc-status").and_then(|status| status.to_str().ok());
                    tracing::debug!(path, status = answer.status().as_u16(), grpc, took = ?begun.elapsed(), "call");
                }
                answer
            }
        });

        // The sandboxes end while the calls under way may go on: those that wait for an end, or read output, then have it.
        let (told, stopping) = oneshot::channel();
        let ending = async {
            let _ = stopping.await;
            end_in_time(&host).await;
        };
        let stop = async {
            stop.await;
            let _ = told.send(());
        };
        let (report, ()) = tokio::join!(front::serve(listener, service, self.options.front, stop), ending);
        // What was still being made then.
        end_in_time(&host).await;
        report
    }
}

async fn end_in_time(host: &Arc<Host>) {
    if timeout(ENDING, end_all(host)).await.is_err() {
        tracing::error!("not every sandbox has ended in {ENDING:?}");
    }
}
