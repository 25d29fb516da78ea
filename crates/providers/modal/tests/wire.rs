//! The rules of the wire, against a server whose answers are chosen here: what every call carries, what is tried again and how, and
//! that no byte is lost or doubled by it.

mod script;

use bytes::Bytes;
use computesdk_core::{
    CreateOptions, EndCause, ErrorKind, ExecOptions, ExitCause, FileUpload, ListFilter, Process, Provider as _,
    Sandbox, SandboxId,
};
use computesdk_modal_proto::client as control;
use computesdk_modal_proto::client::generic_result::GenericStatus;
use computesdk_modal_proto::router;
use prost::Message as _;
use script::{Answer, OLD_SANDBOX, SANDBOX, Script, framed, token};
use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::{Code, Status};

/// Whoever waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("in time")
}

async fn sandbox(script: &Script) -> Arc<dyn Sandbox> {
    soon(script.modal().create(CreateOptions::default())).await.expect("a sandbox")
}

async fn start(sandbox: &Arc<dyn Sandbox>) -> Arc<dyn Process> {
    soon(sandbox.exec(ExecOptions::new(["true"]))).await.expect("a process")
}

async fn read(process: &dyn Process) -> Vec<u8> {
    let mut all = Vec::new();
    soon(process.take_stdout().expect("a pipe").read_to_end(&mut all)).await.expect("readable");
    all
}

#[tokio::test]
async fn every_call_says_who_calls_and_which_attempt_it_is() {
    let script = Script::start().await;
    let sandbox = sandbox(&script).await;
    assert_eq!(script.order(), ["AuthTokenGet", "AppGetOrCreate", "ImageGetOrCreate", "SandboxCreateV2"]);
    let auth = script.calls("AuthTokenGet");
    assert_eq!(auth[0].header("x-modal-auth-token"), None);
    let mut keys = HashSet::new();
    for rpc in ["AuthTokenGet", "AppGetOrCreate", "ImageGetOrCreate", "SandboxCreateV2"] {
        let calls = script.calls(rpc);
        assert_eq!(calls.len(), 1, "{rpc}");
        let header = |name| calls[0].header(name);
        assert_eq!((header("x-modal-token-id"), header("x-modal-token-secret")), (Some("ak-1"), Some("as-s3cret")));
        assert_eq!((header("x-modal-client-type"), header("x-modal-client-version")), (Some("7"), Some("1.0.0")));
        assert!(header("x-modal-libmodal-version").is_some_and(|version| version.starts_with("computesdk-rust/")));
        assert_eq!((header("x-retry-attempt"), header("x-throttle-retry-attempt")), (Some("0"), Some("0")));
        assert_eq!((header("x-retry-delay"), header("grpc-timeout")), (None, None));
        assert!(keys.insert(header("x-idempotency-key").expect("a key").to_owned()), "a key is used twice");
        assert_eq!(header("x-modal-auth-token").is_some(), rpc != "AuthTokenGet", "{rpc}");
    }

    let process = start(&sandbox).await;
    assert_eq!(soon(process.wait()).await.unwrap().code(), 0);
    // To the router goes its own token and nothing that is good elsewhere.
    let calls = script.calls("TaskExecStart");
    assert!(calls[0].header("authorization").is_some_and(|value| value.starts_with("Bearer e30.")));
    for name in ["x-modal-token-id", "x-modal-token-secret", "x-modal-auth-token"] {
        assert_eq!(calls[0].header(name), None);
    }
    let request: router::TaskExecStartRequest = calls[0].message();
    assert_eq!((request.task_id.as_str(), request.exec_id.len()), ("ta-1", 36));
    // The second exec needs nothing but itself.
    start(&sandbox).await;
    assert_eq!(script.calls("SandboxGetCommandRouterAccess").len(), 1);
    assert_eq!(script.calls("SandboxGetTaskIdV2").len(), 0);
    assert_eq!(script.calls("AuthTokenGet").len(), 1);
}

