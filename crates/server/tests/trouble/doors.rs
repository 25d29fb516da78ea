//! Who is let in: every RPC, each with every token that is none.

use crate::forge::{self, Forge, now};
use crate::raw;
use crate::rpcs::{CONTROL, Protos, ROUTER, Rpc};
use crate::world::{Headers, Who, World, connect, soon};
use bytes::Bytes;
use computesdk_modal_proto::client::AuthTokenGetRequest;
use secrecy::ExposeSecret as _;
use std::collections::BTreeSet;
use tonic::{Code, Status};

/// What Modal's service has, and this one refuses by name.
const UNSERVED: &str = include_str!("../../src/wire/rpcs.txt");

async fn ask(who: &Who, rpc: &Rpc, headers: &Headers) -> Result<Option<Bytes>, Status> {
    let what = format!("{} with {:?}", rpc.name, headers.0);
    soon(&what, raw::call(&who.channel, &rpc.path(), headers, vec![Bytes::new()])).await
}

async fn auth_token(who: &Who) -> String {
    let answer = soon("a token", who.control().auth_token_get(AuthTokenGetRequest {})).await;
    answer.unwrap().into_inner().token
}

/// Every one of `rpcs` refuses every one of `cases` in one and the same way.
async fn all_refused(who: &Who, rpcs: &[Rpc], cases: &[(&str, Headers)]) {
    let mut said = BTreeSet::new();
    for rpc in rpcs {
        for (case, headers) in cases {
            match ask(who, rpc, headers).await {
                Err(status) if status.code() == Code::Unauthenticated => said.insert(status.message().to_owned()),
                other => panic!("{} with {case}: {other:?}", rpc.name),
            };
        }
    }
    assert_eq!(said.len(), 1, "the same answer for each: {said:?}");
}

async fn all_let_in(who: &Who, rpcs: &[Rpc], cases: &[(&str, Headers)]) {
    for rpc in rpcs {
        for (case, headers) in cases {
            if let Err(status) = ask(who, rpc, headers).await {
                assert_ne!(status.code(), Code::Unauthenticated, "{} with {case}: {status}", rpc.name);
            }
        }
    }
}

pub(crate) async fn control() {
    let world = World::start().await;
    let (own, other) = (&world.own, &world.other);
    let protos = Protos::read();
    let rpcs = protos.of(CONTROL);
    assert!(rpcs.len() > 50, "{}", rpcs.len());
    let forge = Forge::of(&world.dir);
    let sandbox = own.sandbox().await;
    let (auth, others_auth) = (auth_token(own).await, auth_token(other).await);
    let claims = forge::claims(&auth);

    let (id, secret) = (own.token.token_id.clone(), own.token.token_secret.expose_secret().to_owned());
    let others_secret = other.token.token_secret.expose_secret().to_owned();
    let pair = |id: &str, secret: &str| {
        Headers(vec![("x-modal-token-id", id.to_owned()), ("x-modal-token-secret", secret.to_owned())])
    };
    let with_auth = |token: String| {
        let mut headers = pair(&id, &secret);
        headers.0.push(("x-modal-auth-token", token));
        headers
    };
    let changed = |text: &str| {
        let last = if text.ends_with('a') { "b" } else { "a" };
        format!("{}{last}", &text[..text.len() - 1])
    };
    let refused = [
        ("no token", Headers(Vec::new())),
        ("an empty token", pair("", "")),
        ("a wrong secret", pair(&id, &changed(&secret))),
        ("part of the secret", pair(&id, &secret[..secret.len() - 1])),
        ("an empty secret", pair(&id, "")),
        ("an unknown id", pair(&changed(&id), &secret)),
        ("another workspace's secret", pair(&id, &others_secret)),
        ("the id alone", Headers(vec![("x-modal-token-id", id.clone())])),
        ("the secret alone", Headers(vec![("x-modal-token-secret", secret.clone())])),
        ("the auth token alone", Headers(vec![("x-modal-auth-token", auth.clone())])),
        ("the router's token", sandbox.headers()),
        ("an auth token that is over", with_auth(forge.signed(&claims, now() - 1))),
        ("an auth token that says it is not signed", with_auth(forge::none(&claims))),
        ("an auth token that says so and is signed", with_auth(forge.none_but_signed(&claims))),
        ("an auth token by somebody else", with_auth(Forge::stranger().signed(&claims, now() + 3600))),
        ("another workspace's auth token", with_auth(others_auth)),
        ("the router's as an auth token", with_auth(sandbox.jwt.clone())),
        ("an empty auth token", with_auth(String::new())),
    ];
    all_refused(own, &rpcs, &refused).await;
    let unserved =
        UNSERVED.lines().map(|name| Rpc { service: CONTROL.into(), name: name.into(), input: String::new() });
    let unserved: Vec<Rpc> = unserved.filter(|rpc| rpcs.iter().all(|served| served.name != rpc.name)).collect();
    assert!(unserved.len() > 100);
    all_refused(own, &unserved, &refused[..6]).await;
    // With the right ones all of that is answered: it is the tokens that were wrong.
    let let_in = [
        ("its token", own.headers()),
        ("its auth token too", with_auth(auth)),
        ("a forged one", with_auth(forge.signed(&claims, now() + 3600))),
    ];
    all_let_in(own, &rpcs, &let_in).await;
    assert_eq!(own.listed().await, [sandbox.id.as_str()]);
    world.stop().await;
}

