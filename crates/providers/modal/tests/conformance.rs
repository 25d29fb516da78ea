//! The conformance suite over this provider, over `compute serve`'s server, over `local`: what a caller is promised survives the wire both ways.

#![allow(clippy::print_stdout)]

use computesdk_local::{Local, LocalConfig, doctor};
use computesdk_modal::{Modal, ModalConfig};
use computesdk_server::{Server, ServerOptions};
use computesdk_testkit::{Suite, run};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

fn main() -> ExitCode {
    let Ok(dir) = tempfile::tempdir() else { return refuse("no temporary directory") };
    let mut config = LocalConfig::default();
    config.authority_dir = Some(dir.path().join("ca"));
    let found =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map(|rt| rt.block_on(doctor(&config)));
    match found {
        Ok(Ok(doctor)) if doctor.rung.is_some() => {}
        Ok(Ok(_)) => {
            let reason = "this machine offers no sandbox isolation; see `compute doctor`";
            return run("modal", Suite::unavailable(reason));
        }
        Ok(Err(error)) => return refuse(&error.report()),
        Err(error) => return refuse(&error.to_string()),
    }
    let state = dir.path().join("state");
    run("modal", Suite::new(|| serve(config, state)))
}

/// A server on a port of its own, and the provider that speaks to it. Both end with the suite's runtime.
async fn serve(config: LocalConfig, state: PathBuf) -> computesdk_core::Result<Modal> {
    let failed = |error: &dyn std::fmt::Display| {
        computesdk_core::Error::new(computesdk_core::ErrorKind::Unexpected, "serve", error.to_string())
    };
    let mut options = ServerOptions::new(&state);
    options.spool_dir = state;
    let server = Server::open(Arc::new(Local::new(config)), options).await.map_err(|error| failed(&error))?;
    let token = server.issue_token().await.map_err(|error| failed(&error))?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.map_err(|error| failed(&error))?;
    let address = listener.local_addr().map_err(|error| failed(&error))?;
    tokio::spawn(server.serve(listener, std::future::pending()));
    let mut config = ModalConfig::default();
    config.server_url = Some(format!("http://{address}"));
    config.token_id = Some(token.token_id);
    config.token_secret = Some(token.token_secret);
    Ok(Modal::new(config))
}

fn refuse(why: &str) -> ExitCode {
    println!("conformance: {why}");
    ExitCode::FAILURE
}
