//! What `compute run` is to run: its language, what is put into the sandbox for it, and how it is started.

use crate::args::{Lang, RunArgs};
use crate::exit::{Exit, Failure};
use crate::session::{DEFAULT_CWD, unreadable};
use crate::values::resolve;
use computesdk::{Error, FileUpload, Runtime, detect_runtime};
use std::io::Read as _;
use std::path::Path;

/// Longer code does not go into an argument, whose limit is 128 KiB.
const MAX_ARGUMENT: usize = 64 * 1024;

/// A program, ready to be started.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// Code for `run_code`: imports begin at the working directory, as in `python -c` and `node -e`.
    Code {
        /// The source.
        code: String,
        /// Its language.
        runtime: Runtime,
    },
    /// A command, and the file that it needs.
    Command {
        /// Program and arguments, the user's own not included.
        argv: Vec<String>,
        /// The file.
        upload: Option<FileUpload>,
    },
}

impl Program {
    /// Reads and understands what the user gave. Whether standard input is used up by that is the second value.
    pub(crate) fn load(args: &RunArgs) -> Result<(Self, bool), Failure> {
        match (&args.code, &args.script) {
            (Some(code), _) => Ok((Self::of_code(code.clone(), args.lang, args.tty), false)),
            (None, Some(script)) if script.as_os_str() != "-" => {
                let cwd = args.sandbox.cwd.as_deref().unwrap_or(DEFAULT_CWD);
                let content = std::fs::read(script).map_err(|error| {
                    let missing = error.kind() == std::io::ErrorKind::NotFound;
                    unreadable(script, error, if missing { Exit::NOT_FOUND } else { Exit::NOT_EXECUTABLE })
                })?;
                Ok((Self::of_file(script, content, args.lang, cwd)?, false))
            }
            _ => {
                let mut code = Vec::new();
                let read = std::io::stdin().lock().read_to_end(&mut code);
                read.map_err(|error| unreadable(Path::new("standard input"), error, Exit::OURS))?;
                let code = String::from_utf8(code).map_err(|error| {
                    Error::invalid("run.read", "FILE", "the code on standard input is not UTF-8").with_source(error)
                })?;
                Ok((Self::of_code(code, args.lang, args.tty), true))
            }
        }
    }

    fn of_code(code: String, lang: Option<Lang>, tty: bool) -> Self {
        let lang = lang.unwrap_or_else(|| guess(&code));
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let argv = match (lang, tty) {
            (Lang::Sh, _) if code.len() > MAX_ARGUMENT => {
                let upload = FileUpload::new("/tmp/compute-run.sh", code);
                return Self::Command { argv: words(&["sh", &upload.path]), upload: Some(upload) };
            }
            (Lang::Sh, _) => words(&["sh", "-c", &code, "sh"]),
            (Lang::Python, true) => words(&["python3", "-c", &code]),
            (Lang::Node, true) => words(&["node", "-e", &code, "--"]),
            (Lang::Python, false) => return Self::Code { code, runtime: Runtime::Python },
            (Lang::Node, false) => return Self::Code { code, runtime: Runtime::Node },
        };
        Self::Command { argv, upload: None }
    }

    /// A file runs under its own name in the working directory, so that it finds what is put beside it.
    fn of_file(script: &Path, content: Vec<u8>, lang: Option<Lang>, cwd: &str) -> Result<Self, Failure> {
        let name = script
            .file_name()
            .and_then(|name| name.to_str())
            .ok_or_else(|| Error::invalid("run.read", "FILE", format_args!("{script:?} has no name that is UTF-8")))?;
        let mut upload = FileUpload::new(resolve(cwd, name), content);
        let by_extension = match script.extension().and_then(|extension| extension.to_str()) {
            Some("py") => Some(Lang::Python),
            Some("js" | "mjs" | "cjs") => Some(Lang::Node),
            // Its `#!` line may ask for a shell that is more than `sh`.
            Some("sh") if !upload.content.starts_with(b"#!") => Some(Lang::Sh),
            _ => None,
        };
        let start: &[&str] = match lang.or(by_extension) {
            None if upload.content.starts_with(b"#!") => {
                upload.mode = Some(0o755);
                &[]
            }
            found => match found.unwrap_or_else(|| guess(&String::from_utf8_lossy(&upload.content))) {
                // Output as it comes, also into a pipe.
                Lang::Python => &["python3", "-u"],
                Lang::Node => &["node"],
                Lang::Sh => &["sh"],
            },
        };
        let argv = start.iter().copied().chain([upload.path.as_str()]).map(str::to_owned).collect();
        Ok(Self::Command { argv, upload: Some(upload) })
    }

    /// The name of the program that is started.
    pub(crate) fn interpreter(&self) -> &str {
        match self {
            Self::Code { runtime: Runtime::Python, .. } => "python3",
            Self::Code { runtime: Runtime::Node, .. } => "node",
            Self::Command { argv, .. } => argv.first().map_or("", String::as_str),
        }
    }
}

/// The rule of `run_code`; what could be anything is Python.
fn guess(code: &str) -> Lang {
    match detect_runtime(code) {
        Some(Runtime::Node) => Lang::Node,
        _ => Lang::Python,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(name: &str, content: &str, lang: Option<Lang>) -> Vec<String> {
        match Program::of_file(Path::new(name), content.into(), lang, "/w").unwrap() {
            Program::Command { argv, .. } => argv,
            Program::Code { .. } => panic!("a file is a command"),
        }
    }

    #[test]
    fn the_language_of_a_file() {
        assert_eq!(argv("d/a.py", "console.log(1)", None), ["python3", "-u", "/w/a.py"]);
        assert_eq!(argv("a.mjs", "", None), ["node", "/w/a.mjs"]);
        assert_eq!(argv("a.sh", "echo", None), ["sh", "/w/a.sh"]);
        assert_eq!(argv("a.sh", "#!/bin/bash\n", None), ["/w/a.sh"]);
        assert_eq!(argv("a.sh", "#!/bin/bash\n", Some(Lang::Sh)), ["sh", "/w/a.sh"]);
        assert_eq!(argv("a", "#!/usr/bin/perl\n", None), ["/w/a"]);
        assert_eq!(argv("a", "console.log(1)", None), ["node", "/w/a"]);
        assert_eq!(argv("a", "x = 1", None), ["python3", "-u", "/w/a"]);
        assert_eq!(argv("a.py", "", Some(Lang::Node)), ["node", "/w/a.py"]);
    }

    #[test]
    fn short_shell_code_needs_no_file_and_long_code_fits() {
        let of = |code: &str| Program::of_code(code.to_owned(), Some(Lang::Sh), false);
        let argv = ["sh", "-c", "echo hi", "sh"].map(String::from).to_vec();
        assert_eq!(of("echo hi"), Program::Command { argv, upload: None });
        let Program::Command { upload: Some(upload), .. } = of(&"#".repeat(200_000)) else { panic!("no file") };
        assert_eq!(upload.content.len(), 200_000);
    }
}
