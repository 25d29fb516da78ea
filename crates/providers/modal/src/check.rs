//! What makes no sense is refused before anything is sent. What Modal cannot keep at all was refused before, by capability.

use crate::error::NAME;
use computesdk_core::{CreateOptions, Error, ExecOptions, Result};
use std::collections::BTreeMap;

const CREATE: &str = "sandbox.create";
const EXEC: &str = "sandbox.exec";

fn invalid(operation: &'static str, field: &str, problem: impl std::fmt::Display) -> Error {
    Error::invalid(operation, field, problem).with_provider(NAME)
}

/// Of a `create`.
pub(crate) fn create(options: &CreateOptions) -> Result<()> {
    if options.timeout.is_some_and(|timeout| timeout.is_zero()) {
        return Err(invalid(CREATE, "timeout", "it must be longer than nothing"));
    }
    if options.idle_timeout.is_some_and(|timeout| timeout.is_zero()) {
        return Err(invalid(CREATE, "idle_timeout", "it must be longer than nothing"));
    }
    environment(CREATE, &options.env)?;
    if let Some(cwd) = &options.cwd {
        absolute(CREATE, "cwd", cwd)?;
    }
    for upload in &options.files {
        absolute(CREATE, "files", &upload.path)?;
    }
    if options.ports.contains(&0) {
        return Err(invalid(CREATE, "ports", "a port is from 1 to 65535"));
    }
    if let Some(port) = options.h2_ports.iter().find(|port| !options.ports.contains(port)) {
        let problem = format_args!("{port} is none of the published ports: give it in `ports` too").to_string();
        return Err(invalid(CREATE, "h2_ports", problem));
    }
    if let Some(command) = &options.command {
        argv(CREATE, "command", command)?;
    }
    if let Some(bytes) = options.resources.memory_bytes
        && bytes < MIB
    {
        return Err(invalid(CREATE, "memory", format_args!("{bytes} bytes are too few: at least 1 MiB")));
    }
    if let Some(cpus) = options.resources.cpus
        && !(cpus.is_finite() && cpus > 0.0 && cpus < 4096.0)
    {
        return Err(invalid(CREATE, "cpu", format_args!("{cpus} is no number of cores")));
    }
    Ok(())
}

/// The unit of memory on the wire.
pub(crate) const MIB: u64 = 1 << 20;

/// Of an `exec`.
pub(crate) fn exec(options: &ExecOptions) -> Result<()> {
    argv(EXEC, "args", &options.argv)?;
    environment(EXEC, &options.env)?;
    if let Some(cwd) = &options.cwd {
        absolute(EXEC, "cwd", cwd)?;
    }
    if options.timeout.is_some_and(|timeout| timeout.is_zero()) {
        return Err(invalid(EXEC, "timeout", "it must be longer than nothing"));
    }
    if options.user.is_some() {
        return Err(crate::process::unsupported(
            EXEC,
            "user",
            "on Modal commands run as the user of the image; start them with `su` where the image has it",
        ));
    }
    Ok(())
}

/// Refuses a path that is empty, relative or has a NUL byte.
pub(crate) fn absolute(operation: &'static str, field: &str, path: &str) -> Result<()> {
    if !path.starts_with('/') || path.contains('\0') {
        return Err(invalid(operation, field, format_args!("{path:?} is no absolute path")));
    }
    Ok(())
}

fn argv(operation: &'static str, field: &str, argv: &[String]) -> Result<()> {
    if argv.first().is_none_or(String::is_empty) {
        return Err(invalid(operation, field, "it needs a program"));
    }
    match argv.iter().position(|argument| argument.contains('\0')) {
        Some(index) => Err(invalid(operation, field, format_args!("a NUL byte in argument {index}"))),
        None => Ok(()),
    }
}

fn environment(operation: &'static str, env: &BTreeMap<String, String>) -> Result<()> {
    for (name, value) in env {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(invalid(operation, "env", format_args!("{name:?} is no name of a variable")));
        }
        // The value may be a secret.
        if value.contains('\0') {
            return Err(invalid(operation, "env", format_args!("the value of {name} has a NUL byte")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use computesdk_core::{ErrorKind, FileUpload};
    use std::time::Duration;

    #[test]
    fn each_refusal_names_the_field() {
        type Spoil = fn(&mut CreateOptions);
        let table: [(&str, Spoil); 10] = [
            ("timeout", |o| o.timeout = Some(Duration::ZERO)),
            ("idle_timeout", |o| o.idle_timeout = Some(Duration::ZERO)),
            ("env", |o| drop(o.env.insert("A=B".into(), "s3cret".into()))),
            ("env", |o| drop(o.env.insert("A".into(), "s3cret\0".into()))),
            ("cwd", |o| o.cwd = Some("relative".into())),
            ("files", |o| o.files = vec![FileUpload::new("x", "")]),
            ("ports", |o| o.ports = vec![80, 0]),
            ("h2_ports", |o| o.h2_ports = vec![80]),
            ("command", |o| o.command = Some(Vec::new())),
            ("memory", |o| o.resources.memory_bytes = Some(5)),
        ];
        for (field, spoil) in table {
            let mut options = CreateOptions::default();
            spoil(&mut options);
            let error = create(&options).unwrap_err();
            assert_eq!(error.context_value("field"), Some(field), "{error}");
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
        create(&CreateOptions::default()).unwrap();
    }

    #[test]
    fn another_user_is_unsupported() {
        let mut options = ExecOptions::new(["id"]);
        exec(&options).unwrap();
        options.user = Some("nobody".into());
        assert_eq!(exec(&options).unwrap_err().kind(), ErrorKind::Unsupported);
        assert_eq!(exec(&ExecOptions::new(["a", "\0"])).unwrap_err().kind(), ErrorKind::InvalidArgument);
        assert!(exec(&ExecOptions::new(Vec::<String>::new())).is_err());
    }
}
