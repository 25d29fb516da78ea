//! `compute serve`: Modal's API on this machine.
//!
//! ```text
//!  args ──► provider, state folder, port ──► computesdk_server::Server
//!             environment: export lines, server.json, variables ──► child: the command, if there is one
//!             trust: certificates for tunnels
//! ```

pub(crate) mod args;
mod child;
pub(crate) mod environment;
mod trust;

use crate::exit::{Exit, Failure};
use crate::printer::Printer;
use crate::session::config;
use crate::signals::Signals;
use args::{DEFAULT_PORT, ProviderName, ServeArgs};
use computesdk::{Error, ErrorKind};
use computesdk_local::{Local, authority_dir};
use computesdk_server::front::tls;
use computesdk_server::{Server, ServerOptions};
use computesdk_tunnel::Authority;
use environment::{Environment, server_file, state_home};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

const OPERATION: &str = "serve";
/// What the local authority signs for.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Serves until a signal comes, or the command ends.
pub(crate) async fn serve(args: ServeArgs, printer: Printer) -> Result<Exit, Failure> {
    if args.print_env {
        return print_environment(printer);
    }
    log(args.verbose);
    let mut signals = Signals::new()?;
    let is_for_command = !args.command.is_empty();
    let place = Place::choose(&args)?;
    let listen = args
        .listen
        .unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, if is_for_command { 0 } else { DEFAULT_PORT })));
    let listener = TcpListener::bind(listen).await.map_err(|error| {
        let error_text = format!("cannot listen on {listen}");
        let hint = "another server may run there: give another address with --listen, or port 0 for any free one";
        Error::new(ErrorKind::Unavailable, OPERATION, error_text).with_source(error).with_hint(hint)
    })?;
    let address = listener.local_addr().unwrap_or(listen);

    let ProviderName::Local = args.provider;
    let provider = Arc::new(Local::new(config(&args.interpreters)));
    let mut options = ServerOptions::new(&place.dir);
    options.key_file.clone_from(&args.key);
    options.spool_cap = args.max_output;
    options.max_sandboxes = args.max_sandboxes;
    options.max_sandboxes_per_token = args.max_sandboxes_per_token;
    options.router_token_life = args.router_token_life;
    options.faults.clone_from(&args.faults);
    options.fault_seed = args.fault_seed;
    options.front.allowed_hosts.clone_from(&args.allowed_hosts);
    let ca = certificates(&args, &mut options)?;

    let server = Server::open(Arc::clone(&provider) as Arc<dyn computesdk::core::Provider>, options).await;
    let server = server.map_err(|error| failed("the server's state cannot be opened", error))?;
    let token = server.issue_token().await.map_err(|error| failed("no token can be made", error))?;
    let mut environment = Environment::new(format!("http://{}", reachable(address)), &token);
    if let Some(ca) = ca {
        environment.ca_bundle = trust::bundle(&place.dir, &ca).ok();
        environment.ca = Some(ca);
    }
    if server.lost() > 0 {
        printer.note(&format!("compute: {} sandboxes ended with the server before this one", server.lost()));
    }
    if !args.faults.is_empty() {
        printer.note(&format!("compute: faults are injected, with seed {}", server.faults().report().seed));
    }

    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(server.serve(listener, async {
        let _ = stopped.await;
    }));
    let outcome = if is_for_command {
        child::run(&args.command, environment.variables(), &mut signals).await
    } else {
        announce(printer, &environment, &mut signals).await
    };
    let _ = stop.send(());
    // A second signal ends what a first one does not.
    tokio::select! {
        _ = serving => {}
        _ = signals.next() => printer.note("compute: stopped before everything had ended"),
    }
    provider.shutdown().await;
    drop(place);
    outcome
}

