//! Faults as a client meets them, over a socket, and the routes that set them.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use axum::body::Body;
use common::{Client, Echo, Running, eventually, routes, soon};
use computesdk_modal_proto::client::{RpcRetryPolicy, RpcStatus};
use computesdk_modal_proto::router::{TaskExecStartRequest, TaskExecStdinStatusRequest, TaskExecStdioReadRequest};
use computesdk_server::fault::{FaultLayer, Faults};
use computesdk_server::front::FrontOptions;
use computesdk_server::http::{Admin, routes as admin};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use prost::Message as _;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tonic::{Code, Status};
use tower::{Layer as _, ServiceExt as _};

/// A server and the rules in force on it.
async fn server(rules: &[&str]) -> (Running, Client, Arc<Faults>) {
    let echo = Arc::new(Echo::default());
    let faults = Faults::new(rules.iter().map(|rule| rule.parse().unwrap()).collect(), Some(1));
    let service = FaultLayer::new(Arc::clone(&faults)).layer(routes(&echo));
    let server = Running::with(echo, service, FrontOptions::default()).await;
    let client = server.client().await;
    (server, client, faults)
}

async fn start(client: &Client) -> Result<(), Status> {
    soon(client.clone().task_exec_start(TaskExecStartRequest::default())).await.map(|_| ())
}

/// Bytes of messages, and how the stream ended.
async fn read(client: &Client, messages: u64) -> (usize, Result<(), Status>) {
    let request = TaskExecStdioReadRequest { offset: messages, ..Default::default() };
    let mut stream = match soon(client.clone().task_exec_stdio_read(request)).await {
        Ok(answer) => answer.into_inner(),
        Err(status) => return (0, Err(status)),
    };
    let mut bytes = 0;
    loop {
        match soon(stream.message()).await {
            Ok(Some(message)) => bytes += message.data.len(),
            Ok(None) => return (bytes, Ok(())),
            Err(status) => return (bytes, Err(status)),
        }
    }
}

#[tokio::test]
async fn a_status_comes_instead_of_the_answer() {
    let (server, client, faults) = server(&[
        "TaskExecStart: status=RESOURCE_EXHAUSTED message=\"too much: é\" retry-after=1.5s times=1",
        "TaskExecStart: status=UNAVAILABLE times=1",
    ])
    .await;
    let status = start(&client).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::ResourceExhausted, "too much: é"));
    let details = RpcStatus::decode(status.details()).unwrap();
    assert_eq!((details.code, details.message.as_str(), details.details.len()), (8, "too much: é", 1));
    assert_eq!(details.details[0].type_url, "type.modal.com/modal.client.RPCRetryPolicy");
    let policy = RpcRetryPolicy::decode(&*details.details[0].value).unwrap();
    assert!((policy.retry_after_secs - 1.5).abs() < 1e-6);
    let status = start(&client).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("injected by the fault rule") && status.details().is_empty(), "{status}");
    assert_eq!(server.echo.calls.load(Ordering::SeqCst), 0);
    start(&client).await.unwrap();
    assert_eq!(faults.report().rules.iter().map(|rule| rule.hits).collect::<Vec<_>>(), [1, 1]);
    server.stop().await;
}

#[tokio::test]
async fn an_answer_comes_late() {
    let (server, client, _) = server(&["TaskExecStart: delay=200ms..300ms"]).await;
    let begin = Instant::now();
    start(&client).await.unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(200));
    server.stop().await;
}

#[tokio::test]
async fn an_answer_breaks_off_at_its_byte() {
    // A message of 1000 bytes takes 1003 with its tag and length.
    let (server, client, faults) = server(&["TaskExecStdioRead: cut-after=5015"]).await;
    for _ in 0..20 {
        let (bytes, end) = read(&client, 100).await;
        assert_eq!((bytes, end.unwrap_err().code()), (5000, Code::Internal));
    }
    let (bytes, end) = read(&client, 4).await;
    assert_eq!((bytes, end.is_ok()), (4000, true));
    // Where the stream is more than what the socket takes at once, the bytes before the cut come all the same.
    faults.set(vec!["*: cut-after=50150000".parse().unwrap()], None);
    let (bytes, end) = read(&client, 60_000).await;
    assert_eq!((bytes, end.unwrap_err().code()), (50_000_000, Code::Internal));
    // The connection is still good.
    faults.clear();
    start(&client).await.unwrap();
    assert_eq!(server.stop().await.accepted, 1);
}

