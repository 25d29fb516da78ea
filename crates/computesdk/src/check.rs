//! Checks of what the caller gave, made before anything is sent.
//!
//! Only what no provider could ever pass on is refused here. How many arguments, and how long, is the provider's to
//! say: the limit is the kernel's under it.

use computesdk_core::{CreateOptions, Error, ExecOptions, Result};
use std::collections::BTreeMap;

const CREATE: &str = "sandbox.create";
const EXEC: &str = "sandbox.exec";

/// Refuses unusable environment, directory, command, ports and file paths of a `create`.
pub(crate) fn create(options: &CreateOptions) -> Result<()> {
    environment(CREATE, &options.env)?;
    if let Some(cwd) = &options.cwd {
        absolute(CREATE, "cwd", cwd)?;
    }
    if let Some(command) = &options.command {
        argv(CREATE, "command", command)?;
    }
    for &port in &options.ports {
        port_number(CREATE, "ports", port)?;
    }
    options.files.iter().try_for_each(|file| absolute(CREATE, "files.path", &file.path))
}

/// Refuses port 0, which nobody can listen on.
pub(crate) fn port(operation: &'static str, port: u16) -> Result<()> {
    port_number(operation, "port", port)
}

fn port_number(operation: &'static str, field: &str, port: u16) -> Result<()> {
    if port == 0 { Err(Error::invalid(operation, field, "0 is no port: give 1 to 65535")) } else { Ok(()) }
}

/// Refuses an unusable program, argument, environment, directory or time limit of an `exec`.
pub(crate) fn exec(options: &ExecOptions) -> Result<()> {
    argv(EXEC, "command", &options.argv)?;
    environment(EXEC, &options.env)?;
    if let Some(cwd) = &options.cwd {
        absolute(EXEC, "cwd", cwd)?;
    }
    if let Some(user) = &options.user {
        no_nul(EXEC, "user", user)?;
        if user.is_empty() {
            return Err(Error::invalid(EXEC, "user", "it is empty"));
        }
    }
    if options.timeout.is_some_and(|timeout| timeout.is_zero()) {
        return Err(Error::invalid(EXEC, "timeout", "it is zero; for no limit use `Duration::MAX`"));
    }
    Ok(())
}

/// Refuses a path that is empty, relative or has a NUL byte.
pub(crate) fn absolute(operation: &'static str, field: &str, path: &str) -> Result<()> {
    no_nul(operation, field, path)?;
    if path.starts_with('/') {
        return Ok(());
    }
    Err(Error::invalid(operation, field, format_args!("{path:?} is not an absolute path")))
}

fn argv(operation: &'static str, program: &str, argv: &[String]) -> Result<()> {
    if argv.first().is_none_or(String::is_empty) {
        return Err(Error::invalid(operation, program, "no program is named"));
    }
    no_nul(operation, program, &argv[0])?;
    argv.iter().skip(1).enumerate().try_for_each(|(index, arg)| {
        no_nul(operation, "args", arg).map_err(|_| nul(operation, "args", format_args!("argument {index}")))
    })
}

fn environment(operation: &'static str, env: &BTreeMap<String, String>) -> Result<()> {
    for (name, value) in env {
        if name.is_empty() {
            return Err(Error::invalid(operation, "env", "a variable has no name"));
        }
        if name.contains('=') {
            return Err(Error::invalid(operation, "env", format_args!("the name {name:?} contains `=`")));
        }
        // The value may be a secret: only the name is told.
        if name.contains('\0') || value.contains('\0') {
            return Err(nul(operation, "env", format_args!("variable {name:?}")));
        }
    }
    Ok(())
}

fn no_nul(operation: &'static str, field: &str, text: &str) -> Result<()> {
    if text.contains('\0') { Err(nul(operation, field, format_args!("{text:?}"))) } else { Ok(()) }
}

fn nul(operation: &'static str, field: &str, what: std::fmt::Arguments<'_>) -> Error {
    Error::invalid(operation, field, format_args!("{what} contains a NUL byte"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_names_the_field() {
        let with = |change: fn(&mut ExecOptions)| {
            let mut options = ExecOptions::new(["ls", "-la"]);
            change(&mut options);
            exec(&options)
        };
        with(|_| ()).unwrap();
        with(|o| drop(o.env.insert("A".into(), "x=y".into()))).unwrap();
        type Spoil = fn(&mut ExecOptions);
        let table: [(&str, Spoil); 11] = [
            ("command", |o| o.argv.clear()),
            ("command", |o| o.argv[0].clear()),
            ("command", |o| o.argv[0] = "l\0s".into()),
            ("args", |o| o.argv[1] = "\0".into()),
            ("env", |o| drop(o.env.insert(String::new(), "x".into()))),
            ("env", |o| drop(o.env.insert("A=B".into(), "x".into()))),
            ("env", |o| drop(o.env.insert("A".into(), "s3cret\0".into()))),
            ("cwd", |o| o.cwd = Some("relative".into())),
            ("cwd", |o| o.cwd = Some("/a\0b".into())),
            ("user", |o| o.user = Some(String::new())),
            ("timeout", |o| o.timeout = Some(std::time::Duration::ZERO)),
        ];
        for (field, change) in table {
            let error = with(change).unwrap_err();
            assert_eq!(error.kind(), computesdk_core::ErrorKind::InvalidArgument);
            assert_eq!(error.context_value("field"), Some(field), "{error}");
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }
}
