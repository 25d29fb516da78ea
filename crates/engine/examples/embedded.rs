//! The engine as a C library, as small as it can be: what a program in another language would load. The tests load it into
//! a busy Python process.
//!
//! ```c
//! int embedded_start(const char *state, const char *cache);  // 0, or -1 if the engine does not start
//! int embedded_cycle(void);                                  // create, exec, destroy: 0, or a number that says what failed
//! int embedded_stop(void);                                   // ends the engine and waits for it
//! ```
//!
//! No call unwinds into the caller: a panic is -2.

#![allow(unsafe_code, reason = "a C library: exported names and strings from the caller")]
#![allow(clippy::print_stderr, reason = "this library has no other way to say why")]

use computesdk_engine::{Engine, EngineError, EngineOptions, ExecEnd, ExecSpec, SandboxSpec};
use std::ffi::{CStr, OsStr, c_char, c_int};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use tokio::io::AsyncReadExt as _;

static ENGINE: Mutex<Option<Engine>> = Mutex::new(None);

/// Starts the engine with these directories.
///
/// # Safety
/// Both are NUL-terminated strings, which stay as they are during the call.
// SAFETY: no other library that is loaded beside this one has the name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn embedded_start(state: *const c_char, cache: *const c_char) -> c_int {
    let path = |text: *const c_char| {
        // SAFETY: the caller's promise.
        let text = unsafe { CStr::from_ptr(text) };
        PathBuf::from(OsStr::from_bytes(text.to_bytes()))
    };
    let mut options = EngineOptions::default();
    options.state_dir = Some(path(state));
    options.cache_dir = Some(path(cache));
    guarded(|| {
        let engine = block_on(Engine::start(options))?;
        *ENGINE.lock().unwrap_or_else(PoisonError::into_inner) = Some(engine);
        Ok(())
    })
}

/// One sandbox's life. May be called from several threads at once.
// SAFETY: no other library that is loaded beside this one has the name.
#[unsafe(no_mangle)]
pub extern "C" fn embedded_cycle() -> c_int {
    guarded(|| {
        let engine = ENGINE.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let engine = engine.ok_or_else(|| EngineError::HostLost(String::from("it was not started")))?;
        block_on(cycle(&engine))
    })
}

/// Ends the engine.
// SAFETY: no other library that is loaded beside this one has the name.
#[unsafe(no_mangle)]
pub extern "C" fn embedded_stop() -> c_int {
    guarded(|| {
        let engine = ENGINE.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(engine) = engine {
            block_on(async { engine.shut_down().await });
        }
        Ok(())
    })
}

async fn cycle(engine: &Engine) -> Result<(), EngineError> {
    let sandbox = engine.create(&SandboxSpec::default()).await?;
    let spec = ExecSpec {
        argv: vec![String::from("echo"), String::from("hi")],
        env: vec![(String::from("PATH"), engine.image().path.clone())],
        cwd: String::from("/root"),
        ..ExecSpec::default()
    };
    let exec = sandbox.exec(spec).await?;
    drop(exec.take_stdin());
    let mut output = String::new();
    if let Some(mut stdout) = exec.take_stdout() {
        stdout.read_to_string(&mut output).await.map_err(EngineError::File)?;
    }
    assert_eq!((output.as_str(), exec.wait().await), ("hi\n", ExecEnd::Exited { code: 0 }));
    sandbox.terminate().await?;
    Ok(())
}

/// The caller's thread has no runtime: one of its own, for the time of a call.
fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime takes a few descriptors").block_on(work)
}

fn guarded(work: impl FnOnce() -> Result<(), EngineError>) -> c_int {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)) {
        Ok(Ok(())) => 0,
        Ok(Err(error)) => {
            eprintln!("embedded: {error}: {error:?}");
            -1
        }
        Err(_) => -2,
    }
}
