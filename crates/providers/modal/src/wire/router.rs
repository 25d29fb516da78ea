//! The router of one sandbox: what is said to the machine that it runs on, with a token that is good for this sandbox alone.

use super::channel;
use super::control::{Client, Control, Deadline, within};
use super::family::Family;
use super::headers;
use super::retry::{Attempt, Backoff, retry_after};
use super::token::Token;
use computesdk_modal_proto::client::{
    CommandRouterAccess, SandboxGetCommandRouterAccessRequest, SandboxGetTaskIdRequest,
    TaskGetCommandRouterAccessRequest, sandbox_get_command_router_access_request::Target,
};
use computesdk_modal_proto::router::task_command_router_client::TaskCommandRouterClient;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OnceCell;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status, Streaming};

/// How often, and how many times, it is asked whether a sandbox has been placed on a machine.
const PLACED: (Duration, u32) = (Duration::from_millis(500), 600);

/// The stub that calls are made with.
pub(crate) type RouterClient = TaskCommandRouterClient<Channel>;

/// The way to one sandbox.
#[derive(Debug)]
pub(crate) struct Router {
    pub(crate) control: Arc<Control>,
    pub(crate) sandbox_id: String,
    pub(crate) family: Family,
    task: OnceCell<String>,
    access: tokio::sync::Mutex<Option<Access>>,
    /// Where what goes on in the background runs.
    pub(crate) runtime: tokio::runtime::Handle,
}

#[derive(Debug, Clone)]
struct Access {
    token: Token,
    channel: Channel,
}

impl Router {
    /// The way to this sandbox. Nothing is asked yet. Only within a runtime.
    pub(crate) fn new(control: Arc<Control>, sandbox_id: String, family: Family) -> Self {
        Self {
            control,
            sandbox_id,
            family,
            task: OnceCell::new(),
            access: tokio::sync::Mutex::default(),
            runtime: tokio::runtime::Handle::current(),
        }
    }

    /// Takes what `create` has told already: it need not be asked for.
    pub(crate) fn told(self, task_id: String, access: Option<&CommandRouterAccess>) -> Self {
        if !task_id.is_empty() {
            let _ = self.task.set(task_id);
        }
        let access = access.and_then(|access| self.accessible(&access.jwt, &access.url).ok());
        Self { access: tokio::sync::Mutex::new(access), ..self }
    }

    /// The id of the task that the sandbox is on its machine.
    pub(crate) async fn task(&self) -> Result<&str, Status> {
        self.task.get_or_try_init(|| self.ask_task()).await.map(String::as_str)
    }

    async fn ask_task(&self) -> Result<String, Status> {
        let family = self.family;
        for _ in 0..PLACED.1 {
            let request = SandboxGetTaskIdRequest { sandbox_id: self.sandbox_id.clone(), ..Default::default() };
            let call = move |mut client: Client, request| async move {
                match family {
                    Family::V1 => client.sandbox_get_task_id(request).await,
                    Family::V2 => client.sandbox_get_task_id_v2(request).await,
                }
            };
            let answer = self.control.call(Deadline::SHORT, request, call).await?;
            match answer.task_id {
                Some(task) if !task.is_empty() => return Ok(task),
                _ if answer.task_result.is_some() => {
                    return Err(Status::not_found(format!("sandbox {} ended before it started", self.sandbox_id)));
                }
                _ => tokio::time::sleep(PLACED.0).await,
            }
        }
        Err(Status::deadline_exceeded(format!("sandbox {} was not started in time", self.sandbox_id)))
    }

    fn accessible(&self, jwt: &str, url: &str) -> Result<Access, Status> {
        Ok(Access { token: Token::bearer(jwt)?, channel: self.control.router(url)? })
    }

    /// The token and the connection, renewed before the token expires; another token than `refused`.
    async fn access(&self, refused: Option<&MetadataValue<Ascii>>) -> Result<Access, Status> {
        let mut current = self.access.lock().await;
        if let Some(access) = current.as_ref()
            && !access.token.is_old()
            && refused.is_none_or(|refused| *refused != access.token.value)
        {
            return Ok(access.clone());
        }
        match self.ask_access().await {
            Ok(access) => Ok(current.insert(access).clone()),
            // It was only to be renewed, and is still good.
            Err(status) => match current.as_ref() {
                Some(access) if refused.is_none() && !access.token.has_expired() => Ok(access.clone()),
                _ => Err(status),
            },
        }
    }

