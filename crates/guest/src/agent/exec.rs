//! Starting programs, with pipes or a terminal.

use super::disk;
use super::sys::{self, Program, Stage, StartError};
use super::users::{self, User};
use alloc::ffi::CString;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use computesdk_guest_protocol::agent::{Exec, Refusal, Stdio};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, Signal};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;
use rustix::thread::{Gid, Uid};

/// A program that runs.
pub(super) struct Started {
    pub(super) pid: i32,
    /// The master side of its terminal.
    pub(super) terminal: Option<OwnedFd>,
}

type Refused = (Refusal, Errno);

pub(super) fn start(request: &Exec, fds: &[OwnedFd], single_id: bool) -> Result<Started, Refused> {
    let argv = strings(&request.argv)?;
    let cwd = disk::c_string(&*request.cwd).map_err(other)?;
    let identity = identity(request.user.as_deref(), single_id)?;
    let env = environment(&request.env, &identity)?;
    let path = find_program(request)?;

    // What it is to enter comes last.
    let (group, fds) = match (request.group, fds.split_last()) {
        (true, Some((group, rest))) => (Some(group.as_fd()), rest),
        (true, None) => return Err((Refusal::Other, Errno::BADF)),
        (false, _) => (None, fds),
    };
    let null = open_null()?;
    let terminal = request.pty.map(|size| Terminal::open(size, identity.uid)).transpose().map_err(other)?;
    let stdio = match &terminal {
        Some(terminal) => [terminal.slave.as_fd(); 3],
        None => assign(request.stdio, fds, null.as_fd())?,
    };
    let program = Program {
        path: &path,
        argv: &argv,
        env: &env,
        cwd: &cwd,
        uid: identity.uid,
        gid: identity.gid,
        groups: identity.groups.as_deref(),
        stdio,
        terminal: terminal.is_some(),
        group,
        open_files: request.open_files,
    };
    match sys::start(&program) {
        Ok(pid) => Ok(Started { pid, terminal: terminal.map(|terminal| terminal.master) }),
        Err(error) => Err((explain(&error, &path), error.errno)),
    }
}

/// Sends a signal to a program's process group. SIGKILL goes to its whole session, which also reaches the jobs of a
/// shell with job control.
pub(super) fn signal(pid: i32, signal: i32) {
    let Some(group) = Pid::from_raw(pid) else { return };
    if let Some(named) = Signal::from_named_raw(signal) {
        let _ = rustix::process::kill_process_group(group, named);
        if named == Signal::KILL {
            session_members(pid).into_iter().filter_map(Pid::from_raw).for_each(|member| {
                let _ = rustix::process::kill_process(member, Signal::KILL);
            });
        }
    }
}

/// The processes of a session, from `/proc/PID/stat` (`proc_pid_stat(5)`): the sixth field.
fn session_members(session: i32) -> Vec<i32> {
    disk::entries(b"/proc")
        .unwrap_or_default()
        .into_iter()
        .filter_map(|entry| core::str::from_utf8(&entry.name).ok()?.parse::<i32>().ok())
        .filter(|pid| {
            let stat = disk::text(format!("/proc/{pid}/stat").as_bytes());
            // The second field is a name in parentheses, which may hold anything: count from the last one.
            let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
            after.split_whitespace().nth(3).and_then(|field| field.parse().ok()) == Some(session)
        })
        .collect()
}

fn other(errno: Errno) -> Refused {
    (Refusal::Other, errno)
}

fn strings(bytes: &[Vec<u8>]) -> Result<Vec<CString>, Refused> {
    bytes.iter().map(|s| disk::c_string(&**s).map_err(other)).collect()
}

fn open_null() -> Result<OwnedFd, Refused> {
    rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map_err(other)
}

fn assign<'a>(stdio: [Stdio; 3], fds: &'a [OwnedFd], null: BorrowedFd<'a>) -> Result<[BorrowedFd<'a>; 3], Refused> {
    let mut passed = fds.iter().map(AsFd::as_fd);
    let mut assigned = [null; 3];
    for (index, kind) in stdio.into_iter().enumerate() {
        assigned[index] = match kind {
            Stdio::Passed => passed.next().ok_or((Refusal::Other, Errno::BADF))?,
            Stdio::Null => null,
            Stdio::Merged => assigned[1],
        };
    }
    Ok(assigned)
}

struct Identity {
    uid: u32,
    gid: u32,
    groups: Option<Vec<Gid>>,
    name: String,
    home: String,
}

/// The given environment, with `HOME` and `USER` of whom the program runs as unless they are given.
fn environment(given: &[Vec<u8>], identity: &Identity) -> Result<Vec<CString>, Refused> {
    let mut all = strings(given)?;
    for (name, value) in [("HOME", &identity.home), ("USER", &identity.name)] {
        let is_given = given
            .iter()
            .any(|entry| entry.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'=')));
        if !is_given {
            all.extend(CString::new(format!("{name}={value}")).ok());
        }
    }
    Ok(all)
}