#[tokio::test]
async fn what_is_asked_for_is_on_the_wire() {
    let script = Script::start().await;
    let mut options = CreateOptions::default();
    options.command = Some(vec!["sleep".into(), "1".into()]);
    options.image = Some("debian:12-slim".into());
    options.env.insert("A".into(), "b".into());
    options.metadata.insert("team".into(), "ci".into());
    options.timeout = Some(Duration::from_millis(1500));
    soon(script.modal().create(options)).await.unwrap();
    let app: control::AppGetOrCreateRequest = script.calls("AppGetOrCreate")[0].message();
    assert_eq!((app.app_name.as_str(), app.environment_name.as_str()), ("computesdk-modal", "staging"));
    let image: control::ImageGetOrCreateRequest = script.calls("ImageGetOrCreate")[0].message();
    assert_eq!(image.image.unwrap().dockerfile_commands, ["FROM debian:12-slim"]);
    let request: control::SandboxCreateV2Request = script.calls("SandboxCreateV2")[0].message();
    let definition = request.definition.unwrap();
    assert_eq!((request.app_id.as_str(), definition.image_id.as_str()), ("ap-1", "im-1"));
    assert_eq!((definition.entrypoint_args, definition.timeout_secs), (vec!["sleep".to_owned(), "1".to_owned()], 2));
    assert_eq!((request.tags[0].tag_name.as_str(), request.secret_sources.len()), ("team", 1));
}

#[tokio::test]
async fn a_call_that_fails_is_made_again_with_the_same_key() {
    let script = Script::start().await;
    let mut failures = 3;
    script.on("SandboxCreateV2", move |_| {
        if failures > 0 {
            failures -= 1;
            return Answer::status(Status::unavailable("not now"));
        }
        Answer::message(&control::SandboxCreateV2Response { sandbox_id: SANDBOX.into(), ..Default::default() })
    });
    sandbox(&script).await;
    let calls = script.calls("SandboxCreateV2");
    let attempts: Vec<_> = calls.iter().map(|call| call.header("x-retry-attempt").unwrap()).collect();
    assert_eq!(attempts, ["0", "1", "2", "3"]);
    let keys: HashSet<_> = calls.iter().map(|call| call.header("x-idempotency-key").unwrap()).collect();
    assert_eq!(keys.len(), 1);
    assert!(calls[0].header("x-retry-delay").is_none() && calls[1].header("x-retry-delay").is_some());

    // Four times is enough, and some failures are final at once.
    for (code, attempts, kind) in [
        (Code::Unavailable, 4, ErrorKind::Unavailable),
        (Code::Internal, 4, ErrorKind::Unexpected),
        (Code::InvalidArgument, 1, ErrorKind::InvalidArgument),
        (Code::AlreadyExists, 1, ErrorKind::AlreadyExists),
        (Code::ResourceExhausted, 1, ErrorKind::QuotaExceeded),
        (Code::Unimplemented, 1, ErrorKind::Unsupported),
    ] {
        let script = Script::start().await;
        script.on("SandboxCreateV2", move |_| Answer::status(Status::new(code, "the server's own words")));
        let error = soon(script.modal().create(CreateOptions::default())).await.unwrap_err();
        assert_eq!((error.kind(), script.calls("SandboxCreateV2").len()), (kind, attempts), "{code:?}");
        assert!(error.to_string().contains("the server's own words"), "{error}");
    }
}

