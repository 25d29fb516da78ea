//! `compute shell` and `compute run -t` on a real terminal.

mod common;

use common::session::{Session, resize};
use rustix::process::Signal;
use std::io::Write as _;

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
