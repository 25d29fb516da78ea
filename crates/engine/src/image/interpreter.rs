//! Finding Python and Node.js on the host.
//!
//! The first on `PATH` that can be used is taken, looked through to the real installation: a virtual environment to the
//! interpreter it was made from, a shim (pyenv, asdf) to what it starts. An installation outside `/usr` is mounted whole
//! at its own path, because its library paths and the first lines of its scripts are absolute; so its prefix must be
//! an installation and nothing else: never a home directory.

use super::{ImageError, ImageOptions};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};
use serde::{Deserialize, Serialize};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// How long an interpreter may take to say what it is.
const ANSWER_WITHIN_S: i64 = 10;

/// An interpreter of the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interpreter {
    /// Its path, the same inside and outside.
    pub executable: String,
    /// Its version: `3.11.7`, `20.20.2`.
    pub version: String,
    /// The installation that is mounted at its own path; `None` for one in `/usr`.
    pub prefix: Option<PathBuf>,
    /// How it was found.
    pub found_by: String,
}

/// An interpreter that was found and not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// Where it is.
    pub path: PathBuf,
    /// Why not.
    pub why: String,
}

#[derive(Clone, Copy)]
struct Language {
    field: &'static str,
    names: &'static [&'static str],
    /// Prints prefix, executable and version, a line each.
    question: &'static [&'static str],
}

const PYTHON: Language = Language {
    field: "python",
    names: &["python3", "python"],
    // In a virtual environment base_prefix and _base_executable lead to what it was made from.
    question: &[
        "-I",
        "-S",
        "-c",
        "import sys; print(sys.base_prefix); print(getattr(sys, '_base_executable', None) or sys.executable); \
         print('%d.%d.%d' % sys.version_info[:3]); sys.exit(sys.version_info < (3,))",
    ],
};

const NODE: Language = Language {
    field: "node",
    names: &["node", "nodejs"],
    question: &[
        "-p",
        "const p = require('path'); const e = process.execPath; [p.dirname(p.dirname(e)), e, process.version.slice(1)].join('\\n')",
    ],
};

type Found = (Option<Interpreter>, Option<Interpreter>, Vec<Rejected>);

/// Python, Node.js, and what was not taken.
pub(super) fn find(options: &ImageOptions) -> Result<Found, ImageError> {
    let mut rejected = Vec::new();
    let python = find_one(PYTHON, options.python.as_deref(), options, &mut rejected)?;
    let node = find_one(NODE, options.node.as_deref(), options, &mut rejected)?;
    Ok((python, node, rejected))
}

fn find_one(
    language: Language,
    named: Option<&Path>,
    options: &ImageOptions,
    rejected: &mut Vec<Rejected>,
) -> Result<Option<Interpreter>, ImageError> {
    if let Some(path) = named {
        let found_by = format!("--{}", language.field);
        return examine(language, path, &options.search_path, found_by)
            .map(Some)
            .map_err(|why| ImageError::Interpreter { field: language.field, path: path.to_path_buf(), why });
    }
    let home_bin = ["/usr/local/bin", "/usr/bin"].map(PathBuf::from);
    let dirs: Vec<PathBuf> = std::env::split_paths(&options.search_path).chain(home_bin).collect();
    // All names in one directory before the next directory, as a shell would find one name.
    for path in dirs.iter().flat_map(|dir| language.names.iter().map(move |name| dir.join(name))) {
        if !path.is_absolute() || !path.is_file() || rejected.iter().any(|other| other.path == path) {
            continue;
        }
        match examine(language, &path, &options.search_path, format!("{} on PATH", path.display())) {
            Ok(found) => return Ok(Some(found)),
            Err(why) => rejected.push(Rejected { path, why }),
        }
    }
    Ok(None)
}

/// Asks a candidate what it is, and checks that its installation can be offered.
fn examine(
    language: Language,
    path: &Path,
    search_path: &std::ffi::OsStr,
    mut found_by: String,
) -> Result<Interpreter, String> {
    if rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_err() || !path.is_file() {
        return Err(String::from("it is no executable file"));
    }
    let said = ask(path, language.question, search_path)?;
    let [prefix, executable, version] = said.lines().collect::<Vec<_>>()[..] else {
        return Err(format!("it does not answer like {}", language.field));
    };
    let real = |path: &str| std::fs::canonicalize(path).map_err(|error| format!("{path}: {error}"));
    let (real_prefix, real_executable) = (real(prefix)?, real(executable)?);
    let below = real_executable
        .strip_prefix(&real_prefix)
        .map_err(|_| format!("{} is not below its prefix {}", real_executable.display(), real_prefix.display()))?;
    if std::fs::canonicalize(path).ok().as_ref() != Some(&real_executable) {
        found_by += &format!(", which leads to {}", real_executable.display());
    }
    let version = version.to_owned();
    if real_prefix.starts_with("/usr") {
        return Ok(Interpreter { executable: real_executable.display().to_string(), version, prefix: None, found_by });
    }
    // Checked as what it is, offered under the name that its own files use, which may lead over links.
    check_prefix(&real_prefix, std::env::var_os("HOME").map(PathBuf::from).as_deref())?;
    let prefix = PathBuf::from(prefix);
    if !prefix.is_absolute() || prefix.components().any(|part| part == std::path::Component::ParentDir) {
        return Err(format!("its prefix {} is no plain path", prefix.display()));
    }
    let executable = prefix.join(below).display().to_string();
    Ok(Interpreter { executable, version, prefix: Some(prefix), found_by })
}

