//! Something that create needs is used up or gone: one error that says what, nothing is left, and when it is there
//! again the next create works.

use crate::leftovers::Before;
use crate::support::{Place, runtime};
use crate::victim::chain;
use computesdk_engine::{Engine, EngineError, SandboxSpec};
use std::process::Command;

pub(crate) fn open_files() {
    let place = Place::new();
    place.next_start();
    let before = Before::look();
    let mut victim = place.victim("files");
    let said = victim.line();
    assert!(said.starts_with("failed after ") && said.contains("open files"), "{said}");
    let rest = victim.until_closed();
    assert!(victim.wait().success() && rest == "recovered\n", "{said}, then {rest}");
    before.nothing_is_left(&place);
}

pub(crate) fn state_directory() {
    let place = Place::new();
    place.next_start();
    let before = Before::look();
    // In the way of it: a file.
    std::fs::remove_dir_all(place.state()).unwrap();
    std::fs::write(place.state(), "").unwrap();
    let mut victim = place.victim("once");
    let said = victim.until_closed();
    assert_eq!(victim.wait().code(), Some(3), "{said}");
    assert!(said.contains(&place.state().display().to_string()) && said.contains("directory"), "{said}");
    before.nothing_runs();
    std::fs::remove_file(place.state()).unwrap();
    // Removed under a running engine: it goes on, and ends in order.
    runtime().block_on(async {
        let engine = Engine::start(place.options()).await.unwrap();
        std::fs::remove_dir_all(place.state()).unwrap();
        let sandbox = engine.create(&SandboxSpec::default()).await.unwrap();
        sandbox.terminate().await.unwrap();
        engine.shut_down().await;
    });
    place.next_start();
    before.nothing_is_left(&place);
}

/// Somebody clears the cache under a running engine.
pub(crate) fn image() {
    let place = Place::new();
    place.next_start();
    let before = Before::look();
    let cache = tempfile::tempdir().unwrap();
    let mut options = place.options();
    options.cache_dir = Some(cache.path().join("cache"));
    runtime().block_on(async {
        let engine = Engine::start(options.clone()).await.unwrap();
        std::fs::remove_dir_all(cache.path().join("cache")).unwrap();
        for _ in 0..2 {
            let error = engine.create(&SandboxSpec::default()).await.unwrap_err();
            assert!(matches!(error, EngineError::Create(_)), "{error:?}");
            assert!(chain(&error).contains("open the image layer"), "{}", chain(&error));
        }
        engine.shut_down().await;
        let engine = Engine::start(options).await.unwrap();
        let sandbox = engine.create(&SandboxSpec::default()).await.unwrap();
        sandbox.terminate().await.unwrap();
        engine.shut_down().await;
    });
    before.nothing_is_left(&place);
}

/// The names that hold blocks of ids belong to a network namespace: the victim gets one of its own.
pub(crate) fn ids() {
    if !rustix::process::geteuid().is_root() {
        return println!("skipped: only root's sandboxes have ranges of ids");
    }
    let place = Place::new();
    place.next_start();
    let before = Before::look();
    let mut unshare = Command::new("unshare");
    unshare.arg("--net").arg("--").arg(std::env::current_exe().unwrap());
    let mut victim = crate::support::Victim::start(place.command_through(unshare, "ids"));
    let said = victim.until_closed();
    assert!(victim.wait().success(), "{said}");
    assert!(said.contains("failed: find a free range of user ids") && said.ends_with("recovered\n"), "{said}");
    before.nothing_is_left(&place);
}
