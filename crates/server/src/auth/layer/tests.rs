use super::*;
use crate::auth::caller::ClientKind;
use crate::auth::jwt::{AuthClaims, ROUTER_TOKEN_LIFE, RouterClaims};
use crate::state::scratch::Scratch;
use crate::state::tokens::TokenPair;
use http::StatusCode;
use secrecy::ExposeSecret as _;
use std::time::Duration;
use tower::ServiceExt as _;

/// Says whose call it is.
async fn show(request: Request<Body>) -> String {
    let caller = Caller::of(request.extensions()).map(|caller| format!("{caller:?}"));
    let router = RouterCaller::of(request.extensions()).map(|caller| format!("{caller:?}"));
    caller.or(router).unwrap_or_else(|_| "nobody".to_owned())
}

struct Server {
    scratch: Scratch,
    signer: Signer,
    token: TokenPair,
}

impl Server {
    async fn new() -> Self {
        let scratch = Scratch::new().await;
        let signer = Signer::new(scratch.state.signing_key(), ROUTER_TOKEN_LIFE);
        let token = scratch.state.issue_token("team", "test", None).await.unwrap();
        Self { scratch, signer, token }
    }

    fn pair(&self) -> (String, String) {
        (self.token.id.clone(), self.token.secret.expose_secret().to_owned())
    }

    fn auth_token(&self, workspace: &str) -> String {
        self.signer.auth_token(AuthClaims { workspace: workspace.to_owned(), token_id: self.token.id.clone() })
    }

