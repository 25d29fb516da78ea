//! A `compute` on a real terminal.

use super::{PATIENCE, compute};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

/// A `compute` on a terminal, and the person in front of it.
pub(crate) struct Session {
    pub(crate) child: Child,
    pub(crate) master: File,
    pub(crate) slave: File,
    output: Receiver<Vec<u8>>,
    seen: String,
}

impl Session {
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::of(compute(args))
    }

    pub(crate) fn of(mut command: Command) -> Self {
        let master: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&master).expect("granted");
        unlockpt(&master).expect("unlocked");
        let name = ptsname(&master, Vec::new()).expect("a name");
        let slave = File::options().read(true).write(true).open(name.to_str().expect("UTF-8")).expect("its other side");
        resize(&slave, 31, 91);
        let end = || Stdio::from(slave.try_clone().expect("a descriptor"));
        let child =
            command.env("TERM", "xterm").stdin(end()).stdout(end()).stderr(end()).spawn().expect("compute starts");
        let master = File::from(master);
        let mut reader = master.try_clone().expect("a descriptor");
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, master, slave, output, seen: String::new() }
    }

    pub(crate) fn type_line(&mut self, line: &str) {
        self.master.write_all(line.as_bytes()).expect("typed");
        self.master.write_all(b"\r").expect("typed");
    }

    /// Reads until this text comes; what came before it is forgotten.
    #[track_caller]
    pub(crate) fn expect(&mut self, text: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.seen.find(text) {
                self.seen.drain(..at + text.len());
                return;
            }
            let left = end.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(bytes) => self.seen += &String::from_utf8_lossy(&bytes),
                Err(_) => panic!("no {text:?} in {:?}", self.seen),
            }
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.child.id().cast_signed()).expect("a pid"), signal).expect("it runs");
    }

    pub(crate) fn is_raw(&self) -> bool {
        !tcgetattr(&self.slave).expect("its modes").local_modes.contains(LocalModes::ICANON)
    }
}

pub(crate) fn resize(terminal: &File, rows: u16, cols: u16) {
    let size = Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(terminal, size).expect("a new size");
}
