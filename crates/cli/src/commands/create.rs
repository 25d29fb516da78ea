//! `compute create`: a sandbox at a server, which lives on when this ends.

use crate::exit::{Exit, Failure};
use crate::printer::Printer;
use crate::remote::Remote;
use crate::remote::args::CreateArgs;
use crate::session::{DEFAULT_CWD, unreadable};
use crate::signals::Signals;
use computesdk::{CreateParams, Sandbox, SandboxInfo, Tunnel};
use serde::Serialize;
use std::time::Duration;

/// How long after a signal a sandbox that is just being made is waited for, to end it.
const GRACE: Duration = Duration::from_secs(10);

#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    info: SandboxInfo,
    tunnels: Vec<Tunnel>,
}

/// Makes it.
pub(crate) async fn create(args: &CreateArgs, printer: Printer) -> Result<Exit, Failure> {
    let params = params(args)?;
    let remote = Remote::open(&args.server)?;
    let mut signals = Signals::new()?;
    let compute = remote.compute();
    let sandboxes = compute.sandbox();
    let mut making = std::pin::pin!(sandboxes.create(params));
    let sandbox = tokio::select! {
        made = &mut making => remote.told(made)?,
        signal = signals.next() => {
            // Nobody would know of it: it is made to the end, and ended. A further signal is not waited for.
            let ended = async {
                if let Ok(Ok(sandbox)) = tokio::time::timeout(GRACE, making).await {
                    let _ = sandbox.destroy().await;
                }
            };
            tokio::select! {
                () = ended => {}
                _ = signals.next() => printer.note("compute: the sandbox may have been made: see `compute ps`"),
            }
            return Err(Failure::Signalled(signal));
        }
    };
    tell(&remote, &sandbox, printer).await?;
    Ok(Exit::OK)
}

async fn tell(remote: &Remote, sandbox: &Sandbox, printer: Printer) -> Result<(), Failure> {
    let tunnels = remote.told(sandbox.tunnels().await)?;
    if printer.is_json() {
        let info = remote.told(sandbox.get_info().await)?;
        return printer.json(&crate::printer::to_json(&Report { info, tunnels })?);
    }
    for tunnel in tunnels {
        let urls: Vec<String> = [false, true].into_iter().filter_map(|secure| tunnel.url(secure)).collect();
        printer.note(&format!("compute: port {} is at {}", tunnel.port, urls.join(" and ")));
    }
    printer.result(&format!("{}\n", sandbox.sandbox_id()))
}

fn params(args: &CreateArgs) -> Result<CreateParams, Failure> {
    let pairs = |list: &[crate::values::Variable]| {
        list.iter().map(|pair| (pair.name.clone(), pair.value.clone())).collect::<std::collections::BTreeMap<_, _>>()
    };
    // What Modal takes for no limit.
    let mut params = CreateParams::new().timeout(args.timeout.unwrap_or(Duration::MAX));
    let options = &mut params.options;
    options.image.clone_from(&args.image);
    options.name.clone_from(&args.name);
    options.metadata = pairs(&args.tags);
    options.env = pairs(&args.env);
    options.idle_timeout = args.idle_timeout;
    options.cwd.clone_from(&args.cwd);
    options.network.clone_from(&args.network);
    options.ports.clone_from(&args.ports);
    options.inbound = (!args.inbound.is_empty()).then(|| args.inbound.clone());
    options.resources.memory_bytes = args.memory;
    options.resources.cpus = args.cpu;
    options.command = (!args.command.is_empty()).then(|| args.command.clone());
    let cwd = args.cwd.as_deref().unwrap_or(DEFAULT_CWD);
    for file in &args.files {
        options.files.push(file.read(cwd).map_err(|error| unreadable(&file.local, error, Exit::OURS))?);
    }
    Ok(params)
}
