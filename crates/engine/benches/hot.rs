//! The functions that every create, exec and file call goes through.
//!
//! ```text
//! cargo bench -p computesdk-engine                        times, by criterion
//! COMPUTESDK_COUNT=decode_exec=1000 <the built program>   that often and nothing else, for programs that count instructions
//! ```
//!
//! The second form is `./ci bench`'s: the number of instructions of a function does not depend on the machine's load.

#![allow(missing_docs, reason = "a program, not an API")]

use computesdk_guest_protocol::agent::{Answer, Ask, Exec, Exit, FromAgent, Stdio, ToAgent, Usage};
use computesdk_guest_protocol::packet::{Packet, receive};
use computesdk_guest_protocol::{Envelope, decode, encode};
use criterion::Criterion;
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::hint::black_box;
use std::process::ExitCode;

// The policy is the engine's own business; these are its sources themselves.
#[allow(dead_code, unreachable_pub, reason = "the engine uses all of it")]
#[path = "../src/policy/seccomp.rs"]
mod seccomp;
#[allow(dead_code, unreachable_pub, reason = "the engine uses all of it")]
#[path = "../src/policy/syscalls.rs"]
mod syscalls;

/// One function, ready to be called.
type Call = Box<dyn FnMut()>;

/// What is measured, by name.
fn functions() -> Vec<(&'static str, Call)> {
    let exec = exec();
    let inside = inline(&exec);
    let exited = inline(&FromAgent::Exited { exec: 7, exit: Exit::Code(0), usage: Usage::default() });
    let garbage: Vec<u8> = (0..4096_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let small = FromAgent::Answer { call: 7, answer: Answer::Done };
    let open = ToAgent::Ask { call: 7, ask: Ask::MakeDir { path: b"/root/project/src".to_vec() } };
    let (one, other) = pair();
    let (read, _write) = rustix::pipe::pipe().expect("a pipe");
    let mut buffer = Vec::new();
    vec![
        ("encode_exec", Box::new(move || drop(black_box(encode(&Envelope::Inline(black_box(&exec))))))),
        ("decode_exec", Box::new(move || drop(black_box(decode::<Envelope<ToAgent>>(black_box(&inside)))))),
        ("decode_exited", Box::new(move || drop(black_box(decode::<Envelope<FromAgent>>(black_box(&exited)))))),
        ("decode_garbage", Box::new(move || drop(black_box(decode::<Envelope<FromAgent>>(black_box(&garbage)))))),
        ("encode_answer", Box::new(move || drop(black_box(encode(&Envelope::Inline(black_box(&small))))))),
        (
            "packet_with_descriptor",
            Box::new(move || {
                let packet = Packet::new(black_box(&open)).expect("a packet");
                packet.send(&one, &[read.as_fd()]).expect("room");
                drop(black_box(receive::<ToAgent>(&other, &mut buffer).expect("the packet")));
            }),
        ),
        ("build_filters", Box::new(|| drop(black_box(seccomp::build().expect("the tables are sound"))))),
    ]
}

/// What `run_command` sends.
fn exec() -> ToAgent {
    let bytes = |words: &[&str]| words.iter().map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>();
    ToAgent::Exec(Exec {
        exec: 7,
        argv: bytes(&["python3", "-c", "print(6 * 7)"]),
        env: bytes(&["LANG=C.UTF-8", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "MODE=test"]),
        cwd: b"/root".to_vec(),
        user: None,
        pty: None,
        stdio: [Stdio::Null, Stdio::Passed, Stdio::Passed],
        open_files: 0,
        group: false,
    })
}

fn inline<T: serde::Serialize>(message: &T) -> Vec<u8> {
    encode(&Envelope::Inline(message)).expect("it can be encoded")
}

fn pair() -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).expect("a pair of sockets")
}

fn main() -> ExitCode {
    let Ok(wanted) = std::env::var("COMPUTESDK_COUNT") else {
        let mut criterion = Criterion::default().configure_from_args();
        for (name, mut call) in functions() {
            criterion.bench_function(name, |bencher| bencher.iter(&mut call));
        }
        criterion.final_summary();
        return ExitCode::SUCCESS;
    };
    if wanted == "list" {
        #[allow(clippy::print_stdout, reason = "a program's output")]
        for (name, _) in functions() {
            println!("{name}");
        }
        return ExitCode::SUCCESS;
    }
    let (name, count) = wanted.split_once('=').unwrap_or((&wanted, "1"));
    let Some((_, mut call)) = functions().into_iter().find(|(known, _)| *known == name) else {
        return ExitCode::FAILURE;
    };
    let Ok(count) = count.parse::<u32>() else { return ExitCode::FAILURE };
    for _ in 0..count {
        call();
    }
    ExitCode::SUCCESS
}
