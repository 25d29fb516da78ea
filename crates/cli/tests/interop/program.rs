//! One program: a clean environment, a deadline, and what its lines say.

use crate::clients::{Client, Program, Runtime};
use crate::environment::Place;
use crate::interop;
use crate::server::Server;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longer than any program takes that is well; each of its checks has a shorter one.
const DEADLINE: Duration = Duration::from_secs(300);

/// What a program said of a feature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    Works,
    /// The server's sentence.
    Refused(String),
    /// This version of the client does not offer it.
    Absent,
    Failed(String),
}

/// What a program said in all.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) lines: BTreeMap<String, Said>,
    /// Why there may be lines missing.
    pub(crate) trouble: Option<String>,
    took: Duration,
}

impl Seen {
    /// For the log.
    pub(crate) fn summary(&self) -> String {
        let count = |wanted: fn(&Said) -> bool| self.lines.values().filter(|said| wanted(said)).count();
        let failed = count(|said| matches!(said, Said::Failed(_)));
        let trouble = self.trouble.as_deref().map(|why| format!("; {why}")).unwrap_or_default();
        format!(
            "{} work, {} refused, {} not offered, {failed} failed, {:.0} s{trouble}",
            count(|said| matches!(said, Said::Works)),
            count(|said| matches!(said, Said::Refused(_))),
            count(|said| matches!(said, Said::Absent)),
            self.took.as_secs_f64(),
        )
    }
}

/// Runs a program to its end, or to its deadline.
pub(crate) fn run(client: &Client, program: &Program, place: &Place, server: &Server) -> Seen {
    let started = Instant::now();
    let mut seen = match start(client, program, place, server) {
        Ok(child) => watch(child, started + DEADLINE),
        Err(why) => Seen { trouble: Some(why), ..Seen::default() },
    };
    seen.took = started.elapsed();
    seen
}

/// Whether a program refuses to run at an address that is not on loopback. Nobody has this one: it is of a range for
/// documents.
pub(crate) fn refuses_elsewhere(
    client: &Client,
    program: &Program,
    place: &Place,
    server: &Server,
) -> Result<(), String> {
    let mut command = command(client, program, place, server)?;
    command.env("MODAL_SERVER_URL", "http://203.0.113.1:9");
    let child = command.spawn().map_err(|error| format!("{}: {error}", program.path.display()))?;
    let seen = watch(child, Instant::now() + Duration::from_secs(30));
    match seen.trouble {
        Some(why) if seen.lines.is_empty() && why.contains("refusing to run") => Ok(()),
        why => Err(format!("{} of {} ran at 203.0.113.1: {why:?}", program.path.display(), client.id)),
    }
}

fn start(client: &Client, program: &Program, place: &Place, server: &Server) -> Result<Child, String> {
    let url = server.url();
    if !url.starts_with("http://127.0.0.1:") {
        return Err(format!("refusing to run: {url:?} is not on loopback"));
    }
    let mut command = command(client, program, place, server)?;
    command.spawn().map_err(|error| format!("{}: {error}", program.path.display()))
}

/// The program with its environment, which is made here and holds nothing of the caller's but where programs are.
fn command(client: &Client, program: &Program, place: &Place, server: &Server) -> Result<Command, String> {
    let mut command = Command::new(&place.program);
    match client.runtime {
        Runtime::Python => {
            // No traces beside the program.
            command.args(["-B", "-u"]).arg(interop().join(&program.path));
        }
        Runtime::Node => {
            command.arg(copied(program, &place.folder)?);
        }
    }
    let home = server.scratch().join(format!("home-{}-{}", client.id, program.name()));
    fs::create_dir_all(&home).map_err(|error| format!("{}: {error}", home.display()))?;
    command.env_clear().env("HOME", &home).env("TMPDIR", &home).env("LANG", "C.UTF-8").env("NO_PROXY", "*");
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    for (name, value) in server.settings() {
        command.env(name, value);
    }
    command.envs(client.settings.iter().copied()).current_dir(&home);
    // A group of its own, so that the deadline ends all of it.
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    Ok(command)
}

/// Modules are found from where the program lies: the programs go beside what was installed.
fn copied(program: &Program, folder: &Path) -> Result<std::path::PathBuf, String> {
    let to = folder.join(&program.path);
    let parent = to.parent().ok_or("a program without a folder")?;
    fs::create_dir_all(parent).map_err(|error| format!("{}: {error}", parent.display()))?;
    let from = interop().join(&program.path);
    let folders = [from.parent(), from.parent().and_then(Path::parent)];
    for source in folders.into_iter().flatten() {
        for entry in fs::read_dir(source).map_err(|error| format!("{}: {error}", source.display()))?.flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "mjs") {
                let relative = path.strip_prefix(interop()).map_err(|error| error.to_string())?;
                replace(&path, &folder.join(relative))?;
            }
        }
    }
    Ok(to)
}

/// Copies a file so that whoever reads the old one at this moment reads all of it.
fn replace(from: &Path, to: &Path) -> Result<(), String> {
    let told = |error: std::io::Error| format!("{}: {error}", to.display());
    let content = fs::read(from).map_err(told)?;
    if fs::read(to).is_ok_and(|found| found == content) {
        return Ok(());
    }
    let folder = to.parent().ok_or("a file without a folder")?;
    let mut fresh = tempfile::NamedTempFile::new_in(folder).map_err(told)?;
    std::io::Write::write_all(&mut fresh, &content).map_err(told)?;
    fresh.persist(to).map_err(|error| told(error.error))?;
    Ok(())
}

/// Reads what the program says until it ends.
fn watch(mut child: Child, deadline: Instant) -> Seen {
    let stdout = reader(child.stdout.take());
    let stderr = reader(child.stderr.take());
    let mut trouble = None;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break Some(status),
            Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
            Ok(None) => {
                trouble = Some(format!("not done after {} s", DEADLINE.as_secs()));
                break None;
            }
            Err(error) => {
                trouble = Some(error.to_string());
                break None;
            }
        }
    };
    // Its children too, which may hold its output open.
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
    }
    let _ = child.wait();
    let lines = parse(&stdout.join().unwrap_or_default());
    let told = stderr.join().unwrap_or_default();
    let well = status.is_some_and(|status| match status.code() {
        Some(0) => true,
        // It tells of failed checks in lines.
        Some(1) => lines.values().any(|said| matches!(said, Said::Failed(_))),
        _ => false,
    });
    if !well {
        let tail: Vec<&str> = told.lines().rev().take(15).collect();
        let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
        let how = trouble.unwrap_or_else(|| status.map_or_else(String::new, |status| status.to_string()));
        return Seen { lines, trouble: Some(format!("the program ended early: {how}\n{tail}")), ..Seen::default() };
    }
    if std::env::var_os("COMPUTESDK_INTEROP_VERBOSE").is_some() {
        crate::say(&told);
    }
    Seen { lines, ..Seen::default() }
}

fn reader(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// The lines of `interop/README.md`; others are the program's own business.
fn parse(text: &str) -> BTreeMap<String, Said> {
    let lines = text.lines().filter_map(|line| {
        let (kind, rest) = ["ok ", "not ok ", "refused ", "absent "]
            .into_iter()
            .find_map(|kind| Some((kind, line.strip_prefix(kind)?)))?;
        let (feature, why) = rest.split_once(": ").unwrap_or((rest, ""));
        let said = match kind {
            "ok " => Said::Works,
            "refused " => Said::Refused(why.to_owned()),
            "absent " => Said::Absent,
            _ => Said::Failed(why.to_owned()),
        };
        Some((feature.to_owned(), said))
    });
    lines.collect()
}
