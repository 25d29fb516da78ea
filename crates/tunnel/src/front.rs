//! The front of a guarded tunnel: it speaks HTTP/1.1, and lets through who shows a token.
//!
//! **Every request is checked.** A connection carries one request: it goes on with `Connection: close`, its body is followed
//! to its end, and whatever the client sends after that is thrown away. So no second request, hidden in the first or sent
//! behind it, reaches the sandbox unseen, with an `X-Verified-User-Data` of its own. Clients make a new connection for the
//! next request, as HTTP asks of them.
//!
//! A WebSocket is the one exception: once the sandbox's server has agreed to it (101), and not before, bytes go through as
//! they are. It outlives its token.

use crate::body::{Body, Framing};
use crate::guard::Guard;
use crate::head::{self, BadHead, Response};
use crate::listen::Shared;
use crate::pass::Pass;
use crate::relay::{FIRST, Failed, pump, read, relay, write};
use crate::side::{Reader, Side, Writer, broken};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

/// For the head of a request.
const HEAD: Duration = Duration::from_secs(10);
/// For the answer to the wish for a WebSocket. Other answers may take as long as they like.
const SWITCH: Duration = Duration::from_secs(60);
/// How long the client may go on sending after the answer. A socket closed with bytes unread is reset, and the client would
/// lose the answer's end.
const LINGER: Duration = Duration::from_secs(2);
/// Answers of the kind "100 Continue" before the real one.
const MOST_INTERIM: usize = 32;

type Refusal = (&'static str, &'static str);

const NO_TOKEN: Refusal = (
    "401 Unauthorized",
    "This port of the sandbox asks for a connect token: `Authorization: Bearer TOKEN`, or `?_modal_connect_token=TOKEN`.",
);
const NO_SERVER: Refusal = ("502 Bad Gateway", "Nothing answers on this port of the sandbox.");
const NO_ANSWER: Refusal = ("502 Bad Gateway", "The server in the sandbox hung up, or its answer is no HTTP/1.1.");
const SLOW: Refusal = ("408 Request Timeout", "The head of the request did not come within 10 s.");
const NO_SWITCH: Refusal =
    ("504 Gateway Timeout", "The server in the sandbox did not answer the WebSocket within 60 s.");

fn refusal(bad: BadHead) -> Refusal {
    match bad {
        BadHead::Malformed(text) => ("400 Bad Request", text),
        BadHead::TooLarge => ("431 Request Header Fields Too Large", "A head has at most 16 KiB and 100 lines here."),
        BadHead::Ended => ("400 Bad Request", "the request ended within its head"),
    }
}

/// One connection, from the first byte to the last.
pub(crate) async fn serve(mut client: Side, shared: &Shared, guard: &Guard, peer: SocketAddr, secure: bool) {
    let mut rest = Vec::new();
    let request = match timeout(HEAD, head::request(&mut client.reader, &mut rest)).await {
        Ok(Ok(Some(request))) => request,
        // Browsers open connections ahead that they never use.
        Ok(Ok(None)) => return client.finish(),
        Ok(Err(bad)) => return refuse(client, refusal(bad)).await,
        Err(_) => return refuse(client, SLOW).await,
    };
    let Some(pass) = Pass::check(guard, &request) else { return refuse(client, NO_TOKEN).await };
    let framing = match request.framing() {
        Ok(framing) => framing,
        Err(bad) => return refuse(client, refusal(bad)).await,
    };
    let Some(mut sandbox) = shared.dial().await else { return refuse(client, NO_SERVER).await };
    let head = pass.forward(&request, peer.ip(), secure).to_bytes();
    if write(&mut sandbox.writer, &head).await.is_err() {
        return refuse(client, NO_ANSWER).await;
    }
    let mut exchange = Exchange { client, sandbox, pass, secure, body: Body::new(framing), rest, first: None };
    if request.wants_websocket() {
        let mut after = Vec::new();
        match timeout(SWITCH, head::response(&mut exchange.sandbox.reader, &mut after)).await {
            Ok(Ok(Some(response))) if response.code == 101 => return exchange.switch(response, &after).await,
            Ok(Ok(Some(response))) => {
                exchange.body = Body::new(Framing::Length(0));
                exchange.first = Some((response, after));
            }
            Ok(_) => return refuse(exchange.client, NO_ANSWER).await,
            Err(_) => return refuse(exchange.client, NO_SWITCH).await,
        }
    }
    exchange.run().await;
}

/// A request on its way, and its answer.
struct Exchange {
    client: Side,
    sandbox: Side,
    pass: Pass,
    secure: bool,
    body: Body,
    /// What came with the request's head.
    rest: Vec<u8>,
    /// The answer's head, and what came with it, where it was read already.
    first: Option<(Response, Vec<u8>)>,
}

