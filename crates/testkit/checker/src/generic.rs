//! The kinds of checks that need nothing but their arguments. What each kind means stands in `checks.txt`.

use crate::list::Check;
use crate::reach;
use crate::sys::{self, Entry, Page};
use crate::{Facts, Verdict};
use std::fs::{self, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

pub(crate) fn run(check: &Check, facts: &Facts) -> Verdict {
    let arguments = check.arguments;
    let done = match check.kind {
        "ns" => namespace(check.name, facts),
        "hidden" => Ok(hidden(Path::new(arguments))),
        "absent" => Ok(absent(Path::new(arguments))),
        "readonly" => Ok(read_only(Path::new(arguments))),
        "ownfs" => own_file_system(arguments, facts),
        "differs" => differs(arguments, facts),
        "without" => without(arguments, facts),
        "pid1" => first_process(arguments),
        "capability" => capability(arguments, &["CapEff", "CapPrm", "CapInh", "CapAmb"]),
        "bounding" => capability(arguments, &["CapBnd"]),
        "limit" => limit(arguments),
        "rtnetlink" => crate::special::rtnetlink(arguments, facts),
        "sockopt" => socket_option(arguments),
        "tcp" => reach::tcp(arguments, facts),
        "udp" => reach::udp(arguments, facts),
        "mute" => reach::mute(arguments, facts),
        "call" => call(check),
        kind => Err(Verdict::NotHeld(format!("no kind of checks is called {kind}"))),
    };
    done.unwrap_or_else(|verdict| verdict)
}

type Done = Result<Verdict, Verdict>;

/// Turns "cannot be looked at" into a reason to skip.
pub(crate) fn needed<T>(what: &str, result: io::Result<T>) -> Result<T, Verdict> {
    result.map_err(|error| Verdict::NotApplicable(format!("{what}: {error}")))
}

/// One line of `/proc/self/status`.
pub(crate) fn status(name: &str) -> Result<String, Verdict> {
    let text = needed("/proc/self/status", fs::read_to_string("/proc/self/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.map(|value| value.trim().to_owned())
        .ok_or_else(|| Verdict::NotApplicable(format!("/proc/self/status has no {name}")))
}

fn namespace(name: &str, facts: &Facts) -> Done {
    let host = facts.get(&format!("ns.{name}"))?;
    let own = needed("its own", fs::read_link(format!("/proc/self/ns/{name}")))?.display().to_string();
    Ok(Verdict::when(own != host, format!("{own}, the host's is {host}")))
}

/// `/dev/null` (`mem(4)`: character device 1:3) covers files.
fn is_null(metadata: &fs::Metadata) -> bool {
    metadata.file_type().is_char_device() && metadata.rdev() == libc::makedev(1, 3)
}

fn hidden(path: &Path) -> Verdict {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => return Verdict::Held(error.to_string()),
    };
    if is_null(&metadata) {
        return Verdict::Held("a null device covers it".into());
    }
    if metadata.is_dir() {
        return match fs::read_dir(path) {
            Err(error) => Verdict::Held(error.to_string()),
            Ok(mut entries) => match entries.next() {
                None => Verdict::Held("an empty directory".into()),
                // Opened, but not to be listed.
                Some(Err(error)) => Verdict::Held(error.to_string()),
                Some(Ok(entry)) => Verdict::NotHeld(format!("it holds {:?}", entry.file_name())),
            },
        };
    }
    // Some would wait for something to read.
    let read = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).and_then(|mut file| {
        let mut first = [0; 80];
        file.read(&mut first).map(|n| String::from_utf8_lossy(&first[..n]).into_owned())
    });
    match read {
        Err(error) => Verdict::Held(error.to_string()),
        Ok(text) if text.is_empty() => Verdict::Held("nothing is in it".into()),
        Ok(text) => Verdict::NotHeld(format!("it says {text:?}")),
    }
}

fn absent(path: &Path) -> Verdict {
    match fs::symlink_metadata(path) {
        Err(error) => Verdict::Held(error.to_string()),
        Ok(metadata) => Verdict::NotHeld(format!("it is there: {:?}", metadata.file_type())),
    }
}

fn read_only(path: &Path) -> Verdict {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => return Verdict::Held(error.to_string()),
    };
    if metadata.is_dir() {
        let c_path = Page::with(path.as_os_str().as_encoded_bytes());
        let flags = u64::from(libc::AT_EACCESS.cast_unsigned());
        let at = libc::AT_FDCWD.cast_unsigned();
        let arguments = [at.into(), c_path.0, u64::from(libc::W_OK.cast_unsigned()), flags];
        return refusal(sys::native_call(libc::SYS_faccessat2, &arguments));
    }
    if is_null(&metadata) {
        return Verdict::Held("a null device covers it".into());
    }
    Verdict::refused(OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(path))
}

