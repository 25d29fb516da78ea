//! `compute ps`: the sandboxes of a server.

use crate::exit::{Exit, Failure};
use crate::printer::{Printer, to_json};
use crate::remote::Remote;
use crate::remote::args::PsArgs;
use computesdk::SandboxInfo;
use serde::Serialize;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

#[derive(Serialize)]
struct Report {
    sandboxes: Vec<SandboxInfo>,
}

/// Lists them.
pub(crate) async fn ps(args: &PsArgs, printer: Printer) -> Result<Exit, Failure> {
    let remote = Remote::open(&args.server)?;
    let mut sandboxes = remote.told(remote.modal.list_all(args.all).await)?;
    sandboxes.retain(|info| args.tags.iter().all(|tag| info.metadata.get(&tag.name) == Some(&tag.value)));
    if printer.is_json() {
        printer.json(&to_json(&Report { sandboxes })?)?;
    } else if args.quiet {
        let ids: String = sandboxes.iter().map(|info| format!("{}\n", info.id)).collect();
        printer.result(&ids)?;
    } else {
        printer.result(&table(&sandboxes, SystemTime::now()))?;
    }
    Ok(Exit::OK)
}

/// One line for each, in columns as wide as they must be.
fn table(sandboxes: &[SandboxInfo], now: SystemTime) -> String {
    let row = |info: &SandboxInfo| {
        [
            info.name.clone().unwrap_or_else(|| String::from("-")),
            info.id.to_string(),
            info.status.to_string(),
            age(now.duration_since(info.created_at).unwrap_or_default()),
            info.end.as_ref().map_or_else(String::new, ToString::to_string),
        ]
    };
    let mut rows = vec![["NAME", "ID", "STATUS", "AGE", "WHY IT ENDED"].map(String::from)];
    rows.extend(sandboxes.iter().map(row));
    if sandboxes.iter().all(|info| info.end.is_none()) {
        rows[0][4].clear();
    }
    let mut widths = [0; 5];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// `12s`, `5m`, `3h`, `2d`.
fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use computesdk::{EndCause, SandboxStatus};
    use std::time::UNIX_EPOCH;

    fn info(name: Option<&str>, end: Option<EndCause>) -> SandboxInfo {
        let mut info: SandboxInfo = serde_json::from_value(serde_json::json!({
            "id": "sb-01ARZ3NDEKTSV4RRFFQ69G5FAV", "provider": "modal", "runtime": "python", "status": "running",
            "createdAt": "1970-01-01T00:00:00.000Z", "timeout": 1000
        }))
        .unwrap();
        info.name = name.map(str::to_owned);
        info.status = SandboxStatus::of(end.as_ref());
        info.end = end;
        info
    }

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let now = UNIX_EPOCH + Duration::from_secs(300);
        let running = [info(Some("a-long-name"), None)];
        assert_eq!(
            table(&running, now),
            "NAME         ID                             STATUS   AGE\n\
             a-long-name  sb-01ARZ3NDEKTSV4RRFFQ69G5FAV  running  5m\n"
        );
        let ended = [info(None, Some(EndCause::Exited { code: 3 }))];
        let text = table(&ended, now);
        assert!(text.contains("AGE  WHY IT ENDED\n"), "{text}");
        assert!(text.ends_with("error   5m   its main process exited with code 3\n"), "{text}");
        assert_eq!(table(&[], now), "NAME  ID  STATUS  AGE\n");
    }

    #[test]
    fn ages_are_short() {
        for (seconds, text) in [(0, "0s"), (119, "119s"), (120, "2m"), (7200, "2h"), (172_800, "2d")] {
            assert_eq!(age(Duration::from_secs(seconds)), text);
        }
    }
}
