//! A client of a server, with the calls that the tests make.

use crate::common::PATIENCE;
use computesdk_modal_proto::client::{
    AppGetOrCreateRequest, ObjectCreationType, Sandbox as Definition, SandboxCreateV2Request, SandboxCreateV2Response,
    SandboxListRequest, SandboxTag, SandboxWaitRequest, SecretGetOrCreateRequest, generic_result::GenericStatus,
    modal_client_client::ModalClientClient,
};
use computesdk_modal_proto::router::{
    TaskExecStartRequest, TaskExecStdioReadRequest, task_command_router_client::TaskCommandRouterClient,
};
use std::collections::BTreeSet;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Status};

/// With the deadline of all tests.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(2 * PATIENCE, future).await.expect("it is answered in time")
}

#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) channel: Channel,
    pub(crate) token: (String, String),
}

impl Client {
    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let headers = [("x-modal-token-id", &self.token.0), ("x-modal-token-secret", &self.token.1)];
        for (name, value) in headers {
            request.metadata_mut().insert(name, AsciiMetadataValue::try_from(value.as_str()).expect("ASCII"));
        }
        request
    }

    pub(crate) fn control(&self) -> ModalClientClient<Channel> {
        ModalClientClient::new(self.channel.clone())
    }

    pub(crate) async fn app(&self, create: bool) -> Result<String, Status> {
        let create = if create { ObjectCreationType::CreateIfMissing } else { ObjectCreationType::Unspecified };
        let request = AppGetOrCreateRequest {
            app_name: "crash".into(),
            object_creation_type: create.into(),
            ..Default::default()
        };
        soon(self.control().app_get_or_create(self.request(request))).await.map(|app| app.into_inner().app_id)
    }

    pub(crate) async fn secret(&self, name: &str, value: Option<&str>) -> Result<String, Status> {
        let create =
            if value.is_some() { ObjectCreationType::CreateIfMissing } else { ObjectCreationType::Unspecified };
        let request = SecretGetOrCreateRequest {
            deployment_name: name.into(),
            object_creation_type: create.into(),
            env_dict: value.into_iter().map(|value| (String::from("KEPT"), value.to_owned())).collect(),
            ..Default::default()
        };
        soon(self.control().secret_get_or_create(self.request(request))).await.map(|made| made.into_inner().secret_id)
    }

    pub(crate) async fn create(
        &self,
        app_id: &str,
        name: &str,
        argv: &[&str],
    ) -> Result<SandboxCreateV2Response, Status> {
        let definition = Definition {
            entrypoint_args: argv.iter().map(|word| (*word).to_owned()).collect(),
            timeout_secs: 600,
            name: Some(name.to_owned()),
            ..Default::default()
        };
        let request = SandboxCreateV2Request {
            app_id: app_id.into(),
            definition: Some(definition),
            tags: vec![SandboxTag { tag_name: "name".into(), tag_value: name.into() }],
            ..Default::default()
        };
        let mut request = self.request(request);
        request.metadata_mut().insert("x-idempotency-key", format!("key-of-{name}").parse().expect("ASCII"));
        soon(self.control().sandbox_create_v2(request)).await.map(tonic::Response::into_inner)
    }

    /// Starts a process in there.
    pub(crate) async fn exec(&self, sandbox: &SandboxCreateV2Response, argv: &[&str]) -> TaskExecStdioReadRequest {
        let mut router = TaskCommandRouterClient::new(self.channel.clone());
        let exec_id = format!("exec-of-{}", sandbox.sandbox_id);
        let request = TaskExecStartRequest {
            task_id: sandbox.task_id.clone(),
            exec_id: exec_id.clone(),
            command_args: argv.iter().map(|word| (*word).to_owned()).collect(),
            stdout_config: 1,
            stderr_config: 1,
            ..Default::default()
        };
        soon(router.task_exec_start(routed(request, sandbox))).await.expect("it starts");
        TaskExecStdioReadRequest { task_id: sandbox.task_id.clone(), exec_id, ..Default::default() }
    }

    /// What a process writes until its end.
    pub(crate) async fn output(&self, sandbox: &SandboxCreateV2Response, exec: TaskExecStdioReadRequest) -> String {
        let mut router = TaskCommandRouterClient::new(self.channel.clone());
        let mut stream =
            soon(router.task_exec_stdio_read(routed(exec, sandbox))).await.expect("it is there").into_inner();
        let mut found = Vec::new();
        while let Some(message) = soon(stream.message()).await.expect("output") {
            found.extend_from_slice(&message.data);
        }
        String::from_utf8(found).expect("text")
    }

    /// Status and exception of one that has ended; none for one that runs.
    pub(crate) async fn end_of(&self, sandbox_id: &str) -> Option<(GenericStatus, String)> {
        let request = SandboxWaitRequest { sandbox_id: sandbox_id.into(), timeout: 0.0 };
        let waited = soon(self.control().sandbox_wait_v2(self.request(request))).await.expect("it is known");
        waited.into_inner().result.map(|result| (result.status(), result.exception))
    }

    pub(crate) async fn listed(&self, include_finished: bool) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut before = 0.0;
        loop {
            let request = SandboxListRequest { include_finished, before_timestamp: before, ..Default::default() };
            let page = soon(self.control().sandbox_list_v2(self.request(request))).await.expect("a list").into_inner();
            let Some(last) = page.sandboxes.last() else { return found };
            before = last.created_at;
            found.extend(page.sandboxes.into_iter().map(|sandbox| sandbox.id));
        }
    }
}

pub(crate) fn routed<T>(message: T, sandbox: &SandboxCreateV2Response) -> Request<T> {
    let mut request = Request::new(message);
    let jwt = &sandbox.command_router_access.as_ref().expect("access").jwt;
    request.metadata_mut().insert("authorization", format!("Bearer {jwt}").parse().expect("ASCII"));
    request
}