#[tokio::test]
async fn a_call_is_reset_or_its_whole_connection() {
    let (server, client, faults) = server(&["TaskExecStart: reset times=1"]).await;
    assert_eq!(start(&client).await.unwrap_err().code(), Code::Internal);
    start(&client).await.unwrap();
    assert_eq!(server.echo.calls.load(Ordering::SeqCst), 1);
    faults.set(vec!["TaskExecStart: reset=connection times=1".parse().unwrap()], None);
    let waits = tokio::spawn({
        let mut client = client.clone();
        async move { client.task_exec_wait(computesdk_modal_proto::router::TaskExecWaitRequest::default()).await }
    });
    let echo = Arc::clone(&server.echo);
    eventually("the other call is under way", || echo.waiting.load(Ordering::SeqCst) == 1).await;
    start(&client).await.unwrap_err();
    soon(waits).await.unwrap().unwrap_err();
    eventually("its handler has ended", || echo.waiting.load(Ordering::SeqCst) == 0).await;
    start(&client).await.unwrap();
    assert_eq!(server.stop().await.accepted, 2);
}

#[tokio::test]
async fn a_call_hangs_until_the_client_gives_up() {
    let (server, client, faults) = server(&["TaskExecStart: hang"]).await;
    let mut request = tonic::Request::new(TaskExecStartRequest::default());
    request.set_timeout(Duration::from_millis(200));
    let begin = Instant::now();
    soon(client.clone().task_exec_start(request)).await.unwrap_err();
    assert!(begin.elapsed() >= Duration::from_millis(200));
    // What is set anew holds for calls that come then.
    faults.clear();
    start(&client).await.unwrap();
    assert_eq!(server.stop().await.cut, 0, "the call that nobody waits for is gone");
}

#[tokio::test]
async fn an_answer_is_lost_after_the_work_is_done() {
    let (server, client, _) = server(&["*: lose-answer times=2"]).await;
    let status = start(&client).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("was carried out"), "{status}");
    let (bytes, end) = read(&client, 3).await;
    assert_eq!((bytes, end.unwrap_err().code()), (0, Code::Unavailable));
    assert_eq!(server.echo.calls.load(Ordering::SeqCst), 2);
    server.stop().await;
}

#[tokio::test]
async fn an_answer_is_slow() {
    let (server, client, _) = server(&["TaskExecStdioRead: throttle=200kB/s"]).await;
    let begin = Instant::now();
    let (bytes, end) = read(&client, 100).await;
    end.unwrap();
    let took = begin.elapsed().as_secs_f64();
    assert!(bytes == 100_000 && took >= 0.4, "{took}");
    server.stop().await;
}

#[tokio::test]
async fn a_seed_gives_the_same_faults_again() {
    let (server, client, faults) = server(&[]).await;
    let mut runs = Vec::new();
    for seed in [5, 5, 6] {
        faults.set(vec!["*Status: status=UNAVAILABLE p=0.4".parse().unwrap()], Some(seed));
        let mut failed = Vec::new();
        for n in 0..60 {
            // Other calls in between change nothing.
            if seed == 5 && n % 3 == runs.len() {
                start(&client).await.unwrap();
            }
            let called = soon(client.clone().task_exec_stdin_status(TaskExecStdinStatusRequest::default())).await;
            failed.push(called.is_err());
        }
        runs.push(failed);
    }
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2]);
    server.stop().await;
}

/// An answer of the admin routes, without a socket.
async fn ask(faults: &Arc<Faults>, method: Method, path: &str, token: Option<&str>, body: &str) -> (StatusCode, Value) {
    let check =
        Arc::new(|headers: &HeaderMap| headers.get("authorization").is_some_and(|value| value == "Bearer good"));
    let routes = admin(Admin { faults: Arc::clone(faults), check });
    let mut request = Request::builder().method(method).uri(path);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let response = routes.oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
    let status = response.status();
    assert_eq!(response.headers().contains_key("www-authenticate"), status == StatusCode::UNAUTHORIZED);
    assert_eq!(response.headers()["content-type"], "application/json");
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap())
}