#[tokio::test]
async fn the_server_may_ask_to_wait() {
    let script = Script::start().await;
    let mut refusals = 5;
    script.on("SandboxCreateV2", move |_| {
        if refusals > 0 {
            refusals -= 1;
            let policy = control::RpcRetryPolicy { retry_after_secs: 0.12 };
            let detail = prost_types::Any {
                type_url: "type.modal.com/modal.client.RPCRetryPolicy".into(),
                value: policy.encode_to_vec(),
            };
            let details = control::RpcStatus { code: 8, message: String::new(), details: vec![detail] };
            let details = details.encode_to_vec().into();
            return Answer::status(Status::with_details(Code::ResourceExhausted, "slow down", details));
        }
        Answer::message(&control::SandboxCreateV2Response { sandbox_id: SANDBOX.into(), ..Default::default() })
    });
    let started = Instant::now();
    sandbox(&script).await;
    assert!(started.elapsed() >= Duration::from_millis(5 * 120), "it took only {:?}", started.elapsed());
    let calls = script.calls("SandboxCreateV2");
    let last = calls.last().unwrap();
    assert_eq!((last.header("x-throttle-retry-attempt"), last.header("x-retry-attempt")), (Some("5"), Some("0")));
}

#[tokio::test]
async fn auth_tokens_are_renewed() {
    // One that has expired is replaced before each call.
    let script = Script::start().await;
    script.on("AuthTokenGet", |_| Answer::message(&control::AuthTokenGetResponse { token: token(-10) }));
    sandbox(&script).await;
    assert_eq!(script.calls("AuthTokenGet").len(), 3);

    // One that the server does not know any more, once.
    let script = Script::start().await;
    script.on("AuthTokenGet", |_| Answer::message(&control::AuthTokenGetResponse { token: token(1200) }));
    let mut refusals = 1;
    script.on("SandboxCreateV2", move |_| {
        if refusals > 0 {
            refusals -= 1;
            return Answer::status(Status::unauthenticated("who is that?"));
        }
        Answer::message(&control::SandboxCreateV2Response { sandbox_id: SANDBOX.into(), ..Default::default() })
    });
    sandbox(&script).await;
    let calls = script.calls("SandboxCreateV2");
    assert_ne!(calls[0].header("x-modal-auth-token"), calls[1].header("x-modal-auth-token"));
    assert_eq!(calls[0].header("x-idempotency-key"), calls[1].header("x-idempotency-key"));

    // A wrong pair is said to be wrong, without a secret.
    let script = Script::start().await;
    script.on("AuthTokenGet", |_| Answer::status(Status::unauthenticated("unknown token")));
    let error = soon(script.modal().create(CreateOptions::default())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AuthenticationFailed);
    assert!(error.to_string().starts_with("Modal authentication failed"), "{error}");
    assert!(!format!("{error:?} {}", error.report()).contains("s3cret"));
}

#[tokio::test]
async fn router_tokens_are_renewed() {
    let script = Script::start().await;
    let url = format!("https://{}", script.address);
    script.on("SandboxGetCommandRouterAccess", move |_| {
        let access =
            control::SandboxGetCommandRouterAccessResponse { jwt: token(3600), url: url.clone(), ..Default::default() };
        Answer::message(&access)
    });
    let known = Mutex::new(HashSet::new());
    script.on("TaskExecStart", move |call| {
        // The first token that is shown is good once.
        let mut known = known.lock().unwrap();
        let token = call.header("authorization").unwrap().to_owned();
        if known.contains("first") && known.contains(&token) {
            return Answer::status(Status::unauthenticated("expired"));
        }
        if known.is_empty() {
            known.extend(["first".to_owned(), token]);
        }
        Answer::message(&router::TaskExecStartResponse {})
    });
    let sandbox = sandbox(&script).await;
    start(&sandbox).await;
    start(&sandbox).await;
    let calls = script.calls("TaskExecStart");
    let ids: Vec<_> = calls.iter().map(|call| call.message::<router::TaskExecStartRequest>().exec_id).collect();
    assert_eq!(ids.len(), 3);
    assert_eq!(ids[1], ids[2], "the same process is started again");
    assert_eq!(script.calls("SandboxGetCommandRouterAccess").len(), 2);
}

