//! What sandboxes reach over the network, and what they do not, in a world of its own.
//!
//! ```text
//! this program ── unshare --net --mount ──► world: it again, in a host's network that has one link
//!                                             ├── the internet: another network namespace, with servers of its own
//!                                             └── for each trial, and for each user: it again, with an engine
//! ```
//!
//! Whatever is not meant to be reached listens as well, so that a leak is seen ([`world::LEAK`]): every trial ends by asking
//! whether anybody came. The network of the machine itself is not touched.
//!
//! The same trials run as root by the gateway and by the proxy, as a user with subordinate ids, and as one without.
//!
//! Needs root, for the world; without, it says so and passes.

#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout)]

mod bench;
mod change;
mod dns;
mod flows;
mod hostile;
mod lists;
mod reach;
mod servers;
mod tools;
mod trouble;
mod world;

use bench::{Bench, Outcome};
use libtest_mimic::{Arguments, Trial};
use std::pin::Pin;
use std::process::{Command, ExitCode};
use world::{Host, Ways, Who, World};

/// What this program is, when it has started itself.
const ROLE: &str = "COMPUTESDK_NETWORK";

/// One thing that is tried.
struct Case {
    name: &'static str,
    ways: Ways,
    host: Host,
    test: fn(Bench) -> Pin<Box<dyn Future<Output = Outcome>>>,
}

/// `case!(module::function, ways)`, with the host if it is not the usual one.
macro_rules! case {
    ($module:ident :: $test:ident, $ways:expr) => {
        case!($module::$test, $ways, Host::Usual)
    };
    ($module:ident :: $test:ident, $ways:expr, $host:expr) => {
        Case {
            name: concat!(stringify!($module), "::", stringify!($test)),
            ways: $ways,
            host: $host,
            test: |bench| Box::pin($module::$test(bench)),
        }
    };
}

fn cases() -> Vec<Case> {
    use Ways::{All, Gateway, Proxy, Root, RootGateway};
    vec![
        case!(tools::curl, All),
        case!(tools::pip, All),
        case!(tools::npm, All),
        case!(tools::git, All),
        case!(dns::by_a_public_resolver, All),
        case!(dns::by_a_loopback_resolver, All, Host::LoopbackResolver),
        case!(dns::by_a_private_resolver, All, Host::PrivateResolver),
        case!(dns::by_a_resolver_of_the_sixth_version, All, Host::SixthResolver),
        case!(dns::by_no_resolver, All, Host::SilentResolver),
        case!(dns::large_answers, Gateway),
        case!(dns::names_of_the_host, All),
        case!(dns::without_a_network, All, Host::Alone),
        case!(reach::errors_are_those_of_the_network, Gateway),
        case!(reach::a_silent_address_is_waited_for, All),
        case!(reach::what_is_not_the_internet, All),
        case!(reach::what_is_not_the_internet_by_name, All),
        case!(reach::what_is_not_the_internet_by_datagram, Gateway),
        case!(reach::other_sandboxes, All),
        case!(reach::abstract_sockets, All),
        case!(reach::the_gateway_itself, Gateway),
        case!(reach::the_proxy_itself, Proxy),
        case!(reach::nothing_but_the_proxy, Proxy),
        case!(reach::ping, Gateway),
        case!(reach::no_way_around, All),
        case!(reach::nothing_at_all, All),
        case!(flows::datagrams, Gateway),
        case!(flows::bytes_in_the_first_packet, Gateway),
        case!(flows::both_versions, All),
        case!(flows::each_direction_ends_for_itself, All),
        case!(flows::large_downloads, All),
        case!(flows::what_breaks_is_not_an_end, All),
        case!(flows::an_early_answer, All),
        case!(flows::a_slow_reader, All),
        case!(flows::many_connections, All),
        case!(flows::many_sandboxes, All),
        case!(flows::events_in_order, All),
        case!(lists::ranges, All),
        case!(lists::private_ranges, All),
        case!(lists::own_addresses, All),
        case!(lists::names_over_tls, All),
        case!(lists::names_over_http, All),
        case!(lists::aliases, All),
        case!(lists::a_websocket, All),
        case!(lists::wildcards, All),
        case!(lists::other_names_do_not_exist, Gateway),
        case!(lists::another_name_on_an_allowed_address, All),
        case!(lists::an_address_in_place_of_a_name, All),
        case!(lists::what_names_no_host, All),
        case!(lists::a_second_request, All),
        case!(lists::rebinding, All),
        case!(lists::names_that_lead_inside, All),
        case!(change::what_is_open_is_cut, All),
        case!(change::opened_and_closed, All),
        case!(change::from_list_to_list, All),
        case!(change::nothing_is_asked_once_closed, All),
        case!(trouble::a_sandbox_ends, All),
        case!(trouble::an_engine_ends, All),
        case!(trouble::two_engines, All),
        case!(trouble::a_launcher_is_lost, All),
        case!(trouble::an_engine_is_killed, All),
        case!(hostile::slow_to_say_what_it_wants, Root),
        case!(hostile::much_and_never_a_name, All),
        case!(hostile::servers_that_do_not_end, Root),
        case!(hostile::a_flood_beside_a_neighbour, RootGateway),
        case!(hostile::a_flood_of_datagrams, RootGateway),
        case!(hostile::a_flood_of_questions, RootGateway),
        case!(hostile::many_slow_readers, Root),
        case!(hostile::all_the_descriptors, All),
        case!(hostile::a_false_sender, Gateway),
    ]
}

fn main() -> ExitCode {
    let role = std::env::var(ROLE).unwrap_or_default();
    if let Some(trial) = role.strip_prefix("trial ") {
        return match cases().iter().find(|case| case.name == trial) {
            Some(case) => bench::run(case.test),
            None => panic!("no trial is called {trial}"),
        };
    }
    match role.as_str() {
        "world" => in_the_world(&Arguments::from_args()),
        "victim" => trouble::victim(),
        _ => outside(&Arguments::from_args()),
    }
}

/// Starts this program again where nothing is but what it makes.
fn outside(arguments: &Arguments) -> ExitCode {
    if arguments.list {
        return libtest_mimic::run(arguments, trials(None)).exit_code();
    }
    if let Some(lack) = world::lack() {
        println!("skipped: {lack}");
        return ExitCode::SUCCESS;
    }
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--propagation", "private", "--", "setpriv", "--pdeathsig", "KILL", "--"]);
    command.arg(std::env::current_exe().unwrap()).args(std::env::args_os().skip(1)).env(ROLE, "world");
    let status = command.status().unwrap();
    ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

fn in_the_world(arguments: &Arguments) -> ExitCode {
    let mut arguments = arguments.clone();
    // Some of them measure time.
    arguments.test_threads = arguments.test_threads.or(Some(2));
    let world = World::make();
    let before = world.host();
    let conclusion = libtest_mimic::run(&arguments, trials(Some(&world)));
    let after = world.host();
    if before != after {
        println!("the host's network is not what it was. Before:\n{before}\nafter:\n{after}");
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}

fn trials(world: Option<&World>) -> Vec<Trial> {
    let mut trials = Vec::new();
    for who in Who::ALL {
        for case in cases().into_iter().filter(|case| case.ways.has(who)) {
            let world = world.cloned();
            let name = format!("{}::{}", who.name(), case.name);
            trials.push(Trial::test(name, move || match &world {
                Some(world) => world.try_as(who, case.name, case.host).map_err(Into::into),
                None => Ok(()),
            }));
        }
    }
    trials
}