#[tokio::test]
async fn rules_are_set_while_it_runs() {
    let faults = Faults::new(Vec::new(), Some(9));
    let good = Some("good");
    let (status, value) = ask(&faults, Method::GET, "/v1/faults", good, "").await;
    assert_eq!((status, value), (StatusCode::OK, json!({"seed": 9, "rules": []})));
    let body = r#"{"rules": ["A*: hang times=2", "B: reset"], "seed": 4}"#;
    let rules = json!([
        {"rule": "A*: hang times=2", "matched": 0, "hits": 0},
        {"rule": "B: reset", "matched": 0, "hits": 0},
    ]);
    let (status, value) = ask(&faults, Method::PUT, "/v1/faults", good, body).await;
    assert_eq!((status, value), (StatusCode::OK, json!({"seed": 4, "rules": rules})));
    for (body, part) in [
        (r#"{"rules": ["C: hang", "D: nonsense"]}"#, "column 4: `nonsense` is unknown"),
        (r#"{"rules": "C: hang"}"#, "not as it should be"),
        (r#"{"rule": ["C: hang"]}"#, "unknown field `rule`"),
        (r#"{"rules": [], "seed": -1}"#, "not as it should be"),
        ("", "not as it should be"),
    ] {
        let (status, value) = ask(&faults, Method::PUT, "/v1/faults", good, body).await;
        let message = value["error"]["message"].as_str().unwrap();
        assert!(status == StatusCode::BAD_REQUEST && message.contains(part), "{value}");
        assert!(value["error"]["kind"] == "InvalidArgument" && value["error"]["hint"].is_string(), "{value}");
    }
    let many = format!(r#"{{"rules": [{}]}}"#, vec![r#""A: hang""#; 300].join(","));
    let (status, _) = ask(&faults, Method::PUT, "/v1/faults", good, &many).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let (status, value) = ask(&faults, Method::PUT, "/v1/faults", good, &" ".repeat(70_000)).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{value}");
    // Whatever was wrong, what was in force stays.
    let (_, value) = ask(&faults, Method::GET, "/v1/faults", good, "").await;
    assert_eq!(value["rules"], rules);
    let (status, value) = ask(&faults, Method::DELETE, "/v1/faults", good, "").await;
    assert_eq!((status, &value["rules"]), (StatusCode::OK, &json!([])));
}

#[tokio::test]
async fn only_a_token_opens_the_routes() {
    let faults = Faults::new(vec!["A: hang".parse().unwrap()], Some(9));
    for token in [None, Some("bad"), Some(""), Some("goo"), Some("good good")] {
        for (method, path) in [
            (Method::GET, "/v1/faults"),
            (Method::PUT, "/v1/faults"),
            (Method::DELETE, "/v1/faults"),
            (Method::POST, "/v1/faults"),
            (Method::GET, "/v1/nothing"),
        ] {
            let (status, value) = ask(&faults, method.clone(), path, token, "").await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{method} {path}");
            assert_eq!(value["error"]["kind"], "AuthenticationFailed");
        }
        let (status, value) = ask(&faults, Method::GET, "/healthz", token, "").await;
        assert_eq!((status, &value["status"]), (StatusCode::OK, &json!("ok")));
        assert_eq!(value["version"], env!("CARGO_PKG_VERSION"));
    }
    assert_eq!(faults.report().rules.len(), 1);
    let good = Some("good");
    for (method, path, expected) in [
        (Method::POST, "/v1/faults", StatusCode::METHOD_NOT_ALLOWED),
        (Method::POST, "/healthz", StatusCode::METHOD_NOT_ALLOWED),
        (Method::GET, "/v1/nothing", StatusCode::NOT_FOUND),
        (Method::GET, "/nothing", StatusCode::NOT_FOUND),
        (Method::GET, "/", StatusCode::NOT_FOUND),
    ] {
        let (status, value) = ask(&faults, method.clone(), path, good, "").await;
        assert_eq!(status, expected, "{method} {path}");
        assert!(value["error"]["message"].is_string());
    }
}
