//! The engine inside of a Python process with forty busy threads: what it does in a process that is not ours to shape.

use crate::leftovers::Before;
use crate::support::{Place, Victim};
use std::process::Command;

/// Forty threads that compute, with and without Python's lock; one that forks and execs all the time; four that make
/// sandboxes.
const PROGRAM: &str = r#"
import ctypes, hashlib, os, subprocess, sys, threading
library = ctypes.CDLL(sys.argv[1])
over = threading.Event()
sys.setswitchinterval(0.0005)

def compute():
    while not over.is_set():
        sum(range(1000))

def digest():
    block = bytes(100_000)
    while not over.is_set():
        hashlib.sha256(block).digest()

def fork():
    while not over.is_set():
        subprocess.run(["/bin/true"], close_fds=False, check=True)

busy = [threading.Thread(target=work, daemon=True) for work in [compute] * 30 + [digest] * 9 + [fork]]
for thread in busy:
    thread.start()
assert library.embedded_start(sys.argv[2].encode(), sys.argv[3].encode()) == 0
failed = []
lock = threading.Lock()
left = [int(sys.argv[4])]

def cycle():
    while True:
        with lock:
            if left[0] == 0:
                return
            left[0] -= 1
        code = library.embedded_cycle()
        if code:
            failed.append(code)
        os.write(1, b"cycle\n")

makers = [threading.Thread(target=cycle) for _ in range(4)]
for maker in makers:
    maker.start()
for maker in makers:
    maker.join()
assert library.embedded_stop() == 0
assert all(thread.is_alive() for thread in busy)
over.set()
for thread in busy:
    thread.join()
print("failed", failed, flush=True)
"#;

const SANDBOXES: usize = 200;

pub(crate) fn in_a_busy_python() {
    if !Command::new("python3").arg("-V").output().is_ok_and(|output| output.status.success()) {
        return println!("skipped: no python3 on PATH");
    }
    // Built by `cargo test` like every example; this program is in deps, beside examples.
    let program = std::env::current_exe().unwrap();
    let library = program.parent().unwrap().with_file_name("examples").join("libembedded.so");
    assert!(library.is_file(), "build it first: cargo build -p computesdk-engine --example embedded");
    let place = Place::new();
    // A cache of its own: seen from another program the image is another one.
    let cache = tempfile::tempdir().unwrap();
    place.next_start();
    let before = Before::look();
    let mut python = Command::new("python3");
    python.arg("-c").arg(PROGRAM).arg(&library).arg(place.state()).arg(cache.path()).arg(SANDBOXES.to_string());
    python.env("TMPDIR", place.tmp());
    // Each line has its deadline: a hang is told from a slow machine.
    let mut python = Victim::start(python);
    for _ in 0..SANDBOXES {
        assert_eq!(python.line(), "cycle");
    }
    assert_eq!(python.line(), "failed []");
    assert!(python.wait().success());
    before.nothing_is_left(&place);
}