    async fn call(&self, path: &str, headers: &[(&str, &str)]) -> Response<Body> {
        let mut request = Request::post(format!("http://127.0.0.1:80{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let layer = AuthLayer::new(self.scratch.state.clone(), self.signer.clone());
        let routes = axum::Router::new().fallback(show).layer(layer);
        routes.oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    /// What the service was told.
    async fn admitted(&self, path: &str, headers: &[(&str, &str)]) -> String {
        let response = self.call(path, headers).await;
        assert!(!response.headers().contains_key("grpc-status"), "{:?}", response.headers());
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    }

    /// The answer to a call that does not come through, without what says when.
    async fn refused(&self, path: &str, headers: &[(&str, &str)]) -> String {
        let response = self.call(path, headers).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "application/grpc");
        assert_eq!(response.headers()["grpc-status"], "16");
        let message = response.headers()["grpc-message"].to_str().unwrap().to_owned();
        assert!(axum::body::to_bytes(response.into_body(), 1).await.unwrap().is_empty());
        message
    }
}

const CREATE: &str = "/modal.client.ModalClient/SandboxCreateV2";
const START: &str = "/modal.task_command_router.TaskCommandRouter/TaskExecStart";

#[tokio::test]
async fn a_valid_pair_comes_through_with_its_caller() {
    let server = Server::new().await;
    let (id, secret) = server.pair();
    let pair = [("x-modal-token-id", &*id), ("x-modal-token-secret", &*secret)];
    let auth = server.auth_token("team");
    let caller = server.admitted(CREATE, &pair).await;
    assert!(caller.contains(r#"workspace: "team""#) && caller.contains(&id), "{caller}");
    assert!(caller.contains(r#"authority: Some("127.0.0.1:80")"#) && caller.contains("client: Other"), "{caller}");
    assert!(!caller.contains(&secret));
    for (kind, expected) in [("1", ClientKind::Python), ("8", ClientKind::Js), ("9", ClientKind::Go)] {
        let said = [("x-modal-client-type", kind), ("x-modal-client-version", "1.0.0"), ("x-modal-auth-token", &*auth)];
        let caller = server.admitted(CREATE, &[&pair[..], &said].concat()).await;
        assert!(caller.contains(&format!("{expected:?}")) && caller.contains(r#"Some("1.0.0")"#), "{caller}");
    }
    let long = "1".repeat(2000);
    let said = [("x-modal-client-version", &*long), ("x-modal-libmodal-version", &*long), ("x-modal-client-type", "")];
    let caller = server.admitted(CREATE, &[&pair[..], &said].concat()).await;
    assert!(caller.contains("client_version: None") && caller.contains("Other"), "{caller}");
}

#[tokio::test]
async fn whatever_is_wrong_the_answer_is_the_same() {
    let server = Server::new().await;
    let other = server.scratch.state.issue_token("others", "test", None).await.unwrap();
    let expired = server.scratch.state.issue_token("team", "test", Some(Duration::ZERO)).await.unwrap();
    let gone = server.scratch.state.issue_token("team", "test", None).await.unwrap();
    server.scratch.state.revoke_token(&gone.id).await.unwrap();
    let (id, secret) = server.pair();
    let (id, secret) = (&*id, &*secret);
    let large = "x".repeat(1 << 20);
    let (good, theirs) = (server.auth_token("team"), server.auth_token("others"));
    let (good, theirs) = (&*good, &*theirs);
    let router = server.signer.router_token(RouterClaims {
        workspace: "team".to_owned(),
        sandbox_id: "sb-1".to_owned(),
        task_id: "ta-1".to_owned(),
    });
    let none = good.replacen(good.split('.').next().unwrap(), "eyJhbGciOiJub25lIn0", 1);
    let with = |auth| vec![("x-modal-token-id", id), ("x-modal-token-secret", secret), ("x-modal-auth-token", auth)];
    let pair = |id, secret| vec![("x-modal-token-id", id), ("x-modal-token-secret", secret)];
    let calls = [
        Vec::new(),
        vec![("x-modal-token-id", id)],
        vec![("x-modal-token-secret", secret)],
        vec![("x-modal-auth-token", good)],
        vec![("authorization", "Bearer x")],
        pair("", ""),
        pair(id, ""),
        pair("", secret),
        pair(id, "as-0123456789012345678901"),
        pair("ak-0123456789012345678901", secret),
        pair(id, other.secret.expose_secret()),
        pair(&expired.id, expired.secret.expose_secret()),
        pair(&gone.id, gone.secret.expose_secret()),
        pair(id, &large),
        pair(&large, secret),
        pair(id, "\u{e9}"),
        [pair(id, secret), pair(id, secret)].concat(),
        [pair(id, secret), vec![("x-modal-token-secret", "as-0")]].concat(),
        with(""),
        with("x"),
        with(theirs),
        with(&router),
        with(&none),
        with(&large),
        [with(good), vec![("x-modal-auth-token", good)]].concat(),
    ];
    let first = server.refused(CREATE, &calls[0]).await;
    assert!(first.contains("MODAL_TOKEN_ID") && first.contains("MODAL_TOKEN_SECRET"), "{first}");
    for call in &calls {
        let shown: String = format!("{call:?}").chars().take(200).collect();
        assert_eq!(server.refused(CREATE, call).await, first, "{shown}");
    }
    server.admitted(CREATE, &with(good)).await;
}

#[tokio::test]
async fn the_router_takes_its_own_token_alone() {
    let server = Server::new().await;
    let claims =
        || RouterClaims { workspace: "team".to_owned(), sandbox_id: "sb-1".to_owned(), task_id: "ta-1".to_owned() };
    let token = format!("Bearer {}", server.signer.router_token(claims()));
    for token in [token.clone(), token.replacen("Bearer", "bearer", 1)] {
        let caller = server.admitted(START, &[("authorization", &token)]).await;
        assert!(caller.contains(r#"sandbox_id: "sb-1", task_id: "ta-1""#) && caller.contains("team"), "{caller}");
    }
    let ended = Signer::new(server.scratch.state.signing_key(), Duration::ZERO).router_token(claims());
    let (id, secret) = server.pair();
    let large = format!("Bearer {}", "x".repeat(1 << 20));
    let auth = format!("Bearer {}", server.auth_token("team"));
    let pair = format!("Bearer {id}:{secret}");
    let calls = [
        vec![],
        vec![("authorization", "")],
        vec![("authorization", "Bearer ")],
        vec![("authorization", &token["Bearer ".len()..])],
        vec![("authorization", large.as_str())],
        vec![("authorization", auth.as_str())],
        vec![("authorization", pair.as_str())],
        vec![("authorization", token.as_str()), ("authorization", token.as_str())],
        vec![("x-modal-token-id", id.as_str()), ("x-modal-token-secret", secret.as_str())],
    ];
    let first = server.refused(START, &[("authorization", &format!("Bearer {ended}"))]).await;
    for call in &calls {
        assert_eq!(server.refused(START, call).await, first, "{:?}", call.first().map(|(name, _)| name));
    }
    // And the other way round.
    server.refused(CREATE, &[("authorization", &token)]).await;
}

#[tokio::test]
async fn other_paths_are_not_its_business_and_have_no_caller() {
    let server = Server::new().await;
    for path in ["/", "/healthz", "/v1/faults", "/modal.client.Other/X", "/x/modal.client.ModalClient/SandboxCreateV2"]
    {
        let (id, secret) = server.pair();
        let pair = [("x-modal-token-id", &*id), ("x-modal-token-secret", &*secret)];
        assert_eq!(server.admitted(path, &pair).await, "nobody", "{path}");
    }
    for path in ["/modal.client.ModalClient/", "/modal.client.ModalClient/Unknown", "/modal.client.ModalClient/a/b"] {
        server.refused(path, &[]).await;
    }
}

#[tokio::test]
async fn http_routes_take_a_pair_in_two_ways() {
    let server = Server::new().await;
    let (id, secret) = server.pair();
    let whose = |values: &[String]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, value.parse().unwrap());
        }
        bearer(&headers, &server.scratch.state).map(|identity| identity.workspace)
    };
    let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
    let pair = format!("{id}:{secret}");
    let small = basic(&pair).replacen("Basic", "basic", 1);
    for good in [format!("Bearer {pair}"), format!("BEARER  {pair}"), basic(&pair), small] {
        assert_eq!(whose(std::slice::from_ref(&good)).as_deref(), Some("team"), "{good}");
    }
    for bad in [
        String::new(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        format!("Bearer {id}"),
        format!("Bearer {secret}:{id}"),
        format!("Bearer {id}:"),
        format!("Digest {pair}"),
        format!("Basic {pair}"),
        basic(&id),
        basic(&"x".repeat(10_000)),
        format!("Basic {}", STANDARD.encode([0xff, b':', 0xff])),
    ] {
        assert_eq!(whose(std::slice::from_ref(&bad)), None, "{bad}");
    }
    assert_eq!(whose(&[]), None);
    assert_eq!(whose(&[format!("Bearer {pair}"), format!("Bearer {pair}")]), None);
}
