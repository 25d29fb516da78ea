//! One sandbox's way out: its packet filter's log and its listener, served by one task and those it starts.
//!
//! When the task ends, so do they: every connection of the sandbox is gone.

use crate::event::Protocol;
use crate::inject::Injector;
use crate::log;
use crate::packet::{Packet, protocol};
use crate::shared::Shared;
use crate::tcp::Connections;
use crate::udp::Flows;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

/// How often is looked for what is forgotten.
const SWEEP: Duration = Duration::from_secs(20);
/// How long nothing is accepted after this process had no room for it.
const NO_ROOM: Duration = Duration::from_millis(100);
/// A message of the log: a packet, and what is said of it.
const LARGEST: usize = 68 * 1024;

thread_local! {
    /// Where the log is read to. All sandboxes of an engine are served on one thread.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; LARGEST]);
}

/// The ends that the launcher has made, registered with the runtime.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) listener: TcpListener,
    pub(crate) log: AsyncFd<OwnedFd>,
    pub(crate) injector: Injector,
}

/// Serves a sandbox for as long as it is polled.
pub(crate) async fn serve(shared: Arc<Shared>, ends: Ends) {
    let Ends { listener, log, injector } = ends;
    let injector = Arc::new(injector);
    let connections = Connections::new(Arc::clone(&shared), Arc::clone(&injector));
    let flows = Flows::new(Arc::clone(&shared), Arc::clone(&injector));
    let mut tasks = JoinSet::new();
    let mut sweep = interval(SWEEP);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            ready = log.readable() => {
                let told = ready.and_then(|mut ready| {
                    let take = |log: &AsyncFd<OwnedFd>| read(log.get_ref(), |packet| match packet.protocol {
                        protocol::TCP => connections.syn(packet, &mut tasks),
                        protocol::UDP => flows.datagram(packet, &mut tasks),
                        _ => other(&shared, &injector, packet),
                    });
                    ready.try_io(take).unwrap_or(Ok(()))
                });
                if let Err(error) = told {
                    tracing::warn!(%error, "the packet filter's log of a sandbox cannot be read: it has no network any more");
                    return;
                }
                // A sandbox that sends without pause does not keep the thread to itself.
                tokio::task::consume_budget().await;
            }
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => connections.accepted(stream, from, &mut tasks),
                // No descriptors or no memory: what waits in the listener waits on.
                Err(_) => sleep(NO_ROOM).await,
            },
            Some(_) = tasks.join_next() => {}
            _ = sweep.tick() => connections.sweep(),
        }
    }
}

/// Reads the log once.
fn read(log: &OwnedFd, mut each: impl FnMut(&Packet<'_>)) -> io::Result<()> {
    BUFFER.with_borrow_mut(|buffer| match recv(log, &mut buffer[..], RecvFlags::DONTWAIT) {
        Ok((_, len)) => {
            let read = buffer.get(..len).unwrap_or_default();
            log::packets(read).filter_map(Packet::parse).for_each(|packet| each(&packet));
            Ok(())
        }
        // netlink(7): more came than there was room for. Their senders try again.
        Err(Errno::NOBUFS | Errno::INTR) => Ok(()),
        Err(errno) => Err(io::Error::from(errno)),
    })
}

/// Neither TCP nor UDP: there is no way for it.
fn other(shared: &Shared, injector: &Injector, packet: &Packet<'_>) {
    let mut target = shared.target(Protocol::Other, SocketAddr::new(packet.destination, 0));
    target.port = 0;
    let what = match packet.protocol {
        protocol::ICMP | protocol::ICMPV6 => String::from("ping has no way out: only TCP and UDP have"),
        number => format!("protocol {number} has no way out: only TCP and UDP have"),
    };
    shared.refused(&target, what);
    injector.send(packet.prohibited());
}
