//! What is left when something dies, is used up, or is done a thousand times.
//!
//! ```text
//! this program ── as itself, COMPUTESDK_VICTIM=MODE ──► victim: an engine and sandboxes, killed at a bad moment
//!      └── adopts whatever loses its parent, and looks at what is left on the machine
//! ```
//!
//! One test at a time: they look at the whole machine. `COMPUTESDK_SOAK` set makes the long ones long. Random moments
//! follow from `COMPUTESDK_SEED`, or from a seed that is printed.
//!
//! Needs user namespaces; without them it says so and passes.

#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout)]

mod churn;
mod crash;
mod embedded;
mod exhausted;
mod inject;
mod leftovers;
mod lost;
mod support;
mod victim;

use computesdk_engine::{Engine, EngineError};
use libtest_mimic::{Arguments, Failed, Trial};
use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(mode) = std::env::var_os("COMPUTESDK_VICTIM") {
        return victim::run(&mode.to_string_lossy());
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    if !arguments.list {
        let start = support::runtime().block_on(async {
            let engine = Engine::start(support::Place::new().options()).await?;
            let rung = engine.rung();
            engine.shut_down().await;
            Ok(rung)
        });
        match start {
            Ok(rung) => {
                println!("rung: {rung}");
                // As in the conformance suite: CI's users must not slide to another one unseen.
                let expected = std::env::var("COMPUTESDK_EXPECT_RUNG").unwrap_or_default();
                if !rung.label().starts_with(&expected) {
                    println!("expected rung {expected}");
                    return ExitCode::FAILURE;
                }
            }
            Err(EngineError::NoIsolation(failures)) => {
                println!("skipped: no user namespaces here: {failures:?}");
                return ExitCode::SUCCESS;
            }
            Err(error) => {
                println!("the engine does not start: {error:?}");
                return ExitCode::FAILURE;
            }
        }
        leftovers::adopt();
    }
    let trial = |name: &str, test: fn()| Trial::test(name, move || caught(test));
    let trials = vec![
        trial("killed_while_starting", crash::while_starting),
        trial("killed_while_creating", crash::while_creating),
        trial("killed_while_ending", crash::while_ending),
        trial("killed_while_executing", crash::while_executing),
        trial("killed_while_idle", crash::while_idle),
        trial("engines_side_by_side", crash::side_by_side),
        trial("engines_that_start_at_once", crash::at_once),
        trial("a_lost_launcher", lost::launcher),
        trial("a_lost_agent", lost::agent),
        trial("churn_one_at_a_time", churn::one_at_a_time),
        trial("churn_sixteen_at_a_time", churn::sixteen_at_a_time),
        trial("in_a_busy_python", embedded::in_a_busy_python),
        trial("no_open_files_left", exhausted::open_files),
        trial("no_state_directory", exhausted::state_directory),
        trial("no_image", exhausted::image),
        trial("no_free_ids", exhausted::ids),
        trial("errors_at_every_step", inject::every_step),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The message of a panic is the failure.
fn caught(test: fn()) -> Result<(), Failed> {
    std::panic::catch_unwind(test).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default().into()
    })
}
