//! Where a client is installed: `target/interop/NAME`, from the pins in `interop/`, once.
//!
//! A stamp of the pins says that the installation is whole and of these pins; a lock keeps two runs from making it at once.

use crate::clients::{Client, Runtime};
use crate::say;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A client that is ready to run.
#[derive(Debug)]
pub(crate) struct Place {
    /// The interpreter.
    pub(crate) program: PathBuf,
    /// The folder it was installed in.
    pub(crate) folder: PathBuf,
}

/// Makes the client's environment, or finds it made. An error says why it cannot be had here.
pub(crate) fn prepare(client: &Client, interop: &Path) -> Result<Place, String> {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().ok_or("no target directory")?.join("interop");
    let folder = root.join(client.environment);
    fs::create_dir_all(&root).map_err(|error| format!("{}: {error}", root.display()))?;
    let lock = File::create(root.join(format!("{}.lock", client.environment)))
        .map_err(|error| format!("{}: {error}", root.display()))?;
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)
        .map_err(|error| format!("{}: {error}", root.display()))?;
    let (place, pins, version) = match client.runtime {
        Runtime::Python => {
            let version = client.environment.trim_start_matches("python-");
            let pins = vec![interop.join(format!("python/requirements-{version}.txt"))];
            let place = Place { program: folder.join("bin/python"), folder: folder.clone() };
            (place, pins, python()?)
        }
        Runtime::Node => {
            let pinned = interop.join("js/environments").join(client.environment);
            let pins = vec![pinned.join("package.json"), pinned.join("package-lock.json")];
            (Place { program: "node".into(), folder: folder.clone() }, pins, node()?)
        }
    };
    let stamp = stamp(&pins, &version)?;
    let stamp_file = folder.join("stamp");
    if fs::read_to_string(&stamp_file).is_ok_and(|found| found == stamp) {
        return Ok(place);
    }
    say(&format!("interop: installing {}", client.environment));
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    match client.runtime {
        Runtime::Python => install_python(&folder, &pins[0])?,
        Runtime::Node => install_node(&folder, &pins)?,
    }
    File::create(&stamp_file)
        .and_then(|mut file| file.write_all(stamp.as_bytes()))
        .map_err(|error| format!("{}: {error}", stamp_file.display()))?;
    Ok(place)
}

fn install_python(folder: &Path, pins: &Path) -> Result<(), String> {
    step("python3", Command::new("python3").args(["-m", "venv"]).arg(folder))?;
    let mut pip = Command::new(folder.join("bin/python"));
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-input",
        "--disable-pip-version-check",
        "--only-binary",
        ":all:",
    ]);
    step("pip", pip.arg("-r").arg(pins))
}

fn install_node(folder: &Path, pins: &[PathBuf]) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for pin in pins {
        let name = pin.file_name().unwrap_or_default();
        fs::copy(pin, folder.join(name)).map_err(|error| format!("{}: {error}", pin.display()))?;
    }
    // Not `ci`: it wants optional packages of other platforms in the lock file, which not every registry has. Without
    // them the clients use their own JavaScript.
    let arguments = ["install", "--no-save", "--omit=optional", "--ignore-scripts", "--no-audit", "--no-fund"];
    step("npm", Command::new("npm").args(arguments).current_dir(folder))
}

/// Runs one step of an installation. Nothing of ours is in its environment, so it reaches the registries as the user does.
fn step(name: &str, command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{name} cannot be started: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let tail: Vec<&str> = said.lines().rev().take(5).collect();
    Err(format!("{name}: {}: {}", output.status, tail.into_iter().rev().collect::<Vec<_>>().join(" | ")))
}

/// The version of python3, if it is new enough for these clients.
fn python() -> Result<String, String> {
    let version = version("python3", &["-c", "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"])?;
    let parts: Vec<u32> = version.split('.').flat_map(str::parse).collect();
    if parts < vec![3, 10] { Err(format!("python3 is {version}, and 3.10 is needed")) } else { Ok(version) }
}

/// The version of node, if it is new enough for these clients.
fn node() -> Result<String, String> {
    version("npm", &["--version"])?;
    let version = version("node", &["--version"])?;
    let major = version.trim_start_matches('v').split('.').next().and_then(|part| part.parse::<u32>().ok());
    if major < Some(20) { Err(format!("node is {version}, and 20 is needed")) } else { Ok(version) }
}

fn version(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    match output {
        Ok(output) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        Ok(output) => Err(format!("{program}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Err(format!("no {program}: {error}")),
    }
}

/// Changes whenever the pins or the interpreter do.
fn stamp(pins: &[PathBuf], version: &str) -> Result<String, String> {
    let mut hasher = DefaultHasher::new();
    for pin in pins {
        fs::read(pin).map_err(|error| format!("{}: {error}", pin.display()))?.hash(&mut hasher);
    }
    Ok(format!("{version} {:016x}\n", hasher.finish()))
}
