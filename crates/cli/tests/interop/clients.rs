//! The clients, in the order of the columns of the matrix.

use std::path::{Path, PathBuf};

/// What runs a client's programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runtime {
    Python,
    Node,
}

/// One column: a version of a client, used in one way.
#[derive(Debug)]
pub(crate) struct Client {
    /// Its name in trials.
    pub(crate) id: &'static str,
    /// Its name in the matrix.
    pub(crate) title: &'static str,
    pub(crate) runtime: Runtime,
    /// Which pinned environment it runs in.
    pub(crate) environment: &'static str,
    /// The folder of its programs.
    folder: &'static str,
    programs: &'static [&'static str],
    /// Settings beside those that lead to the server.
    pub(crate) settings: &'static [(&'static str, &'static str)],
    /// Whether its server injects [`FAULTS`]. Not a column of the matrix: what works there has to work all the same.
    pub(crate) faults: bool,
}

/// Answers that are lost after the call was carried out, streams that break off, calls that fail at first: what the
/// clients' own retries, keys and offsets are for. Each client is told to give up after a few tries, so no call may meet
/// more.
pub(crate) const FAULTS: &[&str] = &[
    "TaskExecStdioRead: cut-after=64KiB p=0.5",
    "SandboxStdioReadV2: cut-after=64KiB p=0.5",
    "TaskExecStart: lose-answer p=0.1",
    "SandboxCreateV2: lose-answer p=0.1",
    "TaskExecStdinWrite: lose-answer p=0.1",
    "SandboxStdinWriteV2: lose-answer p=0.1",
    "TaskExecWait: status=UNAVAILABLE p=0.2",
    "SandboxWaitV2: status=UNAVAILABLE p=0.1",
];

/// The client whose environment makes what others look up.
pub(crate) const SEEDER: &str = "js-0.7.6";

/// What tells a program that it meets faults.
const FAULTY: &[(&str, &str)] = &[("INTEROP_FAULTS", "1")];

const PYTHON: &[&str] = &[
    "create", "exec", "input", "life", "name", "secret", "file", "oldfile", "output", "tunnel", "network", "ready",
    "error", "later",
];
const MODERN: &[&str] = &["create", "exec", "life", "file", "network", "other"];

/// Every client, and what it runs.
pub(crate) fn all() -> Vec<Client> {
    let python = |id, title, environment, settings| Client {
        id,
        title,
        runtime: Runtime::Python,
        environment,
        folder: "python/programs",
        programs: PYTHON,
        settings,
        faults: false,
    };
    let node = |id, title, environment, folder, programs, settings| Client {
        id,
        title,
        runtime: Runtime::Node,
        environment,
        folder,
        programs,
        settings,
        faults: false,
    };
    let client = "js/programs/client";
    vec![
        python("python-1.6.4", "Python 1.6.4", "python-1.6.4", &[]),
        python("python-1.6.4-v1", "Python 1.6.4, V1", "python-1.6.4", &[("MODAL_SANDBOX_V2", "0")]),
        python("python-1.5.4", "Python 1.5.4", "python-1.5.4", &[]),
        node("js-0.11.1", "JS 0.11.1", "modal-0.11.1", client, MODERN, &[]),
        node("js-0.11.1-v1", "JS 0.11.1, V1", "modal-0.11.1", client, MODERN, &[("MODAL_SANDBOX_V2", "0")]),
        node("js-0.7.6", "JS 0.7.6", "modal-0.7.6", client, MODERN, &[]),
        node("js-0.7.6-v2", "JS 0.7.6, V2", "modal-0.7.6", client, MODERN, &[("INTEROP_FAMILY", "v2")]),
        node("js-0.3.16", "JS 0.3.16", "modal-0.3.16", "js/programs/classic", &["sandbox", "lacks"], &[]),
        node(
            "computesdk-1.9.4",
            "@computesdk/modal 1.9.4",
            "computesdk-1.9.4",
            "js/programs/computesdk",
            &["provider"],
            &[],
        ),
        Client {
            faults: true,
            programs: &["exec", "input", "output", "life"],
            ..python("python-1.6.4-faults", "Python 1.6.4, faults", "python-1.6.4", FAULTY)
        },
        Client {
            faults: true,
            ..node("js-0.11.1-faults", "JS 0.11.1, faults", "modal-0.11.1", client, &["exec", "file"], FAULTY)
        },
    ]
}

impl Client {
    /// The programs it runs, with their paths below `interop/`.
    pub(crate) fn programs(&self) -> impl Iterator<Item = Program> + '_ {
        self.programs.iter().map(|name| Program { path: Path::new(self.folder).join(file(self.runtime, name)) })
    }
}

/// One program file.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    /// Below `interop/`.
    pub(crate) path: PathBuf,
}

impl Program {
    /// The program of this name in a folder of programs for JavaScript.
    pub(crate) fn new(runtime: Runtime, folder: &str, name: &str) -> Self {
        Self { path: Path::new("js/programs").join(folder).join(file(runtime, name)) }
    }

    /// Its name without the folder.
    pub(crate) fn name(&self) -> String {
        self.path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }
}

fn file(runtime: Runtime, name: &str) -> String {
    match runtime {
        Runtime::Python => format!("{name}.py"),
        Runtime::Node => format!("{name}.mjs"),
    }
}
