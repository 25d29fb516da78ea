//! The control plane: one connection, the token pair, and the short-lived token that V2 calls want beside it.

use super::channel;
use super::headers;
use super::retry::{Attempt, Backoff};
use super::token::Token;
use crate::config::Settings;
use computesdk_modal_proto::client::modal_client_client::ModalClientClient;
use computesdk_modal_proto::client::{AppGetOrCreateRequest, AuthTokenGetRequest, ObjectCreationType};
use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::OnceCell;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status, Streaming};

/// The stub that calls are made with.
pub(crate) type Client = ModalClientClient<Channel>;

/// How long one attempt of a call may take. Its attempts together: four times as long, and the delays between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Deadline(pub(crate) Duration);

impl Deadline {
    /// Of a call that is answered at once.
    pub(crate) const SHORT: Self = Self(Duration::from_secs(30));
    /// Of one that makes something: images may have to be fetched first.
    pub(crate) const MAKE: Self = Self(Duration::from_secs(300));
    /// Of one that tells who we are.
    const TOKEN: Self = Self(Duration::from_secs(5));
}

/// The connection to the control plane.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) settings: Settings,
    channel: OnceLock<Channel>,
    auth: tokio::sync::Mutex<Option<Token>>,
    app: OnceCell<String>,
    /// Ids of images by what was asked for: they are made once.
    pub(crate) images: Mutex<HashMap<String, Arc<OnceCell<String>>>>,
    /// Connections to routers by their URL: sandboxes on one machine share one.
    routers: Mutex<HashMap<String, Channel>>,
}

impl Control {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            channel: OnceLock::new(),
            auth: tokio::sync::Mutex::default(),
            app: OnceCell::new(),
            images: Mutex::default(),
            routers: Mutex::default(),
        }
    }

    /// Made at the first call: it needs the runtime that it is then used in.
    fn client(&self) -> Result<Client, Status> {
        let channel = match self.channel.get() {
            Some(channel) => channel.clone(),
            None => {
                let made = channel::control(&self.settings.server_url)?;
                self.channel.get_or_init(|| made).clone()
            }
        };
        Ok(ModalClientClient::new(channel)
            .max_decoding_message_size(channel::MAX_MESSAGE)
            .max_encoding_message_size(channel::MAX_MESSAGE))
    }

    /// The connection to a router.
    pub(crate) fn router(&self, url: &str) -> Result<Channel, Status> {
        let mut routers = self.routers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = routers.get(url) {
            return Ok(channel.clone());
        }
        let channel = channel::router(url, &self.settings.server_url)?;
        routers.insert(url.to_owned(), channel.clone());
        Ok(channel)
    }

    /// Makes a call, and again where that may help; all attempts have one key, so that the server does it once.
    pub(crate) async fn call<T, R, F, A>(&self, deadline: Deadline, message: T, call: F) -> Result<R, Status>
    where
        T: Clone,
        F: Fn(Client, Request<T>) -> A,
        A: Future<Output = Result<Response<R>, Status>>,
    {
        let key = key()?;
        let token = self.auth_token(None).await?;
        match self.attempts(deadline, &key, Some(&token), &message, &call).await {
            // The server may have forgotten the token, or its clock may be ahead: once, with a new one.
            Err(status) if status.code() == Code::Unauthenticated => {
                let newer = self.auth_token(Some(&token)).await?;
                self.attempts(deadline, &key, Some(&newer), &message, &call).await
            }
            other => other,
        }
    }

    /// Opens a stream of answers. Streams are not tried again here: whoever reads knows where to go on.
    pub(crate) async fn stream<T, R, F, A>(&self, message: T, call: F) -> Result<Streaming<R>, Status>
    where
        F: FnOnce(Client, Request<T>) -> A,
        A: Future<Output = Result<Response<Streaming<R>>, Status>>,
    {
        let token = self.auth_token(None).await?;
        let mut request = Request::new(message);
        headers::identify(request.metadata_mut(), &self.settings, Some(&token));
        Ok(within(Deadline::SHORT, call(self.client()?, request)).await?.into_inner())
    }

    async fn attempts<T, R, F, A>(
        &self,
        deadline: Deadline,
        key: &MetadataValue<Ascii>,
        auth: Option<&MetadataValue<Ascii>>,
        message: &T,
        call: &F,
    ) -> Result<R, Status>
    where
        T: Clone,
        F: Fn(Client, Request<T>) -> A,
        A: Future<Output = Result<Response<R>, Status>>,
    {
        let client = self.client()?;
        let mut attempt = Attempt::first(Backoff::control());
        loop {
            let mut request = Request::new(message.clone());
            headers::identify(request.metadata_mut(), &self.settings, auth);
            headers::count(&mut request, key, &attempt);
            match within(deadline, call(client.clone(), request)).await {
                Ok(response) => return Ok(response.into_inner()),
                Err(status) => attempt.again(status, self.settings.max_throttle_wait).await?,
            }
        }
    }

    /// The token that is sent with every call, renewed before it expires; another one than `refused`.
    async fn auth_token(&self, refused: Option<&MetadataValue<Ascii>>) -> Result<MetadataValue<Ascii>, Status> {
        // One at a time asks for it, the others then have it too.
        let mut current = self.auth.lock().await;
        if let Some(token) = current.as_ref()
            && !token.is_old()
            && refused.is_none_or(|refused| *refused != token.value)
        {
            return Ok(token.value.clone());
        }
        let get = |mut client: Client, request| async move { client.auth_token_get(request).await };
        let answer = self.attempts(Deadline::TOKEN, &key()?, None, &AuthTokenGetRequest {}, &get).await;
        match (answer, current.as_ref()) {
            (Ok(answer), _) => Ok(current.insert(Token::auth(&answer.token)?).value.clone()),
            // It was only to be renewed, and is still good.
            (Err(_), Some(token)) if refused.is_none() && !token.has_expired() => Ok(token.value.clone()),
            (Err(status), _) => Err(status),
        }
    }

    /// The id of the app that sandboxes are made in; the app is made if it is missing.
    pub(crate) async fn app(&self) -> Result<&str, Status> {
        let make = || async {
            let request = AppGetOrCreateRequest {
                app_name: self.settings.app_name.clone(),
                environment_name: self.settings.environment.clone(),
                object_creation_type: ObjectCreationType::CreateIfMissing.into(),
            };
            let call = |mut client: Client, request| async move { client.app_get_or_create(request).await };
            Ok(self.call(Deadline::SHORT, request, call).await?.app_id)
        };
        self.app.get_or_try_init(make).await.map(String::as_str)
    }
}

fn key() -> Result<MetadataValue<Ascii>, Status> {
    let key = headers::uuid()?;
    MetadataValue::try_from(key).map_err(|_| Status::internal("a UUID is plain text"))
}

/// What a call answers in time.
pub(super) async fn within<R>(deadline: Deadline, call: impl Future<Output = Result<R, Status>>) -> Result<R, Status> {
    match tokio::time::timeout(deadline.0, call).await {
        Ok(answer) => answer,
        Err(_) => Err(Status::deadline_exceeded(format!("no answer within {} s", deadline.0.as_secs_f64()))),
    }
}
