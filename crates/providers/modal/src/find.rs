//! Looking sandboxes up: by page, newest first, as the wire has it.

use crate::end;
use crate::error::NAME;
use crate::sandbox::Facts;
use crate::wire::{Control, Deadline, Router, created_at};
use computesdk_core::{Runtime, SandboxId, SandboxInfo, SandboxStatus, Usage};
use computesdk_modal_proto::client::{SandboxInfo as WireInfo, SandboxListRequest, SandboxTag};
use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tonic::Status;

/// How far the time in an id may be from the time that the server lists.
const SKEW: Duration = Duration::from_secs(60);
/// The lifetime that the wire can say at most.
const LONGEST: u32 = u32::MAX;

/// Which sandboxes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query {
    /// Of this app alone; empty for all of the environment.
    pub(crate) app_id: String,
    pub(crate) include_finished: bool,
    pub(crate) tags: Vec<SandboxTag>,
    /// Older than this.
    pub(crate) before: Option<SystemTime>,
}

/// One page, newest first; empty if there are no more.
async fn page(control: &Control, query: &Query, before: f64) -> Result<Vec<WireInfo>, Status> {
    let request = SandboxListRequest {
        app_id: query.app_id.clone(),
        before_timestamp: before,
        environment_name: control.settings.environment.clone(),
        include_finished: query.include_finished,
        tags: query.tags.clone(),
    };
    let call = control
        .call(Deadline::SHORT, request, |mut client, request| async move { client.sandbox_list_v2(request).await });
    Ok(call.await?.sandboxes)
}

/// All of them, newest first.
pub(crate) async fn list(control: &Control, query: &Query) -> Result<Vec<WireInfo>, Status> {
    let mut all = Vec::new();
    walk(control, query, |info| {
        all.push(info);
        true
    })
    .await?;
    Ok(all)
}

/// Goes through the pages until `more` says no, or the end.
async fn walk(control: &Control, query: &Query, mut more: impl FnMut(WireInfo) -> bool) -> Result<(), Status> {
    let mut before = query.before.map_or(0.0, seconds);
    let mut seen = HashSet::new();
    loop {
        let page = page(control, query, before).await?;
        let Some(last) = page.last() else { return Ok(()) };
        before = last.created_at;
        let mut is_new = false;
        for info in page {
            if seen.insert(info.id.clone()) {
                is_new = true;
                if !more(info) {
                    return Ok(());
                }
            }
        }
        // A server that gives the same page again would be asked without end.
        if !is_new {
            return Ok(());
        }
    }
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

fn time(seconds: f64) -> SystemTime {
    Duration::try_from_secs_f64(seconds).map_or(UNIX_EPOCH, |since| UNIX_EPOCH + since)
}

/// What the list says of one sandbox. No call asks for one alone; the time in its id tells on which page it is.
pub(crate) async fn facts(router: &Router) -> Result<Facts, Status> {
    let made = created_at(&router.sandbox_id);
    let query = Query { include_finished: true, before: made.map(|made| made + SKEW), ..Query::default() };
    let mut found = None;
    walk(&router.control, &query, |info| {
        if info.id == router.sandbox_id {
            found = Some(info);
            return false;
        }
        made.is_none_or(|made| time(info.created_at) + SKEW > made)
    })
    .await?;
    match found {
        Some(info) => Ok(facts_of(&info)),
        // It is there, or we would not have got so far; the list does not have it any more.
        None => Ok(Facts {
            created_at: made.unwrap_or(UNIX_EPOCH),
            timeout: router.control.settings.timeout,
            name: None,
            metadata: BTreeMap::new(),
            notices: vec![String::from("the server does not list this sandbox: its name and lifetime are not known")],
        }),
    }
}

/// What does not change.
pub(crate) fn facts_of(info: &WireInfo) -> Facts {
    Facts {
        created_at: time(info.created_at),
        timeout: lifetime(info.timeout_secs),
        name: Some(info.name.clone()).filter(|name| !name.is_empty()),
        metadata: info.tags.iter().map(|tag| (tag.tag_name.clone(), tag.tag_value.clone())).collect(),
        notices: Vec::new(),
    }
}

fn lifetime(seconds: u32) -> Duration {
    if seconds == LONGEST { Duration::MAX } else { Duration::from_secs(seconds.into()) }
}

/// All that the list says.
pub(crate) fn info_of(info: &WireInfo, runtime: Runtime) -> SandboxInfo {
    let facts = facts_of(info);
    let result = info.task_info.as_ref().and_then(|task| task.result.as_ref());
    let result = result.or_else(|| info.metadata.as_ref()?.result.as_ref());
    let end = end::cause(result);
    SandboxInfo {
        id: SandboxId::new(info.id.as_str()),
        provider: NAME.to_owned(),
        runtime,
        status: SandboxStatus::of(end.as_ref()),
        created_at: facts.created_at,
        timeout: facts.timeout,
        name: facts.name,
        isolation: None,
        end,
        usage: Usage::default(),
        last_output: None,
        notices: facts.notices,
        metadata: facts.metadata,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use computesdk_core::EndCause;
    use computesdk_modal_proto::client::generic_result::GenericStatus;
    use computesdk_modal_proto::client::{GenericResult, TaskInfo};

    #[test]
    fn an_entry_of_the_list_says_how_it_ended() {
        let mut info = WireInfo { id: "sb-1".into(), created_at: 1.5, timeout_secs: 60, ..WireInfo::default() };
        let told = info_of(&info, Runtime::Python);
        assert_eq!((told.status, told.name, told.timeout), (SandboxStatus::Running, None, Duration::from_secs(60)));
        assert_eq!(told.created_at, UNIX_EPOCH + Duration::from_millis(1500));
        let result = GenericResult { status: GenericStatus::Failure.into(), exitcode: 3, ..GenericResult::default() };
        info.task_info = Some(TaskInfo { result: Some(result), ..TaskInfo::default() });
        info.name = "n".into();
        let told = info_of(&info, Runtime::Python);
        assert_eq!((told.end, told.name), (Some(EndCause::Exited { code: 3 }), Some("n".into())));
    }

    #[test]
    fn times_that_are_none_are_the_epoch() {
        assert_eq!(time(f64::NAN), UNIX_EPOCH);
        assert_eq!(time(-1.0), UNIX_EPOCH);
    }
}