fn identity(user: Option<&str>, single_id: bool) -> Result<Identity, Refused> {
    let user = match user {
        None | Some("root" | "0") => User::root(),
        Some(who) => users::find(who).ok_or((Refusal::UnknownUser, Errno::NOENT))?,
    };
    // One id: setgroups is denied and no other id is mapped (`user_namespaces(7)`).
    let groups = match (single_id, user.uid) {
        (false, _) => Some(user.groups.iter().map(|group| Gid::from_raw(*group)).collect()),
        (true, 0) => None,
        (true, _) => return Err((Refusal::SingleUser, Errno::PERM)),
    };
    Ok(Identity { uid: user.uid, gid: user.gid, groups, name: user.name, home: user.home })
}

/// Whether this user namespace has one id only.
pub(super) fn single_id() -> bool {
    // `setgroups` says `deny` only where the engine has a single id; without /proc, trying tells.
    match disk::read(b"/proc/self/setgroups", 64) {
        Ok(text) => text.trim_ascii() == b"deny",
        Err(_) => rustix::thread::set_thread_groups(&[]).is_err(),
    }
}

/// Looks the program up as a shell would: as it is if it has a slash, else along `PATH`.
fn find_program(request: &Exec) -> Result<CString, Refused> {
    let name = request.argv.first().filter(|name| !name.is_empty()).ok_or((Refusal::NotFound, Errno::NOENT))?;
    let c_string = |path: Vec<u8>| disk::c_string(path).map_err(other);
    if name.contains(&b'/') {
        // A relative one means the working directory of the program, which the child has entered by then.
        return c_string(name.clone());
    }
    let path = request.env.iter().find_map(|entry| entry.strip_prefix(b"PATH=")).unwrap_or_default();
    let mut refused = (Refusal::NotFound, Errno::NOENT);
    for dir in path.split(|byte| *byte == b':').filter(|dir| !dir.is_empty()) {
        let candidate = super::path::join(dir, name);
        let Ok(stat) = rustix::fs::stat(&*candidate) else { continue };
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            continue;
        }
        if stat.st_mode & 0o111 != 0 {
            return c_string(candidate);
        }
        refused = (Refusal::NotExecutable, Errno::ACCESS);
    }
    Err(refused)
}

/// What an error number of the child means for the caller.
fn explain(error: &StartError, path: &CString) -> Refusal {
    match (error.stage, error.errno) {
        (Stage::WorkingDirectory, _) => Refusal::WorkingDirectory,
        (Stage::Exec, Errno::TOOBIG) => Refusal::TooLarge,
        (Stage::Exec, Errno::NOEXEC | Errno::LIBBAD) => Refusal::WrongFormat,
        (Stage::Exec, Errno::ACCESS | Errno::PERM) => {
            if is_directory(path) {
                Refusal::IsDirectory
            } else {
                Refusal::NotExecutable
            }
        }
        (Stage::Exec, Errno::ISDIR) => Refusal::IsDirectory,
        (Stage::Exec, Errno::NOENT | Errno::NOTDIR) => {
            // The file is there, so what is missing is what it needs: the program of its `#!` line, or, for a binary
            // of another architecture, its loader.
            if rustix::fs::accessat(CWD, path.as_c_str(), Access::EXISTS, AtFlags::empty()).is_err() {
                Refusal::NotFound
            } else if starts_with_shebang(path) {
                Refusal::BadInterpreter
            } else {
                Refusal::WrongFormat
            }
        }
        _ => Refusal::Other,
    }
}

fn is_directory(path: &CString) -> bool {
    rustix::fs::stat(path.as_c_str()).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

fn starts_with_shebang(path: &CString) -> bool {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let Ok(file) = rustix::fs::open(path.as_c_str(), flags, Mode::empty()) else { return false };
    let mut start = [0; 2];
    matches!(rustix::io::read(&file, &mut start), Ok(2)) && &start == b"#!"
}

/// A terminal of the sandbox's own devpts.
struct Terminal {
    master: OwnedFd,
    slave: OwnedFd,
}

impl Terminal {
    fn open((rows, cols): (u16, u16), owner: u32) -> Result<Self, Errno> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = rustix::pty::openpt(flags)?;
        rustix::pty::unlockpt(&master)?;
        let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags)?;
        let size = Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&master, size)?;
        // As login(1) does: the terminal belongs to who uses it.
        rustix::fs::fchown(&slave, Some(Uid::from_raw(owner)), None)?;
        Ok(Self { master, slave })
    }
}
