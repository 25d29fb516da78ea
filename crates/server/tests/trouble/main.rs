//! A whole server over `local`, and clients that mean it ill, come twice, or are gone in the middle.
//!
//! ```text
//!  world:  Server on a port, its folder, tokens     raw: any bytes to any RPC; connections that break
//!  rpcs:   what the .proto files say there is       look: open files, tasks, memory, live sandboxes
//! ```
//!
//! One test at a time: they look at the whole process. Random choices follow from `COMPUTESDK_SEED`, or from a seed that is printed.
//!
//! Needs user namespaces; without them it says so and passes, unless `COMPUTESDK_EXPECT_RUNG` says that they must be there.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod dice;
mod doors;
mod forge;
mod gone;
mod look;
mod malformed;
mod neighbour;
mod quota;
mod raw;
mod rpcs;
mod stdin;
mod stdout;
mod strangers;
mod twice;
mod world;

use libtest_mimic::{Arguments, Failed, Trial};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// For a whole test. None takes a quarter of it on two idle cores.
const LONGEST: Duration = Duration::from_secs(240);

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    if !arguments.list {
        match world::isolation() {
            Ok(rung) => println!("rung: {rung}"),
            Err(why) if std::env::var_os("COMPUTESDK_EXPECT_RUNG").is_some() => {
                println!("{why}");
                return ExitCode::FAILURE;
            }
            Err(why) => {
                println!("skipped: {why}");
                return ExitCode::SUCCESS;
            }
        }
    }
    macro_rules! trials {
        ($($name:ident: $test:path,)*) => {
            vec![$(Trial::test(stringify!($name), || run(stringify!($name), async || $test().await)),)*]
        };
    }
    let trials = trials! {
        nobody_gets_in_without_a_token: doors::control,
        nobody_gets_to_a_sandbox_without_its_token: doors::router,
        a_header_of_a_megabyte_is_refused: doors::megabyte,
        what_is_somebody_elses_is_not_there: strangers::control,
        nor_is_it_for_the_router: strangers::router,
        messages_that_are_none: malformed::nonsense,
        fields_of_the_future: malformed::unknown_fields,
        messages_that_are_too_large: malformed::oversized,
        messages_that_never_come: malformed::promised,
        streams_that_break_off: malformed::resets,
        clients_that_vanish_while_they_wait: gone::waiting,
        clients_that_vanish_while_they_read: gone::reading,
        clients_that_vanish_while_they_write: gone::writing,
        clients_that_vanish_while_a_sandbox_is_made: gone::creating,
        clients_that_vanish_while_a_process_starts: gone::starting,
        clients_that_vanish_while_a_file_grows: gone::filing,
        clients_that_close_half: gone::half,
        one_key_one_sandbox: twice::creates,
        one_key_one_sandbox_also_after_a_restart: twice::restart,
        one_id_one_process: twice::starts,
        output_from_every_offset: stdout::every_offset,
        output_from_any_offset_of_a_flood: stdout::flood,
        output_in_pieces: stdout::pieces,
        a_hundred_thousand_tiny_outputs: stdout::tiny,
        input_in_any_order: stdin::offsets,
        input_that_breaks_off: stdin::resumed,
        a_hundred_thousand_tiny_inputs: stdin::tiny,
        a_neighbour_waits_no_longer: neighbour::latency,
        no_more_sandboxes_than_there_may_be: quota::total,
        nor_than_a_token_may_have: quota::per_token,
    };
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// A runtime for each test: with it goes whatever the test has forgotten. With `--nocapture` it says how long it took.
fn run(name: &'static str, test: impl AsyncFn()) -> Result<(), Failed> {
    let begun = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let done = runtime.block_on(async { tokio::time::timeout(LONGEST, test()).await });
        runtime.shutdown_timeout(Duration::from_secs(10));
        done
    }));
    println!("{name}: {:?}", begun.elapsed());
    match outcome {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(format!("{name} takes more than {LONGEST:?}").into()),
        // The message of a panic is the failure.
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            Err(text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default().into())
        }
    }
}