    async fn ask_access(&self) -> Result<Access, Status> {
        let (jwt, url) = match self.family {
            Family::V1 => {
                let request = TaskGetCommandRouterAccessRequest { task_id: self.task().await?.to_owned() };
                let call =
                    |mut client: Client, request| async move { client.task_get_command_router_access(request).await };
                let answer = self.control.call(Deadline::SHORT, request, call).await?;
                (answer.jwt, answer.url)
            }
            Family::V2 => {
                let target = Some(Target::SandboxId(self.sandbox_id.clone()));
                let request = SandboxGetCommandRouterAccessRequest { target };
                let call = |mut client: Client, request| async move {
                    client.sandbox_get_command_router_access(request).await
                };
                let answer = self.control.call(Deadline::SHORT, request, call).await?;
                (answer.jwt, answer.url)
            }
        };
        self.accessible(&jwt, &url)
    }

    /// Makes a call, and again where that may help: what is said to a router has its own names and offsets, and twice is once.
    pub(crate) async fn call<T, R, F, A>(&self, deadline: Deadline, message: T, call: F) -> Result<R, Status>
    where
        T: Clone,
        F: Fn(RouterClient, Request<T>) -> A,
        A: Future<Output = Result<Response<R>, Status>>,
    {
        let mut attempt = Attempt::first(Backoff::router());
        let mut refused = None;
        loop {
            let status = match self.once(deadline, refused.as_ref(), message.clone(), &call).await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err((status, Some(token))) if status.code() == Code::Unauthenticated && refused.is_none() => {
                    refused = Some(token);
                    continue;
                }
                Err((status, _)) => status,
            };
            // A router asks to wait with this code alone.
            if retry_after(&status).is_some() && status.code() != Code::ResourceExhausted {
                return Err(status);
            }
            attempt.again(status, self.control.settings.max_throttle_wait).await?;
        }
    }

    /// Makes a call once: for those that wait for long, and know themselves when to ask again.
    pub(crate) async fn poll<T, R, F, A>(&self, deadline: Deadline, message: T, call: F) -> Result<R, Status>
    where
        T: Clone,
        F: Fn(RouterClient, Request<T>) -> A,
        A: Future<Output = Result<Response<R>, Status>>,
    {
        match self.once(deadline, None, message.clone(), &call).await {
            Err((status, Some(token))) if status.code() == Code::Unauthenticated => {
                self.once(deadline, Some(&token), message, &call).await
            }
            other => other,
        }
        .map(Response::into_inner)
        .map_err(|(status, _)| status)
    }

    /// Opens a stream of answers; whoever reads it goes on where it breaks.
    pub(crate) async fn stream<T, R, F, A>(&self, message: T, call: F) -> Result<Streaming<R>, Status>
    where
        T: Clone,
        F: Fn(RouterClient, Request<T>) -> A,
        A: Future<Output = Result<Response<Streaming<R>>, Status>>,
    {
        self.poll(Deadline::SHORT, message, call).await
    }

    /// One attempt; a failure tells which token was used, if it came so far.
    async fn once<T, R, F, A>(
        &self,
        deadline: Deadline,
        refused: Option<&MetadataValue<Ascii>>,
        message: T,
        call: &F,
    ) -> Result<Response<R>, (Status, Option<MetadataValue<Ascii>>)>
    where
        F: Fn(RouterClient, Request<T>) -> A,
        A: Future<Output = Result<Response<R>, Status>>,
    {
        let access = self.access(refused).await.map_err(|status| (status, None))?;
        let client = TaskCommandRouterClient::new(access.channel)
            .max_decoding_message_size(channel::MAX_MESSAGE)
            .max_encoding_message_size(channel::MAX_MESSAGE);
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", access.token.value.clone());
        within(deadline, call(client, request)).await.map_err(|status| (status, Some(access.token.value)))
    }

    /// A name for something that is started once, however often that is asked for.
    pub(crate) fn fresh_id() -> Result<String, Status> {
        headers::uuid()
    }
}
