//! What `run_code` and `run_command` have in common: the options of one execution.

use crate::Sandbox;
use crate::run::Callback;
use computesdk_core::{Error, ErrorKind, ExecOptions, Result, Stdio};

/// The options gathered so far.
pub(crate) struct Request<'a> {
    pub(crate) sandbox: Sandbox,
    pub(crate) options: ExecOptions,
    pub(crate) stdin: Option<Vec<u8>>,
    pub(crate) on_stdout: Option<Callback<'a>>,
    pub(crate) on_stderr: Option<Callback<'a>>,
}

impl Request<'_> {
    pub(crate) fn new(sandbox: Sandbox, argv: Vec<String>) -> Self {
        Self { sandbox, options: ExecOptions::new(argv), stdin: None, on_stdout: None, on_stderr: None }
    }

    /// Closes standard input unless there is something to write to it.
    pub(crate) fn settle_stdin(&mut self) {
        self.options.stdin = if self.stdin.is_some() { Stdio::Piped } else { Stdio::Null };
    }

    pub(crate) fn refuse_callbacks(&self, why: &str) -> Result<()> {
        if self.on_stdout.is_none() && self.on_stderr.is_none() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::InvalidArgument, "sandbox.exec", why).with_context("field", "on_stdout"))
    }
}

impl std::fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request").field("sandbox", &self.sandbox).field("options", &self.options).finish()
    }
}

/// The methods that set these options, for a type with a field `request`.
macro_rules! request_methods {
    ($builder:ident) => {
        impl<'a> $builder<'a> {
            /// Adds arguments: `()`, an array, a slice or a `Vec` of strings.
            pub fn args(mut self, args: impl $crate::IntoArgs) -> Self {
                self.request.options.argv.extend(args.into_args());
                self
            }

            /// Adds one environment variable; it wins over the sandbox's.
            pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
                self.request.options.env.insert(name.into(), value.into());
                self
            }

            /// Adds environment variables; they win over the sandbox's.
            pub fn envs<K: Into<String>, V: Into<String>>(
                mut self,
                variables: impl IntoIterator<Item = (K, V)>,
            ) -> Self {
                let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into()));
                self.request.options.env.extend(variables);
                self
            }

            /// Working directory: absolute, and must exist. Default: the sandbox's.
            pub fn cwd(mut self, cwd: impl Into<String>) -> Self {
                self.request.options.cwd = Some(cwd.into());
                self
            }

            /// User by name or number. Default: the sandbox's root.
            pub fn user(mut self, user: impl Into<String>) -> Self {
                self.request.options.user = Some(user.into());
                self
            }

            /// Kills it and its group after so long; the result then has code 124, what was written until then, and
            /// [`timed_out`](crate::ExecutionResult::timed_out). Default: the sandbox's timeout;
            /// [`Duration::MAX`](std::time::Duration::MAX) is no limit.
            pub fn timeout(mut self, timeout: std::time::Duration) -> Self {
                self.request.options.timeout = Some(timeout);
                self
            }

            /// What it reads on standard input, which is then closed. Default: nothing.
            pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
                self.request.stdin = Some(bytes.into());
                self
            }

            /// Calls back with each piece of standard output as it comes. The result holds it too.
            pub fn on_stdout(mut self, callback: impl FnMut(&[u8]) + Send + 'a) -> Self {
                self.request.on_stdout = Some(Box::new(callback));
                self
            }

            /// Calls back with each piece of standard error as it comes. The result holds it too.
            pub fn on_stderr(mut self, callback: impl FnMut(&[u8]) + Send + 'a) -> Self {
                self.request.on_stderr = Some(Box::new(callback));
                self
            }
        }
    };
}
pub(crate) use request_methods;