#[tokio::test]
async fn a_stream_goes_on_wherever_it_breaks() {
    let content = "héllo wörld, and more of it";
    let piece = |offset: usize, end: usize| {
        framed(&router::TaskExecStdioReadResponse { data: Bytes::copy_from_slice(&content.as_bytes()[offset..end]) })
    };
    let whole: Bytes = [piece(0, 10), piece(10, content.len())].concat().into();
    let script = Script::start().await;
    let sandbox = sandbox(&script).await;
    for cut in 0..=whole.len() {
        let first = whole.slice(..cut);
        let mut is_first = true;
        script.on("TaskExecStdioRead", move |call| {
            let request: router::TaskExecStdioReadRequest = call.message();
            if request.file_descriptor() == router::TaskExecStdioFileDescriptor::Stderr {
                return Answer::messages([]);
            }
            if std::mem::take(&mut is_first) {
                return Answer::broken_after(first.clone());
            }
            let offset = usize::try_from(request.offset).unwrap();
            Answer::messages((offset < content.len()).then(|| piece(offset, content.len())))
        });
        let process = start(&sandbox).await;
        assert_eq!(read(&*process).await, content.as_bytes(), "broken after {cut} bytes");
    }
}

#[tokio::test]
async fn output_that_cannot_be_had_is_an_error_and_not_an_end() {
    let script = Script::start().await;
    let sandbox = sandbox(&script).await;
    script.on("TaskExecStdioRead", |_| Answer::status(Status::not_found("no such exec")));
    let process = start(&sandbox).await;
    let error = soon(process.take_stdout().unwrap().read_to_end(&mut Vec::new())).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    assert!(error.to_string().contains("no such exec"), "{error}");
}