/// Runs a program with a deadline and returns what it printed.
fn ask(path: &Path, question: &[&str], search_path: &std::ffi::OsStr) -> Result<String, String> {
    let fail = |error: io::Error| format!("it cannot be run: {error}");
    let mut command = Command::new(path);
    // A group of its own, which can be ended as a whole.
    command.args(question).env_clear().env("PATH", search_path).current_dir("/").process_group(0);
    // Shims need to know where they live; nothing else of the environment matters.
    for (name, value) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text == "HOME" || text.starts_with("PYENV_") || text.starts_with("ASDF_") || text.starts_with("NODENV_") {
            command.env(&name, value);
        }
    }
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().map_err(fail)?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or("it has no process id")?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(|errno| fail(errno.into()))?;
    let limit = Timespec { tv_sec: ANSWER_WITHIN_S, tv_nsec: 0 };
    let ended = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&limit)).is_ok_and(|ready| ready > 0);
    if !ended {
        let _ = rustix::process::kill_process_group(pid, Signal::KILL);
    }
    let status = child.wait().map_err(fail)?;
    if !ended {
        return Err(format!("it did not answer within {ANSWER_WITHIN_S} s"));
    }
    if !status.success() {
        return Err(format!("it failed when asked for its version ({status})"));
    }
    // What is in the pipe now, not what somebody it left behind may still write.
    let mut said = vec![0; 8192];
    let n = match &child.stdout {
        Some(stdout) => rustix::io::ioctl_fionbio(stdout, true)
            .and_then(|()| rustix::io::read(stdout, &mut said))
            .map_err(|errno| fail(errno.into()))?,
        None => 0,
    };
    said.truncate(n);
    String::from_utf8(said).map_err(|_| String::from("it does not answer in text"))
}

/// Refuses a prefix that is more than an installation.
fn check_prefix(prefix: &Path, home: Option<&Path>) -> Result<(), String> {
    let shown = prefix.display();
    let too_wide = ["/", "/home", "/root", "/etc", "/var", "/tmp", "/run", "/proc", "/sys", "/dev", "/opt", "/mnt"];
    let home = home.and_then(|home| std::fs::canonicalize(home).ok());
    let not_below = ["/proc", "/sys", "/dev", "/run", "/etc"];
    let personal = [".local", ".config", ".cache"];
    if too_wide.iter().any(|wide| prefix == Path::new(wide))
        || not_below.iter().any(|dir| prefix.starts_with(dir))
        // Whoever's home it is.
        || prefix.parent() == Some(Path::new("/home"))
        || prefix.file_name().is_some_and(|name| personal.iter().any(|dir| name == *dir))
        || home.is_some_and(|home| home.starts_with(prefix))
    {
        return Err(format!("its prefix {shown} holds more than an installation and cannot be offered to sandboxes"));
    }
    if !prefix.join("lib").is_dir() && !prefix.join("include").is_dir() {
        return Err(format!("its prefix {shown} does not look like an installation (no lib, no include)"));
    }
    let private = [
        ".aws",
        ".bash_history",
        ".bashrc",
        ".config",
        ".docker",
        ".git-credentials",
        ".gnupg",
        ".kube",
        ".local",
        ".netrc",
        ".profile",
        ".ssh",
        ".zshrc",
        "share/keyrings",
    ];
    match private.iter().find(|name| prefix.join(name).exists()) {
        Some(name) => Err(format!("its prefix {shown} holds {name} and cannot be offered to sandboxes")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_directory_is_no_installation() {
        let home = tempfile::tempdir().unwrap();
        let home = std::fs::canonicalize(home.path()).unwrap();
        std::fs::create_dir_all(home.join("tools/node/lib")).unwrap();
        std::fs::create_dir_all(home.join("lib")).unwrap();
        assert!(check_prefix(&home, Some(&home)).unwrap_err().contains("more than an installation"));
        assert!(check_prefix(home.parent().unwrap(), Some(&home)).is_err());
        std::fs::create_dir_all(home.join(".local/lib")).unwrap();
        assert!(check_prefix(&home.join(".local"), None).is_err());
        assert!(check_prefix(Path::new("/home/somebody"), None).is_err());
        assert!(check_prefix(&home.join("tools"), Some(&home)).unwrap_err().contains("does not look like"));
        check_prefix(&home.join("tools/node"), Some(&home)).unwrap();
        std::fs::create_dir(home.join("tools/node/.ssh")).unwrap();
        assert!(check_prefix(&home.join("tools/node"), Some(&home)).unwrap_err().contains(".ssh"));
    }

    #[test]
    fn a_virtual_environment_leads_to_what_it_was_made_from() {
        let dir = tempfile::tempdir().unwrap();
        let made = Command::new("python3").args(["-m", "venv", "--without-pip"]).arg(dir.path().join("venv")).status();
        if !made.is_ok_and(|status| status.success()) {
            eprintln!("skipped: this host has no python3 with venv");
            return;
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let venv = dir.path().join("venv/bin/python");
        let found = examine(PYTHON, &venv, &path, String::new()).unwrap();
        assert!(!Path::new(&found.executable).starts_with(dir.path()), "{found:?}");
    }

    #[test]
    fn what_is_no_interpreter_is_told_why() {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let why =
            |path: &str, search: &std::ffi::OsStr| examine(PYTHON, Path::new(path), search, String::new()).unwrap_err();
        assert_eq!(why("/etc/passwd", &path), "it is no executable file");
        assert!(why("/bin/false", &path).contains("it failed"));
        assert!(why("/bin/echo", &path).contains("does not answer like python"));
    }
}
