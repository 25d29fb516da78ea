//! Modal's own SDKs: where they are installed, and one program of ours on top of each.
//!
//! The pins are those of `interop/`. What they lead to lies under `target/serve-bench` and is made once.

use crate::Result;
use crate::house::House;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// One SDK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    Python,
    Js,
}

impl Client {
    pub(crate) const ALL: [Self; 2] = [Self::Python, Self::Js];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Python => "Python 1.6.4",
            Self::Js => "JS 0.11.1",
        }
    }

    const fn folder(self) -> &'static str {
        match self {
            Self::Python => "python-1.6.4",
            Self::Js => "modal-0.11.1",
        }
    }

    fn pins(self) -> Vec<PathBuf> {
        let interop = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../interop");
        match self {
            Self::Python => vec![interop.join("python/requirements-1.6.4.txt")],
            Self::Js => {
                let folder = interop.join("js/environments/modal-0.11.1");
                vec![folder.join("package.json"), folder.join("package-lock.json")]
            }
        }
    }

    /// Installs it, or finds it installed. An error is why it cannot be had here.
    pub(crate) async fn install(self) -> Result<Installed> {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().ok_or("no target folder")?.join("serve-bench");
        fs::create_dir_all(&root)?;
        let lock = File::create(root.join(format!("{}.lock", self.folder())))?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)?;
        let installed = Installed { client: self, folder: root.join(self.folder()) };
        let stamp = self.stamp()?;
        let stamp_file = installed.folder.join("stamp");
        if fs::read(&stamp_file).is_ok_and(|found| found == stamp) {
            return Ok(installed);
        }
        eprintln!("serve: installing {}", self.name());
        if installed.folder.exists() {
            fs::remove_dir_all(&installed.folder)?;
        }
        installed.make().await?;
        fs::write(&stamp_file, stamp)?;
        Ok(installed)
    }

    /// The pins themselves: another one, and all is installed anew.
    fn stamp(self) -> Result<Vec<u8>> {
        let mut stamp = Vec::new();
        for pin in self.pins() {
            stamp.extend(fs::read(&pin).map_err(|error| format!("{}: {error}", pin.display()))?);
        }
        Ok(stamp)
    }
}

/// An SDK that is there.
#[derive(Debug)]
pub(crate) struct Installed {
    client: Client,
    folder: PathBuf,
}

impl Installed {
    async fn make(&self) -> Result<()> {
        let pins = self.client.pins();
        match self.client {
            Client::Python => {
                step(Command::new("python3").args(["-m", "venv"]).arg(&self.folder)).await?;
                let mut pip = Command::new(self.folder.join("bin/python"));
                pip.args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]);
                step(pip.args(["--only-binary", ":all:", "-r"]).arg(&pins[0])).await
            }
            Client::Js => {
                fs::create_dir_all(&self.folder)?;
                for pin in &pins {
                    fs::copy(pin, self.folder.join(pin.file_name().unwrap_or_default()))?;
                }
                // Optional packages are of other platforms, and not every registry has them.
                let words = ["install", "--no-save", "--omit=optional", "--ignore-scripts", "--no-audit", "--no-fund"];
                step(Command::new("npm").args(words).current_dir(&self.folder)).await
            }
        }
    }

    /// Starts a program of `programs/` as a client of this house, with nothing else in its environment.
    pub(crate) async fn start(&self, name: &str, house: &House) -> Result<Program> {
        let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/serve/programs");
        let mut command = match self.client {
            Client::Python => {
                let mut command = Command::new(self.folder.join("bin/python"));
                command.args(["-B", "-u"]).arg(programs.join(format!("{name}.py")));
                command
            }
            Client::Js => {
                // Modules are found from where the program lies.
                let file = format!("{name}.mjs");
                fs::copy(programs.join(&file), self.folder.join(&file))?;
                let mut command = Command::new("node");
                command.arg(self.folder.join(file));
                command
            }
        };
        let home = tempfile::Builder::new().prefix("computesdk-bench-home-").tempdir()?;
        command.env_clear().env("HOME", home.path()).env("TMPDIR", home.path()).env("LANG", "C.UTF-8");
        // Else they warn, of every connection, that its certificate is not looked at.
        command.env("MODAL_LOGLEVEL", "ERROR").env("NO_PROXY", "*").envs(house.variables()?);
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let stdin = child.stdin.take().ok_or("no standard input")?;
        let stdout = child.stdout.take().ok_or("no standard output")?;
        Ok(Program { child, stdin: Some(stdin), answers: BufReader::new(stdout).lines(), _home: home })
    }
}

/// A program that is told what to do in lines, and answers each with a line.
pub(crate) struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
    _home: tempfile::TempDir,
}

impl Program {
    /// Its answer.
    pub(crate) async fn ask(&mut self, line: &str) -> Result<String> {
        let stdin = self.stdin.as_mut().ok_or("it was told to end")?;
        stdin.write_all(format!("{line}\n").as_bytes()).await?;
        stdin.flush().await?;
        let answer = timeout(PATIENCE, self.answers.next_line()).await.map_err(|_| format!("{line}: no answer"))??;
        answer.ok_or_else(|| format!("{line}: the program ended").into())
    }

    /// An answer that is a number of milliseconds.
    pub(crate) async fn ask_ms(&mut self, line: &str) -> Result<f64> {
        let answer = self.ask(line).await?;
        answer.parse().map_err(|_| format!("{line}: answered with {answer:?}").into())
    }

    /// Ends it.
    pub(crate) async fn end(mut self) -> Result<()> {
        drop(self.stdin.take());
        let status = timeout(PATIENCE, self.child.wait()).await.map_err(|_| "a program does not end")??;
        if status.success() { Ok(()) } else { Err(format!("a program ended with {status}").into()) }
    }
}

/// One step of an installation, which reaches the registries as the user does.
async fn step(command: &mut Command) -> Result<()> {
    let name = command.as_std().get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().await.map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().last().unwrap_or_default();
    Err(format!("{name}: {}: {last}", output.status).into())
}