/// Held if the call failed, with its error in words.
pub(crate) fn refusal(result: Result<u64, i32>) -> Verdict {
    Verdict::refused(result.map_err(io::Error::from_raw_os_error))
}

/// Held if it is not this process's to do; any other error came after that question.
pub(crate) fn by_right(result: Result<u64, i32>) -> Verdict {
    match result {
        Err(errno) => {
            let refused = [libc::EPERM, libc::EACCES, libc::ENOSYS].contains(&errno);
            Verdict::when(refused, io::Error::from_raw_os_error(errno).to_string())
        }
        Ok(value) => Verdict::NotHeld(format!("it returned {value}")),
    }
}

fn socket_option(arguments: &str) -> Done {
    let numbers: Vec<i32> = arguments.split(' ').filter_map(|word| word.parse().ok()).collect();
    let &[family, kind, level, option] = numbers.as_slice() else {
        return Err(Verdict::NotHeld(format!("no option is {arguments}")));
    };
    let socket = needed("a socket", sys::socket(family, kind, 0))?;
    Ok(by_right(sys::set_option(&socket, level, option, &1_i32.to_ne_bytes())))
}

fn own_file_system(path: &str, facts: &Facts) -> Done {
    let host = facts.get(&format!("fs.{path}"))?;
    Ok(match fs::metadata(path) {
        Err(error) => Verdict::Held(error.to_string()),
        Ok(metadata) => {
            let own = metadata.dev().to_string();
            Verdict::when(own != host, format!("on device {own}, the host's is on {host}"))
        }
    })
}

fn differs(arguments: &str, facts: &Facts) -> Done {
    let (fact, path) = arguments.split_once(' ').unwrap_or_default();
    let host = facts.get(fact)?;
    Ok(match fs::read(path) {
        Err(error) => Verdict::Held(error.to_string()),
        Ok(bytes) => {
            let own = String::from_utf8_lossy(&bytes).trim().to_owned();
            Verdict::when(own != host, format!("it says {own:?}"))
        }
    })
}

fn without(arguments: &str, facts: &Facts) -> Done {
    let (fact, path) = arguments.split_once(' ').unwrap_or_default();
    let words = facts.get(fact)?;
    Ok(match fs::read(path) {
        Err(error) => Verdict::Held(error.to_string()),
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            match words.split(',').find(|word| text.contains(word)) {
                Some(word) => Verdict::NotHeld(format!("it names {word}")),
                None => Verdict::Held(format!("nothing of it in {} bytes", bytes.len())),
            }
        }
    })
}

/// Skips when this process is the first one itself.
pub(crate) fn not_the_first() -> Result<(), Verdict> {
    let first = std::process::id() == 1 || std::os::unix::process::parent_id() == 1 && is_first_by_name();
    if first { Err(Verdict::NotApplicable("process 1 is this program".into())) } else { Ok(()) }
}

/// Checks run in children: whether their parent, the first process, is this program.
fn is_first_by_name() -> bool {
    let name = |pid: &str| fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    name("1") == name("self")
}

fn first_process(name: &str) -> Done {
    not_the_first()?;
    let path = format!("/proc/1/{name}");
    needed("process 1", fs::metadata("/proc/1").map(drop))?;
    if let Ok(target) = fs::read_link(&path) {
        return Ok(Verdict::NotHeld(format!("it leads to {}", target.display())));
    }
    // Opening its memory is all that is needed; address 0 cannot be read anyway.
    if name == "mem" {
        return Ok(Verdict::refused(fs::File::open(&path)));
    }
    Ok(hidden(Path::new(&path)))
}

