//! Code inside swaps directories, files, FIFOs and links under the feet of every file call, while a file planted on the
//! host, where those links would lead if anything were resolved outside, must be neither read nor changed.
//!
//! Ten seconds; `COMPUTESDK_SOAK=SECONDS` makes it longer. The choices of each task follow from a printed seed.
//!
//! Needs user namespaces and a Python for the attacker; without them it says so and passes.

#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs)]

use computesdk_engine::{Engine, EngineError, EngineOptions, ExecSpec, FileKind, Open, Sandbox, SandboxSpec};
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};
use tokio::io::AsyncReadExt as _;

/// No call takes longer, whatever the code inside does. The agent answers in microseconds; the machine may be busy.
const WITHIN: Duration = Duration::from_secs(30);

/// The planted file's, and of nothing else: seen inside, the wall is broken.
const SIZE: u64 = 7_654_321;
const MODE: u32 = 0o604;

/// Swaps `x`, a directory or a link to a root, and `y`, a file or a link to what is worth having, without a pause.
const ATTACKER: &str = r#"
import ctypes, os, select, shutil, sys, threading
libc = ctypes.CDLL(None)
host = sys.argv[1]  # the planted directory's path on the host
up = "../" * 12
roots = ["/proc/self/root", "/proc/1/root", "/proc/thread-self/root", "/proc/1/task/1/root", "/proc/1/cwd", "/" + up, up, "/"]
places = [host, host + "/planted", "/proc/1/root" + host + "/planted", up + host[1:] + "/planted", "/proc/1/fd/3",
          "/proc/self/fd/0", "/proc/self/mem", "/dev/zero", "/tmp/r/fifo", "/tmp/r/y"]

def directory(path):
    os.makedirs(path + host)
    regular(path + host + "/planted")

def regular(path):
    with open(path, "w") as file:
        file.write("inside")

def put(name, make, argument):
    """Makes it under another name, and exchanges the two: renameat2(2) with RENAME_EXCHANGE."""
    other = name + ".new"
    if os.path.isdir(other) and not os.path.islink(other):
        shutil.rmtree(other, ignore_errors=True)
    elif os.path.lexists(other):
        os.unlink(other)
    make(*argument, other)
    if libc.renameat2(-100, other.encode(), -100, name.encode(), 2):
        os.rename(other, name)  # it was removed by a call from outside

swaps = [0, 0]

def swap(number, name, real, targets):
    while True:
        for target in targets:
            for make, argument in [(real, ()), (os.symlink, (target,))]:
                try:
                    put(name, make, argument)
                    swaps[number] += 1
                except OSError:
                    pass  # the calls from outside are at work as well

os.makedirs("/tmp/r")
os.mkfifo("/tmp/r/fifo")
for work in [(0, "/tmp/r/x", directory, roots), (1, "/tmp/r/y", regular, places)]:
    threading.Thread(target=swap, args=work, daemon=True).start()
print("up", flush=True)
while not select.select([sys.stdin], [], [], 0.2)[0]:
    shutil.rmtree("/tmp/r/out", ignore_errors=True)
print(min(swaps), flush=True)
os._exit(0)
"#;

/// What is planted on the host.
struct Planted {
    dir: tempfile::TempDir,
    token: String,
    before: (u64, i64, i64, u32),
}

impl Planted {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let token = computesdk_engine::random_name();
        let path = dir.path().join("planted");
        let mut content = token.clone().into_bytes();
        content.resize(usize::try_from(SIZE).unwrap(), b'h');
        std::fs::write(&path, content).unwrap();
        std::fs::write(dir.path().join(&token), "").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(MODE)).unwrap();
        let before = Self::state(&path);
        Self { dir, token, before }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("planted")
    }

    fn state(path: &Path) -> (u64, i64, i64, u32) {
        let metadata = std::fs::metadata(path).unwrap();
        (metadata.ino(), metadata.mtime_nsec() + metadata.mtime() * 1_000_000_000, metadata.ctime(), metadata.mode())
    }

    fn is_untouched(&self) {
        assert_eq!(Self::state(&self.path()), self.before, "the planted file was changed");
        assert!(self.is_in(&std::fs::read(self.path()).unwrap()), "the planted file has other content");
        let mut names: Vec<_> = std::fs::read_dir(&self.dir).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        let mut expected: Vec<std::ffi::OsString> = vec![self.token.clone().into(), "planted".into()];
        expected.sort();
        assert_eq!(names, expected, "the planted directory has other entries");
    }

    fn is_in(&self, content: &[u8]) -> bool {
        content.windows(self.token.len()).any(|window| window == self.token.as_bytes())
    }
}