#[tokio::test]
async fn input_arrives_once_and_in_order() {
    let script = Script::start().await;
    let taken = Arc::new(Mutex::new((Vec::<u8>::new(), false)));
    let server = Arc::clone(&taken);
    let mut calls = 0;
    script.on("TaskExecStdinWrite", move |call| {
        let request: router::TaskExecStdinWriteRequest = call.message();
        let (bytes, closed) = &mut *server.lock().unwrap();
        let offset = usize::try_from(request.offset).unwrap();
        assert!(offset <= bytes.len(), "a gap at {offset}, {} are there", bytes.len());
        // What is there already is passed over.
        bytes.extend(request.data.iter().skip(bytes.len() - offset));
        *closed |= request.eof;
        calls += 1;
        // Every third answer is lost after the work was done.
        if calls % 3 == 0 {
            Answer::status(Status::unavailable("lost"))
        } else {
            Answer::message(&router::TaskExecStdinWriteResponse {})
        }
    });
    let sandbox = sandbox(&script).await;
    let process = start(&sandbox).await;
    let mut stdin = process.take_stdin().unwrap();
    let content: Vec<u8> =
        (0..3_000_000_u32).map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    for part in content.chunks(300_001) {
        soon(stdin.write_all(part)).await.unwrap();
    }
    soon(stdin.flush()).await.unwrap();
    assert!(taken.lock().unwrap().0 == content, "other bytes arrived");
    assert!(!taken.lock().unwrap().1, "it is closed too early");
    soon(stdin.shutdown()).await.unwrap();
    assert!(taken.lock().unwrap().1, "it is not closed");

    // A writer that is dropped has said all that it had to say.
    let process = start(&sandbox).await;
    *taken.lock().unwrap() = (Vec::new(), false);
    let mut stdin = process.take_stdin().unwrap();
    stdin.write_all(b"last words").await.unwrap();
    drop(stdin);
    soon(async {
        while !taken.lock().unwrap().1 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    assert_eq!(taken.lock().unwrap().0, b"last words");
}

#[tokio::test]
async fn a_process_that_reads_no_more_is_a_broken_pipe() {
    let script = Script::start().await;
    script.on("TaskExecStdinWrite", |_| Answer::status(Status::failed_precondition("its input is closed")));
    let sandbox = sandbox(&script).await;
    let mut stdin = start(&sandbox).await.take_stdin().unwrap();
    let written = soon(async {
        stdin.write_all(b"x").await?;
        stdin.flush().await
    });
    assert_eq!(written.await.unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
    // To close what is closed is fine.
    let mut stdin = start(&sandbox).await.take_stdin().unwrap();
    soon(stdin.shutdown()).await.unwrap();
}

#[tokio::test]
async fn the_end_of_a_process_is_asked_for_until_it_comes() {
    use router::task_exec_wait_response::ExitStatus;
    let script = Script::start().await;
    let sandbox = sandbox(&script).await;
    let mut asked = 0;
    script.on("TaskExecWait", move |_| {
        asked += 1;
        match asked {
            1 | 2 => Answer::message(&router::TaskExecWaitResponse { exit_status: None }),
            3 => Answer::status(Status::unavailable("not now")),
            _ => Answer::message(&router::TaskExecWaitResponse { exit_status: Some(ExitStatus::Signal(15)) }),
        }
    });
    let process = start(&sandbox).await;
    let (one, two) = soon(async { tokio::join!(process.wait(), process.wait()) }).await;
    assert_eq!(one.unwrap().cause, ExitCause::Signalled { signal: 15 });
    assert_eq!(two.unwrap().code(), 143);
    assert_eq!(script.calls("TaskExecWait").len(), 4, "however many wait, one asks");

    // One that is gone with its sandbox.
    script.on("TaskExecWait", |_| Answer::status(Status::not_found("no such task")));
    let process = start(&sandbox).await;
    let result = control::GenericResult { status: GenericStatus::Timeout.into(), ..Default::default() };
    script.answer("SandboxWaitV2", control::SandboxWaitResponse { result: Some(result), metadata: None });
    assert_eq!(soon(process.wait()).await.unwrap().cause, ExitCause::SandboxEnded);
    assert_eq!(soon(sandbox.wait()).await.unwrap(), EndCause::TimedOut);
    let error = soon(sandbox.exec(ExecOptions::new([""]))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[tokio::test]
async fn a_create_that_nobody_waits_for_leaves_nothing() {
    let script = Script::start().await;
    let gate = Arc::new(tokio::sync::Notify::new());
    let opened = Arc::clone(&gate);
    let made = control::SandboxCreateV2Response { sandbox_id: SANDBOX.into(), ..Default::default() };
    script.on("SandboxCreateV2", move |_| Answer::once_open(Arc::clone(&opened), &made));
    let modal = script.modal();
    let creating = tokio::spawn(async move { modal.create(CreateOptions::default()).await.map(drop) });
    script.until("SandboxCreateV2", 1).await;
    creating.abort();
    assert!(creating.await.unwrap_err().is_cancelled());
    assert_eq!(script.calls("SandboxTerminateV2").len(), 0);
    gate.notify_one();
    let ended: control::SandboxTerminateRequest = script.until("SandboxTerminateV2", 1).await[0].message();
    assert_eq!(ended.sandbox_id, SANDBOX);
}

#[tokio::test]
async fn files_are_in_place_before_the_main_process_runs() {
    let script = Script::start().await;
    let mut options = CreateOptions::default();
    options.command = Some(vec!["main".into(), "--flag".into()]);
    options.files = vec![FileUpload::new("/a", "content")];
    let sandbox = soon(script.modal().create(options)).await.unwrap();
    let request: control::SandboxCreateV2Request = script.calls("SandboxCreateV2")[0].message();
    let arguments = request.definition.unwrap().entrypoint_args;
    assert_eq!((arguments[0].as_str(), &arguments[4..]), ("sh", &["main".to_owned(), "--flag".to_owned()][..]));
    let order = script.order();
    let last = |rpc: &str| order.iter().rposition(|call| call == rpc).unwrap();
    assert!(last("TaskExecStdinWrite") < last("SandboxStdinWriteV2"), "{order:?}");
    let go: router::SandboxStdinWriteV2Request = script.calls("SandboxStdinWriteV2")[0].message();
    assert_eq!((go.offset, &*go.data, go.eof), (0, &b"\n"[..], false));
    // What the caller writes comes after that.
    let mut stdin = sandbox.main_process().unwrap().take_stdin().unwrap();
    stdin.write_all(b"x").await.unwrap();
    soon(stdin.flush()).await.unwrap();
    let written: router::SandboxStdinWriteV2Request = script.calls("SandboxStdinWriteV2")[1].message();
    assert_eq!((written.offset, &*written.data), (1, &b"x"[..]));

    // A sandbox whose files cannot be put in place is not left behind.
    script.on("TaskExecWait", |_| {
        let exit_status = Some(router::task_exec_wait_response::ExitStatus::Code(1));
        Answer::message(&router::TaskExecWaitResponse { exit_status })
    });
    let mut options = CreateOptions::default();
    options.files = vec![FileUpload::new("/a", "content")];
    let error = soon(script.modal().create(options)).await.unwrap_err();
    assert!(error.to_string().contains("Failed to write file /a"), "{error}");
    assert_eq!(script.calls("SandboxTerminateV2").len(), 1);
}

fn listed(id: &str, created_at: f64, name: &str) -> control::SandboxInfo {
    control::SandboxInfo { id: id.into(), created_at, name: name.into(), timeout_secs: 77, ..Default::default() }
}

#[tokio::test]
async fn lists_are_read_page_by_page() {
    let id = |number: usize| format!("sb-01ARZ3NDEKTSV4RRFFQ69G5FA{number}");
    let script = Script::start().await;
    script.on("SandboxListV2", move |call| {
        let request: control::SandboxListRequest = call.message();
        let before = if request.before_timestamp > 0.0 { request.before_timestamp } else { f64::MAX };
        let older = (0..5).rev().filter(|number| (*number as f64) + 1.0 < before);
        let sandboxes = older.take(2).map(|number| listed(&id(number), number as f64 + 1.0, "")).collect();
        Answer::message(&control::SandboxListResponse { sandboxes })
    });
    let modal = script.modal();
    let all: Vec<_> = soon(modal.list_all(true)).await.unwrap().into_iter().map(|info| info.id.to_string()).collect();
    assert_eq!(all, (0..5).map(id).collect::<Vec<_>>(), "oldest first");
    let request: control::SandboxListRequest = script.calls("SandboxListV2")[0].message();
    assert_eq!(
        (request.app_id.as_str(), request.environment_name.as_str(), request.include_finished),
        ("", "staging", true)
    );
    assert_eq!(script.calls("SandboxListV2").len(), 4, "until an empty page");

    let mut filter = ListFilter::default();
    filter.metadata.insert("team".into(), "ci".into());
    assert_eq!(soon(modal.list(&filter)).await.unwrap().len(), 5);
    let request: control::SandboxListRequest = script.calls("SandboxListV2")[4].message();
    assert_eq!((request.app_id.as_str(), request.tags.len(), request.include_finished), ("ap-1", 1, false));

    // A server that gives one page for ever is not asked for ever.
    script.answer("SandboxListV2", control::SandboxListResponse { sandboxes: vec![listed(SANDBOX, 1.0, "")] });
    assert_eq!(soon(modal.list_all(false)).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_known_of_a_sandbox_is_found_by_the_time_in_its_id() {
    let script = Script::start().await;
    let made = 1_469_922_850.259;
    script.answer("SandboxListV2", control::SandboxListResponse { sandboxes: vec![listed(SANDBOX, made, "box")] });
    let tags = vec![control::SandboxTag { tag_name: "team".into(), tag_value: "ci".into() }];
    script.answer("SandboxTagsGetV2", control::SandboxTagsGetResponse { tags });
    let sandbox = soon(script.modal().get(&SandboxId::new(SANDBOX))).await.unwrap().expect("it is there");
    let info = soon(sandbox.info()).await.unwrap();
    assert_eq!((info.name.as_deref(), info.timeout, info.metadata.len()), (Some("box"), Duration::from_secs(77), 1));
    let request: control::SandboxListRequest = script.calls("SandboxListV2")[0].message();
    assert!((request.before_timestamp - made - 60.0).abs() < 1.0, "{}", request.before_timestamp);
    // What does not change is not asked for twice.
    soon(sandbox.info()).await.unwrap();
    assert_eq!(script.calls("SandboxListV2").len(), 1);

    script.on("SandboxWaitV2", |_| Answer::status(Status::not_found("no")));
    assert!(soon(script.modal().get(&SandboxId::new(SANDBOX))).await.unwrap().is_none());
    let asked = script.order().len();
    assert!(soon(script.modal().get(&SandboxId::new("../../etc"))).await.unwrap().is_none());
    assert_eq!(script.order().len(), asked, "what is no id is not asked for");
}

#[tokio::test]
async fn an_id_of_the_first_generation_has_calls_of_the_first_generation() {
    let script = Script::start().await;
    let mut streams = 0;
    script.on("SandboxGetLogs", move |call| {
        let request: control::SandboxGetLogsRequest = call.message();
        let batch = |text: &str, entry: &str, eof| {
            let items = vec![control::TaskLogs { data: text.into(), ..Default::default() }];
            framed(&control::TaskLogsBatch { items, entry_id: entry.into(), eof, ..Default::default() })
        };
        streams += 1;
        match (streams, request.last_entry_id.as_str()) {
            (1, "0-0") => Answer::messages([batch("one ", "5-0", false)]),
            // Broken: what was on its way may arrive or not, and is asked for again from where it was.
            (2, "5-0") => Answer::broken_after(batch("two ", "9-0", false)),
            (3, "5-0") => Answer::messages([batch("two ", "9-0", false), batch("three", "12-0", true)]),
            (3, "9-0") => Answer::messages([batch("three", "12-0", true)]),
            other => panic!("{other:?}"),
        }
    });
    script.answer("SandboxStdinWrite", control::SandboxStdinWriteResponse {});
    let sandbox = soon(script.modal().get(&SandboxId::new(OLD_SANDBOX))).await.unwrap().expect("it is there");
    let main = sandbox.main_process().unwrap();
    assert_eq!(read(&*main).await, b"one two three");
    let mut stdin = main.take_stdin().unwrap();
    stdin.write_all(b"in").await.unwrap();
    soon(stdin.flush()).await.unwrap();
    soon(stdin.shutdown()).await.unwrap();
    let indices: Vec<_> = script
        .calls("SandboxStdinWrite")
        .iter()
        .map(script::Call::message::<control::SandboxStdinWriteRequest>)
        .map(|request| (request.index, request.eof))
        .collect();
    assert_eq!(indices, [(1, false), (2, true)]);
    let process = start(&sandbox).await;
    assert_eq!(soon(process.wait()).await.unwrap().code(), 0);
    soon(sandbox.terminate()).await.unwrap();
    let order = script.order();
    assert!(!order.iter().any(|rpc| rpc.ends_with("V2")), "{order:?}");
    assert!(order.iter().any(|rpc| rpc == "TaskGetCommandRouterAccess"), "{order:?}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_soon() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut script = Script::start().await;
    script.address = listener.local_addr().unwrap();
    drop(listener);
    let started = Instant::now();
    let error = soon(script.modal().create(CreateOptions::default())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.report().to_lowercase().contains("refused"), "{}", error.report());
    assert!(started.elapsed() < Duration::from_secs(5), "after {:?}", started.elapsed());
}

#[tokio::test]
async fn credentials_are_missed_at_the_first_call() {
    let modal = computesdk_modal::Modal::new(computesdk_modal::ModalConfig::default());
    let error = modal.create(CreateOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::MissingCredentials);
    assert!(error.to_string().starts_with("Missing Modal API credentials"), "{error}");
}