fn capability(number: &str, sets: &[&str]) -> Done {
    let bit: u32 = number.parse().map_err(|_| Verdict::NotHeld("no number".into()))?;
    for set in sets {
        let mask = status(set)?;
        if u64::from_str_radix(&mask, 16).unwrap_or(u64::MAX) & (1 << bit) != 0 {
            return Ok(Verdict::NotHeld(format!("{set} is {mask}")));
        }
    }
    Ok(Verdict::Held(format!("not in {}", sets.join(", "))))
}

/// Soft and hard limit.
pub(crate) fn get_limit(resource: u64) -> Result<(u64, u64), Verdict> {
    let page = Page::new();
    match sys::native_call(libc::SYS_prlimit64, &[0, resource, 0, page.0]) {
        Err(errno) => Err(Verdict::NotApplicable(io::Error::from_raw_os_error(errno).to_string())),
        Ok(_) => {
            let bytes: [u8; 16] = page.bytes();
            let (soft, hard) = bytes.split_at(8);
            let word = |half: &[u8]| u64::from_ne_bytes(half.try_into().unwrap_or_default());
            Ok((word(soft), word(hard)))
        }
    }
}

fn limit(arguments: &str) -> Done {
    let mut numbers = arguments.split(' ').filter_map(|word| word.parse::<u64>().ok());
    let (resource, most) = (numbers.next().unwrap_or(u64::MAX), numbers.next().unwrap_or(0));
    let (soft, hard) = get_limit(resource)?;
    Ok(Verdict::when(hard <= most, format!("soft {soft}, hard {hard}")))
}

fn call(check: &Check) -> Done {
    let Some((entry, number)) = check.call else { return Err(Verdict::NotHeld("no number".into())) };
    let mut accepted = vec![libc::EPERM, libc::ENOSYS, libc::EACCES];
    let mut arguments = Vec::new();
    for word in check.arguments.split_whitespace() {
        match word.strip_prefix("ok=") {
            Some(errors) => accepted.extend(errors.split(',').filter_map(|error| error.parse::<i32>().ok())),
            None => arguments.push(argument(word)?),
        }
    }
    match sys::call(entry, number, &arguments) {
        // A process that was made answers twice.
        Ok(0) if check.name.starts_with("clone") => sys::exit(0),
        Ok(value) => Ok(Verdict::NotHeld(format!("it returned {value}"))),
        Err(errno) => {
            let error = io::Error::from_raw_os_error(errno).to_string();
            let error = if entry == Entry::Native { error } else { format!("{error} (by its entry)") };
            Ok(Verdict::when(accepted.contains(&errno), error))
        }
    }
}

/// One argument of a call, as `checks.txt` describes them.
fn argument(word: &str) -> Result<u64, Verdict> {
    let parsed = match word.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => word.parse::<i64>().ok().map(i64::cast_unsigned),
    };
    if let Some(number) = parsed {
        return Ok(number);
    }
    Ok(match word {
        "bad" => 1,
        "zero" | "zero2" => Page::new().0,
        "root" => Page::with(b"/\0").0,
        "pid" => std::process::id().into(),
        "now" => {
            // The clock is set to what it says, should that be allowed.
            let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
            Page::with(&[now.as_secs().to_ne_bytes(), u64::from(now.subsec_nanos()).to_ne_bytes()].concat()).0
        }
        "timex" => {
            // `adjtimex(2)`: set the tick (ADJ_TICK) to what it is. The field is the 12th word.
            let mut words = [0_u64; 26];
            (words[0], words[11]) = (0x4000, 10_000);
            Page::with(&words.map(u64::to_ne_bytes).concat()).0
        }
        "clone3" => {
            // `struct clone_args` of clone(2): flags first, the exit signal fifth.
            let mut words = [0_u64; 11];
            (words[0], words[4]) = (libc::CLONE_NEWUSER as u64, libc::SIGCHLD as u64);
            Page::with(&words.map(u64::to_ne_bytes).concat()).0
        }
        "ptmx" => crate::special::new_terminal()?.0,
        _ => return Err(Verdict::NotHeld(format!("no argument is called {word}"))),
    })
}