/// Says how the server is reached, and waits for a signal.
async fn announce(printer: Printer, environment: &Environment, signals: &mut Signals) -> Result<Exit, Failure> {
    let file = server_file();
    if let Some(file) = &file
        && let Err(error) = environment.write(file)
    {
        printer.note(&format!("compute: {} cannot be written: {error}", file.display()));
    }
    let said = if printer.is_json() {
        printer.json(
            &serde_json::json!({
                "url": environment.url,
                "tokenId": environment.token_id,
                "tokenSecret": environment.token_secret,
                "environment": environment.environment,
                "ca": environment.ca,
                "caBundle": environment.ca_bundle,
                "pid": environment.pid,
            })
            .to_string(),
        )
    } else {
        printer.note(&format!("compute: Modal's API at {}, until Ctrl-C. For the clients:\n", environment.url));
        printer.result(&environment.exports())
    };
    let signal = match said {
        Ok(()) => Ok(signals.next().await),
        Err(failure) => Err(failure),
    };
    if let Some(file) = &file {
        environment.remove(file);
    }
    match signal? {
        // Told to end, it ends: that is no failure.
        computesdk::Signal::TERM => Ok(Exit::OK),
        signal => Err(Failure::Signalled(signal)),
    }
}

/// `--print-env`.
fn print_environment(printer: Printer) -> Result<Exit, Failure> {
    let found = server_file().and_then(|file| Environment::read(&file).ok());
    let found = found.filter(|found| {
        let pid = i32::try_from(found.pid).ok().and_then(rustix::process::Pid::from_raw);
        pid.is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok())
    });
    let Some(environment) = found else {
        return Err(Error::new(ErrorKind::NotFound, OPERATION, "no server of this user's runs on this machine")
            .with_hint("start one: compute serve")
            .into());
    };
    printer.result(&environment.exports())?;
    Ok(Exit::OK)
}

/// The folder of the state, and whether it goes with the server.
struct Place {
    dir: PathBuf,
    _temporary: Option<tempfile::TempDir>,
}

impl Place {
    fn choose(args: &ServeArgs) -> Result<Self, Failure> {
        if let Some(dir) = &args.state {
            return Ok(Self { dir: dir.clone(), _temporary: None });
        }
        if !args.command.is_empty() {
            let made = tempfile::Builder::new().prefix("computesdk-serve-").tempdir();
            let made = made.map_err(|error| failed("no folder can be made for the state", error))?;
            return Ok(Self { dir: made.path().to_owned(), _temporary: Some(made) });
        }
        let home = state_home().ok_or_else(|| {
            Error::new(ErrorKind::FailedPrecondition, OPERATION, "there is no place for the state: HOME is not set")
                .with_hint("give a folder with --state")
        })?;
        Ok(Self { dir: home.join("server"), _temporary: None })
    }
}

/// TLS for the port; the certificate of the local authority, if that is whose it is.
fn certificates(args: &ServeArgs, options: &mut ServerOptions) -> Result<Option<PathBuf>, Failure> {
    let authority = Authority::open(&authority_dir()).map_err(|error| failed("no certificate authority", error))?;
    if let (Some(cert), Some(key)) = (&args.tls_cert, &args.tls_key) {
        let config = tls::from_pem(cert, key).map_err(|error| {
            Error::new(ErrorKind::InvalidArgument, OPERATION, "--tls-cert and --tls-key cannot be used")
                .with_source(error)
        })?;
        options.front.tls = Some(config);
    } else {
        let config = authority.server_config(&NAMES.map(String::from), true);
        options.front.tls = Some(config.map_err(|error| failed("no certificate can be made", error))?);
    }
    Ok(Some(authority.path().to_owned()))
}

/// An address under which a listener is reached from this machine.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(any) if any.ip().is_unspecified() => SocketAddr::from((Ipv4Addr::LOCALHOST, any.port())),
        SocketAddr::V6(any) if any.ip().is_unspecified() => {
            SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, any.port()))
        }
        other => other,
    }
}

fn failed(text: &str, error: impl std::error::Error + Send + Sync + 'static) -> Failure {
    let text = format!("{text}: {error}");
    Error::new(ErrorKind::FailedPrecondition, OPERATION, text).with_source(error).into()
}

/// To standard error, as much as was asked for.
fn log(verbosity: u8) {
    use tracing_subscriber::filter::LevelFilter;
    let level = match verbosity {
        0 => LevelFilter::ERROR,
        1 => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    };
    // A second server in one process would find it set.
    let _ = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).with_target(false).try_init();
}

/// On a runtime of several threads, unlike every other command.
pub(crate) fn block_on(args: ServeArgs, printer: Printer) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::new(ErrorKind::Unexpected, "runtime", "cannot start the runtime").with_source(error))?;
    let outcome = runtime.block_on(serve(args, printer));
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}
