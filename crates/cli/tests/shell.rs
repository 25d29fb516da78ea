//! `compute shell` and `compute run -t` on a real terminal.

mod common;

use common::{PATIENCE, compute};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

/// A `compute` on a terminal, and the person in front of it.
struct Session {
    child: Child,
    master: File,
    slave: File,
    output: Receiver<Vec<u8>>,
    seen: String,
}

impl Session {
    fn start(args: &[&str]) -> Self {
        let master: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&master).expect("granted");
        unlockpt(&master).expect("unlocked");
        let name = ptsname(&master, Vec::new()).expect("a name");
        let slave = File::options().read(true).write(true).open(name.to_str().expect("UTF-8")).expect("its other side");
        resize(&slave, 31, 91);
        let end = || Stdio::from(slave.try_clone().expect("a descriptor"));
        let child = compute(args)
            .env("TERM", "xterm")
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .expect("compute starts");
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

    fn type_line(&mut self, line: &str) {
        self.master.write_all(line.as_bytes()).expect("typed");
        self.master.write_all(b"\r").expect("typed");
    }

    /// Reads until this text comes; what came before it is forgotten.
    #[track_caller]
    fn expect(&mut self, text: &str) {
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

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.child.id().cast_signed()).expect("a pid"), signal).expect("it runs");
    }

    fn is_raw(&self) -> bool {
        !tcgetattr(&self.slave).expect("its modes").local_modes.contains(LocalModes::ICANON)
    }
}

fn resize(terminal: &File, rows: u16, cols: u16) {
    let size = Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(terminal, size).expect("a new size");
}

#[test]
fn a_shell_has_a_terminal_that_resizes_and_is_given_back() {
    let mut session = Session::start(&["shell", "--env", "GREETING=hello"]);
    // The quotes keep what is typed, and echoed, from being taken for the answer.
    session.type_line("stty size; echo $GREETING-'there' $TERM");
    session.expect("31 91");
    session.expect("hello-there xterm");
    assert!(session.is_raw());

    // Not while readline is at work: it reads the size and sets it again, and so undoes a change in between.
    session.type_line("echo wait'ing'; while [ \"$(stty size)\" != '40 120' ]; do :; done; echo re'sized'");
    session.expect("waiting");
    resize(&session.slave, 40, 120);
    session.signal(Signal::WINCH);
    session.expect("resized");

    // Ctrl-C is the sandbox's. The program in the foreground speaks itself, so that the key does not come before it.
    session.type_line("sh -c 'echo be\"gun\"; exec sleep 1000'");
    session.expect("begun");
    session.master.write_all(b"\x03").expect("typed");
    session.type_line("echo interrupted $?");
    session.expect("interrupted 130");

    session.type_line("exit 7");
    assert_eq!(session.child.wait().expect("compute ends").code(), Some(7));
    assert!(!session.is_raw());
}

#[test]
fn a_signal_gives_the_terminal_back() {
    let mut session = Session::start(&["shell"]);
    session.type_line("echo be'gun'");
    session.expect("begun");
    assert!(session.is_raw());
    session.signal(Signal::TERM);
    assert_eq!(session.child.wait().expect("compute ends").code(), Some(143));
    assert!(!session.is_raw());
}

#[test]
fn a_program_may_have_a_terminal() {
    let code = "import os, sys; print(os.isatty(0), os.isatty(1), os.get_terminal_size().columns)";
    for (lang, code, answer) in [
        ("python", code, "True True 91"),
        ("node", "console.log(`${process.stdout.isTTY} ${process.stdout.columns}`)", "true 91"),
    ] {
        let mut session = Session::start(&["run", "-t", "--lang", lang, "-c", code]);
        session.expect(answer);
        assert_eq!(session.child.wait().expect("compute ends").code(), Some(0));
        assert!(!session.is_raw());
    }
}

#[test]
fn the_network_is_told_of_in_whole_lines() {
    let mut session = Session::start(&["shell", "--network-log"]);
    session.type_line("echo be'gun'");
    session.expect("begun");
    session.type_line(
        "python3 -c 'import urllib.request as r; r.urlopen(\"http://10.0.0.1:22/\")' 2>/dev/null; echo do'ne'",
    );
    session.expect("network: refused ");
    // The terminal is in raw mode: without its return, the next line would begin below the end of this one.
    session.expect("10.0.0.1 is a private address\r\n");
    session.expect("done");
    session.type_line("exit");
    assert_eq!(session.child.wait().expect("compute ends").code(), Some(0));
}
