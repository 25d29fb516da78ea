//! The same checks under `runc` and `bwrap`, for comparison: nothing here can fail but the running of them.
//!
//! Both are used as they come: `runc` with the specification that `runc spec` writes and the host's `/usr` in its root,
//! `bwrap` with every namespace that it can unshare. Both are told to make a user namespace only where they would not run
//! or would leave the checker with the host's own root privileges.

use super::answer::{self, Answer};
use super::outside::Outside;
use super::table;
use crate::check::{Failure, Outcome};
use libtest_mimic::{Completion, Failed, Trial};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

type Run = fn(&Outside) -> Outcome<Vec<u8>>;

pub(super) fn trials() -> Vec<Trial> {
    [("runc", runc as Run), ("bwrap", bwrap)]
        .into_iter()
        .map(|(name, run)| {
            let missing = if !installed(name) {
                Some(format!("{name} is not installed"))
            } else if !rustix::process::geteuid().is_root() {
                Some(format!("{name} is compared as root"))
            } else {
                None
            };
            let title = format!("peers::{name}_answers_the_same_list");
            match missing {
                Some(reason) => Trial::ignorable_test(title, move || Ok(Completion::ignored_with(reason))),
                None => {
                    Trial::test(title, move || compare(name, run).map_err(|failure| Failed::from(failure.to_string())))
                }
            }
        })
        .collect()
}

fn installed(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]).any(|dir| dir.join(name).is_file())
}

fn compare(name: &str, run: Run) -> Outcome {
    let outside = Outside::start()?;
    let output = run(&outside);
    let answers: Vec<Answer> = answer::parse(&output?)?;
    let asked = answer::expected().len();
    ensure!(answers.len() == asked, "{name}: {} of {asked} checks were answered", answers.len());
    // Marks that it leaves on the host are removed here, and are no failure of ours.
    drop(outside);
    table::record(name, &answers)
}

fn bwrap(outside: &Outside) -> Outcome<Vec<u8>> {
    let mut command = Command::new("bwrap");
    command.args(["--unshare-all", "--unshare-user", "--die-with-parent"]);
    command.args(["--ro-bind", "/usr", "/usr", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]);
    for name in ["bin", "sbin", "lib", "lib64"] {
        if Path::new("/").join(name).is_symlink() {
            command.arg("--symlink").arg(format!("usr/{name}")).arg(format!("/{name}"));
        }
    }
    command.arg("--ro-bind").arg(outside.program()).args(["/checker", "/checker", "check"]).args(&outside.facts);
    output(command, "bwrap")
}

fn runc(outside: &Outside) -> Outcome<Vec<u8>> {
    let bundle = outside.program().with_file_name("bundle");
    let root = bundle.join("rootfs");
    for dir in ["usr", "proc", "dev", "sys", "tmp", "etc"] {
        std::fs::create_dir_all(root.join(dir))?;
    }
    for name in ["bin", "sbin", "lib", "lib64"] {
        if Path::new("/").join(name).is_symlink() {
            std::os::unix::fs::symlink(format!("usr/{name}"), root.join(name))?;
        }
    }
    std::fs::copy(outside.program(), root.join("checker"))?;
    let mut spec = Command::new("runc");
    spec.arg("spec").current_dir(&bundle);
    output(spec, "runc spec")?;
    let path = bundle.join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    config["process"]["terminal"] = false.into();
    let words = ["/checker", "check"].into_iter().map(str::to_owned).chain(outside.facts.clone());
    config["process"]["args"] = words.collect::<Vec<String>>().into();
    let usr = serde_json::json!({"destination": "/usr", "type": "bind", "source": "/usr", "options": ["rbind", "ro"]});
    config["mounts"].as_array_mut().ok_or_else(|| Failure::new("a specification without mounts"))?.push(usr);
    std::fs::write(&path, config.to_string())?;
    let name = format!("computesdk-containment-{}", std::process::id());
    let state = bundle.join("state");
    let mut command = Command::new("runc");
    command.arg("--root").arg(&state).arg("run").arg(&name).current_dir(&bundle);
    let result = output(command, "runc");
    let _ = Command::new("runc").arg("--root").arg(&state).args(["delete", "--force", &name]).output();
    result
}

/// What a program prints, within a minute.
fn output(mut command: Command, what: &str) -> Outcome<Vec<u8>> {
    use std::io::Read as _;
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let read = |stream: Option<Box<dyn std::io::Read + Send>>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = stream.map(|mut stream| stream.read_to_end(&mut bytes));
            bytes
        })
    };
    let stdout = read(child.stdout.take().map(|s| Box::new(s) as Box<dyn std::io::Read + Send>));
    let stderr = read(child.stderr.take().map(|s| Box::new(s) as Box<dyn std::io::Read + Send>));
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if start.elapsed() > Duration::from_secs(60) {
            child.kill()?;
            child.wait()?;
            return Err(Failure::new(format!("{what} is not done after a minute")));
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let (stdout, stderr) = (stdout.join().unwrap_or_default(), stderr.join().unwrap_or_default());
    ensure!(status.success(), "{what}: {status}: {}", String::from_utf8_lossy(&stderr));
    Ok(stdout)
}
