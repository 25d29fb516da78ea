//! `compute doctor`: what isolation this machine offers, and what to do about what is missing.

use crate::args::DoctorArgs;
use crate::exit::{Exit, Failure};
use crate::printer::Printer;
use crate::session::config;
use crate::signals::Signals;
use computesdk::{Error, ErrorKind};
use computesdk_local::Doctor;
use std::fmt::Write as _;

/// Examines the machine and tells.
pub(crate) async fn doctor(args: &DoctorArgs, printer: Printer) -> Result<Exit, Failure> {
    let config = config(&args.interpreters);
    let doctor = Signals::new()?.interrupt(computesdk_local::doctor(&config)).await?;
    if printer.is_json() {
        let value = serde_json::to_string(&doctor).map_err(|error| {
            Error::new(ErrorKind::Unexpected, "doctor", "cannot write the findings as JSON").with_source(error)
        })?;
        printer.json(&value)?;
    } else {
        printer.result(&describe(&doctor))?;
    }
    Ok(if doctor.rung.is_some() { Exit::OK } else { Exit::UNHEALTHY })
}

fn describe(doctor: &Doctor) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{name:<12}{value}");
    };
    line("isolation", doctor.rung.as_deref().unwrap_or("none: no sandbox can be made here"));
    for rung in &doctor.rungs {
        let why = rung.why.as_deref().unwrap_or("it did not come up");
        line("", &if rung.works { format!("{}: works", rung.name) } else { format!("{}: no, {why}", rung.name) });
        if let Some(hint) = &rung.hint {
            line("", &format!("  hint: {hint}"));
        }
    }
    line("kernel", &doctor.kernel);
    for found in &doctor.interpreters {
        line(found.language, &format!("{} {}, {}", found.executable, found.version, found.found_by));
    }
    for language in ["python", "node"] {
        if !doctor.interpreters.iter().any(|found| found.language == language) {
            line(language, "none found");
        }
    }
    for (index, rejected) in doctor.rejected.iter().enumerate() {
        line(if index == 0 { "not taken" } else { "" }, &format!("{}: {}", rejected.path.display(), rejected.why));
    }
    line("limits", &doctor.limits.join(", "));
    if let Some(hint) = &doctor.limits_hint {
        line("", &format!("  hint: {hint}"));
    }
    if let Some(reach) = doctor.network {
        line("network", &format!("reached by {reach}"));
    }
    if let Some(hint) = &doctor.network_hint {
        line("", &format!("  hint: {hint}"));
    }
    line("cache", &doctor.cache_dir.display().to_string());
    line("state", &doctor.state_dir.display().to_string());
    for (index, note) in doctor.notes.iter().enumerate() {
        line(if index == 0 { "notes" } else { "" }, note);
    }
    text
}