enum Outcome {
    Answered,
    /// The sandbox's server gave no answer; nothing of one was sent yet.
    Silent,
    Broken,
}

impl Exchange {
    /// The rest of the connection is a WebSocket's.
    async fn switch(mut self, mut response: Response, after: &[u8]) {
        self.pass.answer(&mut response, self.secure);
        let mut bytes = response.to_bytes();
        bytes.extend_from_slice(after);
        if write(&mut self.client.writer, &bytes).await.is_ok()
            && write(&mut self.sandbox.writer, &self.rest).await.is_ok()
        {
            relay(self.client, self.sandbox).await;
        }
    }

    async fn run(self) {
        let Self { mut client, mut sandbox, pass, secure, body, rest, first } = self;
        let tcp = client.tcp.clone();
        let outcome = {
            // A server that keeps the connection although no WebSocket came of it waits for a request that never comes.
            let hang_up = first.is_some();
            let up = send_body(&mut client.reader, &mut sandbox.writer, body, rest, hang_up);
            let down = answer(&mut sandbox.reader, &mut client.writer, &pass, secure, first);
            tokio::pin!(up, down);
            let mut up_ended = false;
            let outcome = loop {
                tokio::select! {
                    result = &mut up, if !up_ended => match result {
                        Ok(()) => up_ended = true,
                        Err(_) => break Outcome::Broken,
                    },
                    outcome = &mut down => break outcome,
                    () = broken(tcp.as_ref()) => break Outcome::Broken,
                }
            };
            if matches!(outcome, Outcome::Answered) && !up_ended {
                let _ = timeout(LINGER, up).await;
            }
            outcome
        };
        match outcome {
            Outcome::Answered => {
                client.finish();
                sandbox.finish();
            }
            Outcome::Silent => refuse(client, NO_ANSWER).await,
            Outcome::Broken => {}
        }
    }
}

/// Passes the body on, and nothing that follows it; to the client's end. A server that takes no more of it has perhaps
/// answered already: the rest is thrown away, so that the client comes to read that answer.
async fn send_body(
    reader: &mut Reader,
    writer: &mut Writer,
    mut body: Body,
    rest: Vec<u8>,
    hang_up: bool,
) -> Result<(), Failed> {
    let mut open = true;
    if hang_up {
        let _ = writer.shutdown().await;
        open = false;
    }
    let mut filled = rest.len();
    let mut buffer = rest;
    buffer.resize(filled.max(FIRST), 0);
    loop {
        let n = body.take(&buffer[..filled]).map_err(|_| Failed::Read)?;
        if open && n > 0 {
            open = write(writer, &buffer[..n]).await.is_ok();
        }
        filled = read(reader, &mut buffer).await?;
        if filled == 0 {
            if open {
                let _ = writer.shutdown().await;
            }
            return Ok(());
        }
    }
}

/// Passes the answer on, its head with what the tunnel adds.
async fn answer(
    reader: &mut Reader,
    writer: &mut Writer,
    pass: &Pass,
    secure: bool,
    mut first: Option<(Response, Vec<u8>)>,
) -> Outcome {
    let mut buffer = Vec::new();
    let mut begun = false;
    for _ in 0..MOST_INTERIM {
        let mut response = match first.take() {
            Some((response, rest)) => {
                buffer = rest;
                response
            }
            None => match head::response(reader, &mut buffer).await {
                Ok(Some(response)) if response.code != 101 => response,
                // Nobody asked for another protocol, or what came is no answer.
                _ if begun => return Outcome::Broken,
                _ => return Outcome::Silent,
            },
        };
        if response.code < 200 {
            begun = true;
            if write(writer, &response.to_bytes()).await.is_err() {
                return Outcome::Broken;
            }
            continue;
        }
        pass.answer(&mut response, secure);
        let mut bytes = response.to_bytes();
        bytes.append(&mut buffer);
        if write(writer, &bytes).await.is_err() || pump(reader, writer).await.is_err() {
            return Outcome::Broken;
        }
        return Outcome::Answered;
    }
    Outcome::Broken
}

/// Says no in one sentence, and hangs up.
async fn refuse(mut client: Side, (status, text): Refusal) {
    let challenge = if status.starts_with("401") { "WWW-Authenticate: Bearer\r\n" } else { "" };
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n{challenge}\
         Cache-Control: no-store\r\nConnection: close\r\n\r\n{text}\n",
        text.len() + 1
    );
    let said = async {
        write(&mut client.writer, answer.as_bytes()).await?;
        client.writer.shutdown().await.map_err(|_| Failed::Write)?;
        let mut sink: Writer = Box::new(tokio::io::sink());
        pump(&mut client.reader, &mut sink).await
    };
    let _ = timeout(LINGER, said).await;
    client.finish();
}