/// A reproducible choice (SplitMix64).
struct Choices(u64);

impl Choices {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// One call, answered or refused. Everything that comes back is looked at for the planted file.
async fn one_call(sandbox: &Sandbox, planted: &Planted, choices: &mut Choices) -> (&'static str, bool) {
    let host = planted.path().display().to_string();
    let dir = planted.dir.path().display().to_string();
    let path = match choices.below(5) {
        0 => String::from("/tmp/r/y"),
        1 => format!("/tmp/r/x{dir}"),
        2 => host.clone(),
        _ => format!("/tmp/r/x{host}"),
    };
    let other = format!("/tmp/r/out/{}", choices.below(3));
    let refused = |error: EngineError| match error {
        EngineError::File(_) | EngineError::NotAFile(_) => false,
        error => panic!("{path}: {error:?}"),
    };
    let work = async {
        match choices.below(8) {
            kind @ 0..=2 => {
                let (name, how) =
                    [("read", Open::Read), ("write", Open::Write), ("append", Open::Append)][kind as usize];
                let opened = sandbox.open(&path, how, 0o644).await;
                (name, opened.map(|file| use_file(file, how, planted)).map_or_else(refused, |()| true))
            }
            3 => {
                let stat = sandbox.stat(&path, choices.below(2) == 0).await;
                let seen = stat.map(|stat| {
                    assert!(stat.size != SIZE && (stat.mode != MODE || stat.kind != FileKind::File), "{stat:?}");
                });
                ("stat", seen.map_or_else(refused, |()| true))
            }
            4 => {
                let list = sandbox.list(&path).await.map(|entries| {
                    assert!(entries.iter().all(|(name, _)| *name != planted.token), "{entries:?}");
                });
                ("list", list.map_or_else(refused, |()| true))
            }
            5 => ("make_dir", sandbox.make_dir(&format!("{path}/made")).await.map_or_else(refused, |()| true)),
            6 => {
                let removed = sandbox.remove(&path).await;
                ("remove", removed.map_or_else(refused, |()| true))
            }
            _ => {
                let (from, to) = if choices.below(2) == 0 { (&path, &other) } else { (&other, &path) };
                ("rename", sandbox.rename(from, to).await.map_or_else(refused, |()| true))
            }
        }
    };
    tokio::time::timeout(WITHIN, work).await.unwrap_or_else(|_| panic!("a call on {path} hangs"))
}

fn use_file(mut file: std::fs::File, how: Open, planted: &Planted) {
    assert!(file.metadata().unwrap().len() != SIZE, "the planted file was opened");
    if how == Open::Read {
        let mut content = Vec::new();
        std::io::Read::by_ref(&mut file).take(1 << 20).read_to_end(&mut content).unwrap();
        assert!(!planted.is_in(&content), "the planted file was read");
    } else {
        // An attacker may have filled the disk or removed the file: only what the write reaches matters.
        let _ = file.write_all(b"written from the host");
    }
}

/// Watches come and go; what they report must not be what happens in the planted directory.
async fn watching(sandbox: &Sandbox, planted: &Planted, until: Instant) -> usize {
    let mut made = 0;
    let noise = planted.dir.path().join(&planted.token);
    while Instant::now() < until {
        let paths = [format!("/tmp/r/x{}", planted.dir.path().display()), planted.dir.path().display().to_string()];
        for path in paths {
            let watch = tokio::time::timeout(WITHIN, sandbox.watch(&path, true)).await.expect("a watch hangs");
            let Ok(mut watch) = watch else { continue };
            made += 1;
            std::fs::write(&noise, "").unwrap();
            while let Ok(Some(change)) = tokio::time::timeout(Duration::from_millis(10), watch.next()).await {
                assert!(!change.path.contains(&planted.token), "a change on the host was seen: {change:?}");
            }
        }
        tokio::task::yield_now().await;
    }
    made
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn links_that_change_all_the_time_never_lead_to_the_host() {
    let seconds = std::env::var("COMPUTESDK_SOAK").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(10);
    let state = tempfile::tempdir().unwrap();
    let mut options = EngineOptions::default();
    options.state_dir = Some(state.path().join("state"));
    let engine = match Engine::start(options).await {
        Ok(engine) => engine,
        Err(EngineError::NoIsolation(failures)) => return eprintln!("skipped: no user namespaces here: {failures:?}"),
        Err(error) => panic!("{error:?}"),
    };
    let Some(python) = engine.image().python.as_ref().map(|python| python.executable.clone()) else {
        return eprintln!("skipped: no Python here for the attacker");
    };
    let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64;
    eprintln!("seed {seed}, {seconds} s");
    let planted = Planted::new();
    assert!(planted.is_in(&std::fs::read(planted.path()).unwrap()), "the check would see it");
    let sandbox = engine.create(&SandboxSpec::default()).await.unwrap();
    let attacker = sandbox
        .exec(ExecSpec {
            argv: vec![python, "-c".into(), ATTACKER.into(), planted.dir.path().display().to_string()],
            env: vec![("PATH".into(), engine.image().path.clone())],
            cwd: "/tmp".into(),
            ..ExecSpec::default()
        })
        .await
        .unwrap();
    let mut said = attacker.take_stdout().unwrap();
    let up = tokio::time::timeout(WITHIN, said.read_exact(&mut [0; 3])).await.expect("the attacker does not start");
    if up.is_err() {
        let mut why = String::new();
        attacker.take_stderr().unwrap().read_to_string(&mut why).await.unwrap();
        panic!("the attacker does not start: {why}");
    }

    let until = Instant::now() + Duration::from_secs(seconds);
    let planted = std::sync::Arc::new(planted);
    let callers: Vec<_> = (0..4)
        .map(|number| {
            let (sandbox, planted) = (sandbox.clone(), std::sync::Arc::clone(&planted));
            tokio::spawn(async move {
                let mut choices = Choices(seed + number);
                let mut counts: BTreeMap<(&str, bool), usize> = BTreeMap::new();
                while Instant::now() < until {
                    *counts.entry(one_call(&sandbox, &planted, &mut choices).await).or_default() += 1;
                }
                counts
            })
        })
        .collect();
    let watches = watching(&sandbox, &planted, until).await;
    let mut counts: BTreeMap<(&str, bool), usize> = BTreeMap::new();
    for caller in callers {
        for (what, count) in caller.await.unwrap() {
            *counts.entry(what).or_default() += count;
        }
    }
    drop(attacker.take_stdin());
    let mut swaps = String::new();
    tokio::time::timeout(WITHIN, said.read_to_string(&mut swaps)).await.expect("the attacker hangs").unwrap();
    let swaps: u64 = swaps.trim().parse().unwrap_or_else(|_| panic!("the attacker failed: {swaps}"));
    eprintln!("{swaps} swaps of each; {watches} watches; calls that were (true) answered: {counts:?}");

    planted.is_untouched();
    // It was a race: there was something to win, and every call came through as well as into the wall.
    assert!(swaps > 100 && watches > 10, "too quiet");
    for call in ["read", "write", "append", "stat", "list", "make_dir", "remove", "rename"] {
        for answered in [true, false] {
            assert!(counts.get(&(call, answered)).is_some_and(|count| *count > 0), "{call} {answered}: {counts:?}");
        }
    }
    // And the sandbox is as good as before.
    assert!(sandbox.ended().is_none());
    sandbox.terminate().await.unwrap();
    engine.shut_down().await;
}