pub(crate) async fn router() {
    let world = World::start().await;
    let own = &world.own;
    let rpcs = Protos::read().of(ROUTER);
    assert!(rpcs.len() >= 11, "{}", rpcs.len());
    let forge = Forge::of(&world.dir);
    let sandbox = own.sandbox().await;
    let claims = forge::claims(&sandbox.jwt);
    let bearer = |token: &str| Headers(vec![("authorization", format!("Bearer {token}"))]);
    let (id, secret) = (own.token.token_id.as_str(), own.token.token_secret.expose_secret());
    let mut others = sandbox.headers();
    others.0[0].1 = sandbox.jwt.clone();
    let refused = [
        ("no token", Headers(Vec::new())),
        ("an empty one", Headers(vec![("authorization", String::new())])),
        ("a scheme alone", Headers(vec![("authorization", "Bearer".into())])),
        ("an empty one with a scheme", bearer("")),
        ("no scheme", others),
        ("another scheme", Headers(vec![("authorization", format!("Basic {}", sandbox.jwt))])),
        ("the token of the control plane", own.headers()),
        ("the same as a bearer's", bearer(&format!("{id}:{secret}"))),
        ("an auth token", bearer(&auth_token(own).await)),
        ("a part of it", bearer(&sandbox.jwt[..sandbox.jwt.len() - 1])),
        ("one that is over", bearer(&forge.signed(&claims, now() - 1))),
        ("one that says it is not signed", bearer(&forge::none(&claims))),
        ("one that says so and is signed", bearer(&forge.none_but_signed(&claims))),
        ("one by somebody else", bearer(&Forge::stranger().signed(&claims, now() + 3600))),
    ];
    all_refused(own, &rpcs, &refused).await;
    let let_in = [("its token", sandbox.headers()), ("a forged one", bearer(&forge.signed(&claims, now() + 3600)))];
    all_let_in(own, &rpcs, &let_in).await;
    world.stop().await;
}

/// With a token that is good, so that it is the header that is refused.
pub(crate) async fn megabyte() {
    let world = World::start().await;
    let sandbox = world.own.sandbox().await;
    let junk = "x".repeat(1 << 20);
    for (turn, rpc) in Protos::read().rpcs.iter().enumerate() {
        let (mut headers, token) = if rpc.service == CONTROL {
            (world.own.headers(), "x-modal-auth-token")
        } else {
            (sandbox.headers(), "authorization")
        };
        // In turns, since a megabyte takes its time.
        let name = [token, "x-idempotency-key", "x-whatever"][turn % 3];
        headers.0.retain(|(other, _)| *other != name);
        headers.0.push((name, junk.clone()));
        // Nobody else shares its fate.
        let channel = connect(world.addr).await;
        let answer = soon(&rpc.name, raw::call(&channel, &rpc.path(), &headers, vec![Bytes::new()])).await;
        let refused = answer.expect_err(&rpc.name);
        // The connection goes; whether the client hears why is a matter of time. No handler has a word in it.
        let text = refused.message();
        assert!(text == "h2 protocol error: http2 error" || text == "transport error", "{}: {refused}", rpc.name);
    }
    assert_eq!(world.own.listed().await, [sandbox.id.as_str()]);
    world.stop().await;
}
