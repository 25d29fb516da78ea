//! `run_code`: a program given as source text.
//!
//! The source goes into a fresh directory of the sandbox by its files, never through the argument list (limited to
//! 128 KiB an argument) nor standard input (which is the program's). A few lines of bootstrap, in the language
//! itself, then compile and run it: so that imports are looked up from the working directory, as in `python3 -c` and
//! `node -e`, while tracebacks name a file that exists and show its lines.

use crate::program::{Program, Source};
use crate::request::{Request, request_methods};
use crate::run::{self, Streams};
use crate::{Command, ExecutionResult, Sandbox, check, syntax};
use computesdk_core::{Error, Result, Runtime};
use futures_util::future::{BoxFuture, try_join};
use serde::Serialize;
use std::future::IntoFuture;
use std::time::Instant;

/// A program that is not started yet: `.await` runs it to its end, [`RunCode::spawn`] hands it out live.
///
/// * **Language:** [`RunCode::runtime`]; else what the sandbox was created with; else what the provider was configured
///   to; else what the code looks like (see [`detect_runtime`](crate::detect_runtime)); else Python.
/// * **Results and errors:** an uncaught exception or a non-zero exit is a result. A program that does not *compile* is
///   an error of kind `SyntaxError` ([`SyntaxErrorDetails`](crate::SyntaxErrorDetails)); an interpreter that is
///   not there is one of kind `FailedPrecondition`.
/// * **What the program sees:** `sys.argv[0]` (`process.argv[1]`) and `__file__` name a file `main.py` (`main.js`) in
///   a directory of this run under `/tmp`, removed afterwards. Imports, `require` and `import` start at the working
///   directory. Standard output is flushed at each line, so that callbacks see it and a time limit does not lose it.
/// * JavaScript is CommonJS; with `import` or `export` statements, or `await` at the top, it is an ES module.
///
/// As with [`RunCommand`](crate::RunCommand), a descendant in the background does not hold the call up, and
/// **dropping the future kills the program**. Any number of programs may run in one sandbox at a time.
#[must_use = "nothing runs until this is awaited or spawned"]
pub struct RunCode<'a> {
    request: Request<'a>,
    code: String,
    runtime: Option<Runtime>,
    inputs: Option<serde_json::Result<Vec<u8>>>,
}

request_methods!(RunCode);

impl<'a> RunCode<'a> {
    pub(crate) fn new(sandbox: Sandbox, code: String) -> Self {
        Self { request: Request::new(sandbox, Vec::new()), code, runtime: None, inputs: None }
    }

    /// The language, instead of the sandbox's or a guess.
    pub fn runtime(mut self, runtime: Runtime) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Hands values to the program as data, so that nothing in them can become code: they are written as JSON into a
    /// file, whose path is in the environment variable `COMPUTESDK_INPUTS`.
    ///
    /// ```python
    /// inputs = json.load(open(os.environ["COMPUTESDK_INPUTS"]))
    /// ```
    ///
    /// ```js
    /// const inputs = JSON.parse(fs.readFileSync(process.env.COMPUTESDK_INPUTS))
    /// ```
    ///
    /// A value that is not JSON (a map with keys that are not strings) is `InvalidArgument` when it is run.
    pub fn inputs(mut self, inputs: &(impl Serialize + ?Sized)) -> Self {
        self.inputs = Some(serde_json::to_vec(inputs));
        self
    }

    /// Starts it and returns a handle on its streams. Dropping that handle leaves the program running. A program that
    /// does not compile is not an error here: it ends with code 1.
    ///
    /// # Errors
    /// `InvalidArgument` for unusable options, or together with `on_stdout` or `on_stderr`; `NotFound` if the sandbox
    /// has ended; what went wrong writing the program.
    pub async fn spawn(mut self) -> Result<Command> {
        let why = "on_stdout and on_stderr are for `.await`: read `Command::stdout` after spawn";
        self.request.refuse_callbacks(why)?;
        let started = Instant::now();
        let program = self.prepare().await?;
        let running = run::start(self.request.sandbox.as_core(), self.request.options).await?;
        let process = std::sync::Arc::clone(&running.process);
        tokio::spawn(async move {
            // It is removed also if the end cannot be learnt.
            let _ = process.wait().await;
            program.remove().await;
        });
        Ok(Command::new(running, self.request.sandbox.identity(), started, self.request.stdin))
    }

    async fn execute(mut self) -> Result<ExecutionResult> {
        let started = Instant::now();
        self.request.settle_stdin();
        let program = self.prepare().await?;
        let request = &mut self.request;
        let mut running = run::start(request.sandbox.as_core(), std::mem::take(&mut request.options)).await?;
        let process = &*running.process;
        let streams = Streams {
            stdin: request.stdin.take().and_then(|bytes| Some((process.take_stdin()?, bytes))),
            stdout: process.take_stdout(),
            stderr: process.take_stderr(),
            on_stdout: request.on_stdout.take(),
            on_stderr: request.on_stderr.take(),
        };
        let (runtime, main) = (program.runtime(), program.main().to_owned());
        // Removed while the last output comes in, so that it costs the caller no time.
        let tidy_up = async {
            process.wait().await?;
            program.remove().await;
            Ok(())
        };
        let (output, ()) = try_join(run::gather(process, streams), tidy_up).await?;
        running.armed = false;
        let (id, provider) = request.sandbox.identity();
        if let Some(error) =
            crate::program::missing(runtime, &output).or_else(|| syntax::error(runtime, &main, &output))
        {
            return Err(error.with_provider(provider).with_context("sandbox_id", id.as_str()));
        }
        let texts = (output.stdout, output.stderr);
        Ok(ExecutionResult::new((id, provider), output.status, texts, started.elapsed(), output.usage))
    }

    /// Decides the language, checks everything, and puts the program in place.
    async fn prepare(&mut self) -> Result<Program> {
        let inputs = self.inputs.take().transpose().map_err(|error| {
            Error::invalid("sandbox.run_code", "inputs", format_args!("not JSON: {error}")).with_source(error)
        })?;
        let runtime = match self.runtime {
            Some(runtime) => runtime,
            None => self.request.sandbox.language(&self.code).await?,
        };
        let program = Program::new(self.request.sandbox.as_core().files(), runtime);
        program.set_command(&mut self.request.options, inputs.is_some());
        check::exec(&self.request.options)?;
        program.write(Source { code: self.code.as_bytes(), inputs: inputs.as_deref() }).await?;
        Ok(program)
    }
}

impl std::fmt::Debug for RunCode<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunCode").field("request", &self.request).field("runtime", &self.runtime).finish()
    }
}

impl<'a> IntoFuture for RunCode<'a> {
    type Output = Result<ExecutionResult>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.execute())
    }
}
