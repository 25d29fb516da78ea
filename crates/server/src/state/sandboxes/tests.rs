use super::*;
use crate::state::scratch::{Scratch, sandbox};
use crate::state::{from_seconds, seconds};
use std::time::{Duration, UNIX_EPOCH};

fn end(code: i32) -> EndRecord {
    EndRecord { cause: EndCause::Exited { code }, exit_code: code }
}

fn query() -> SandboxQuery {
    SandboxQuery { workspace: "team".to_owned(), limit: 100, ..SandboxQuery::default() }
}

async fn ids(state: &State, query: SandboxQuery) -> Vec<String> {
    state.list_sandboxes(query).await.unwrap().into_iter().map(|record| record.id).collect()
}

#[tokio::test]
async fn all_of_it_is_kept() {
    let scratch = Scratch::new().await;
    let mut record = sandbox(Some("web"));
    record.tags = [("team".to_owned(), "a \"b\"".to_owned())].into();
    record.spec = SpecRecord {
        idle_timeout_secs: Some(5),
        ports: vec![PortRecord { port: 80, unencrypted: true, h2: false }],
        probe: Some(ProbeRecord { tcp_port: None, argv: vec!["true".to_owned()], interval_ms: 100 }),
        notices: vec!["no GPU".to_owned()],
        ..record.spec
    };
    record.created_at = scratch.state.insert_sandbox(&record).await.unwrap();
    assert!(scratch.state.set_provider_id(&record.id, "local-1").await.unwrap());
    let ready = UNIX_EPOCH + Duration::from_secs(7);
    assert!(scratch.state.set_ready(&record.id, ready).await.unwrap());
    assert!(!scratch.state.set_ready(&record.id, ready + Duration::from_secs(1)).await.unwrap());
    let tags = [("x".to_owned(), "y".to_owned())].into();
    assert!(scratch.state.set_tags(&record.id, &tags).await.unwrap());
    let ended = UNIX_EPOCH + Duration::from_secs(8);
    assert!(scratch.state.end_sandbox(&record.id, end(3), ended).await.unwrap());
    assert!(!scratch.state.end_sandbox(&record.id, end(4), ended).await.unwrap(), "the first end wins");
    let kept = SandboxRecord {
        environment: "main".to_owned(),
        tags,
        ready_at: Some(ready),
        ended_at: Some(ended),
        end: Some(end(3)),
        provider_id: Some("local-1".to_owned()),
        ..record.clone()
    };
    let scratch = scratch.restart().await;
    assert_eq!(scratch.state.sandbox("team", &record.id).await.unwrap().as_ref(), Some(&kept));
    assert_eq!(scratch.state.sandbox_by_task("team", &record.task_id).await.unwrap(), Some(kept));
    assert_eq!(scratch.state.sandbox("others", &record.id).await.unwrap(), None);
    assert_eq!(scratch.state.sandbox_by_task("others", &record.task_id).await.unwrap(), None);
    assert!(!scratch.state.set_tags("sb-unknown", &BTreeMap::new()).await.unwrap());
    assert!(scratch.state.remove_sandbox(&record.id).await.unwrap());
    assert!(!scratch.state.remove_sandbox(&record.id).await.unwrap());
    assert_eq!(scratch.state.sandbox("team", &record.id).await.unwrap(), None);
}

#[test]
fn what_an_older_version_wrote_is_read() {
    let spec: SpecRecord = serde_json::from_str(r#"{"image_id":"im-1","gone":true,"ports":[{"port":80}]}"#).unwrap();
    assert_eq!((spec.image_id.as_str(), spec.timeout_secs, spec.ports[0].port), ("im-1", 0, 80));
}

#[tokio::test]
async fn a_name_is_one_sandboxs_while_it_runs() {
    let scratch = Scratch::new().await;
    let state = &scratch.state;
    let app = state.app("team", "", "web", true).await.unwrap().unwrap();
    let named = |name| SandboxRecord { app_id: app.id.clone(), ..sandbox(Some(name)) };
    let find = async |name, all| {
        let found = state.find_sandbox("team", "", "web", name, all).await.unwrap();
        found.map(|record| record.id)
    };
    let taken = |result: Result<_, StateError>| matches!(result, Err(StateError::NameTaken { name }) if name == "a");
    let first = named("a");
    state.insert_sandbox(&first).await.unwrap();
    assert!(taken(state.insert_sandbox(&named("a")).await));
    let elsewhere = SandboxRecord { app_id: "ap-2".to_owned(), ..named("a") };
    state.insert_sandbox(&elsewhere).await.unwrap();
    let theirs = SandboxRecord { workspace: "others".to_owned(), ..named("a") };
    state.insert_sandbox(&theirs).await.unwrap();
    assert_eq!(find("a", false).await.as_ref(), Some(&first.id));
    state.end_sandbox(&first.id, end(0), SystemTime::now()).await.unwrap();
    assert_eq!(find("a", false).await, None);
    assert_eq!(find("a", true).await.as_ref(), Some(&first.id));
    let second = named("b");
    state.insert_sandbox(&second).await.unwrap();
    assert!(state.set_name(&second.id, Some("a")).await.unwrap());
    assert!(state.set_name(&second.id, Some("a")).await.unwrap(), "its own name is not taken");
    assert_eq!(find("a", true).await.as_ref(), Some(&second.id));
    let third = named("c");
    state.insert_sandbox(&third).await.unwrap();
    assert!(taken(state.set_name(&third.id, Some("a")).await.map(|_| SystemTime::now())));
    assert!(state.set_name(&first.id, Some("c")).await.unwrap(), "what has ended takes no name away");
    assert!(state.set_name(&second.id, None).await.unwrap());
    assert_eq!(find("a", true).await, None);
    assert!(!state.set_name("sb-unknown", Some("d")).await.unwrap());
    assert_eq!(state.find_sandbox("team", "", "other", "c", true).await.unwrap(), None);
    // One that runs comes before a newer one that has ended.
    let newer = named("d");
    state.insert_sandbox(&newer).await.unwrap();
    state.end_sandbox(&newer.id, end(0), SystemTime::now()).await.unwrap();
    state.set_name(&third.id, Some("d")).await.unwrap();
    assert_eq!(find("d", true).await, Some(third.id));
}

#[tokio::test]
async fn pages_meet_without_a_gap_or_a_double() {
    let scratch = Scratch::new().await;
    let state = &scratch.state;
    let mut made = Vec::new();
    for number in 0..25 {
        // Several at the same time, and times that no float has exactly.
        let created_at = UNIX_EPOCH + Duration::from_nanos(1_700_000_000_123_456_789 + number / 4 * 1000);
        let record = SandboxRecord { created_at, ..sandbox(None) };
        let kept = state.insert_sandbox(&record).await.unwrap();
        assert_eq!(state.sandbox("team", &record.id).await.unwrap().unwrap().created_at, kept);
        made.push((kept, record.id));
    }
    made.sort();
    made.dedup_by_key(|(time, _)| *time);
    assert_eq!(made.len(), 25, "no two at the same time");
    let (mut listed, mut before) = (Vec::new(), None);
    loop {
        let page = state.list_sandboxes(SandboxQuery { before, limit: 2, ..query() }).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some(from_seconds(seconds(last.created_at)).unwrap());
        listed.extend(page.into_iter().map(|record| (record.created_at, record.id)));
        assert!(listed.len() <= 25, "it never ends");
    }
    made.reverse();
    assert_eq!(listed, made);
}

#[tokio::test]
async fn a_list_keeps_to_its_filters() {
    let scratch = Scratch::new().await;
    let state = &scratch.state;
    let mut records = Vec::new();
    for (environment, app_id, tags) in [
        ("", "ap-1", &[("a", "1"), ("b", "2")][..]),
        ("main", "ap-2", &[("a", "1")]),
        ("dev", "ap-3", &[("a", "2"), ("b", "1")]),
        ("dev", "ap-3", &[]),
    ] {
        let mut record = sandbox(None);
        record.environment = environment.to_owned();
        record.app_id = app_id.to_owned();
        record.tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        state.insert_sandbox(&record).await.unwrap();
        records.push(record.id);
    }
    state.insert_sandbox(&SandboxRecord { workspace: "others".to_owned(), ..sandbox(None) }).await.unwrap();
    let of = |numbers: &[usize]| numbers.iter().map(|number| records[*number].clone()).collect::<Vec<_>>();
    let tags = |tags: &[(&str, &str)]| {
        let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        SandboxQuery { tags, ..query() }
    };
    assert_eq!(ids(state, query()).await, of(&[3, 2, 1, 0]));
    assert_eq!(ids(state, SandboxQuery { limit: 1, ..query() }).await, of(&[3]));
    assert_eq!(ids(state, SandboxQuery { environment: Some(String::new()), ..query() }).await, of(&[1, 0]));
    assert_eq!(ids(state, SandboxQuery { environment: Some("dev".to_owned()), ..query() }).await, of(&[3, 2]));
    assert_eq!(ids(state, SandboxQuery { app_id: Some("ap-2".to_owned()), ..query() }).await, of(&[1]));
    assert_eq!(ids(state, tags(&[("a", "1")])).await, of(&[1, 0]));
    assert_eq!(ids(state, tags(&[("a", "1"), ("b", "2")])).await, of(&[0]));
    assert!(ids(state, tags(&[("a", "1"), ("b", "1")])).await.is_empty());
    assert!(ids(state, tags(&[("1", "a")])).await.is_empty());
    assert!(ids(state, tags(&[("a", "1' OR 1=1 --")])).await.is_empty());
    state.end_sandbox(&records[2], end(0), SystemTime::now()).await.unwrap();
    assert_eq!(ids(state, query()).await, of(&[3, 1, 0]));
    assert_eq!(ids(state, SandboxQuery { include_finished: true, ..query() }).await, of(&[3, 2, 1, 0]));
}

#[tokio::test]
async fn what_ran_when_the_server_died_is_lost_and_told_so() {
    let scratch = Scratch::new().await;
    let (ran, ended) = (sandbox(Some("a")), sandbox(None));
    for record in [&ran, &ended] {
        scratch.state.insert_sandbox(record).await.unwrap();
    }
    scratch.state.end_sandbox(&ended.id, end(3), SystemTime::now()).await.unwrap();
    let scratch = scratch.restart().await;
    let left: Vec<String> = scratch.state.unfinished().await.unwrap().into_iter().map(|record| record.id).collect();
    assert_eq!(left, std::slice::from_ref(&ran.id));
    assert_eq!(scratch.state.mark_lost("the server was killed").await.unwrap(), left);
    assert!(scratch.state.mark_lost("again").await.unwrap().is_empty());
    let record = scratch.state.sandbox("team", &ran.id).await.unwrap().unwrap();
    let cause = EndCause::HostLost { reason: "the server was killed".to_owned() };
    assert_eq!(record.end, Some(EndRecord { cause, exit_code: 137 }));
    assert!(record.ended_at.is_some());
    assert_eq!(scratch.state.sandbox("team", &ended.id).await.unwrap().unwrap().end, Some(end(3)));
    scratch.state.insert_sandbox(&sandbox(Some("a"))).await.unwrap();
}

#[tokio::test]
async fn those_that_ended_longest_ago_are_forgotten() {
    let scratch = Scratch::new().await;
    let state = &scratch.state;
    let mut records = Vec::new();
    for number in 0..5 {
        let record = sandbox(None);
        state.insert_sandbox(&record).await.unwrap();
        state.end_sandbox(&record.id, end(0), UNIX_EPOCH + Duration::from_secs(100 - number)).await.unwrap();
        records.push(record.id);
    }
    let theirs = SandboxRecord { workspace: "others".to_owned(), ..sandbox(None) };
    state.insert_sandbox(&theirs).await.unwrap();
    state.end_sandbox(&theirs.id, end(0), UNIX_EPOCH).await.unwrap();
    let runs = sandbox(None);
    state.insert_sandbox(&runs).await.unwrap();
    assert_eq!(state.prune(2).await.unwrap(), 3);
    assert_eq!(state.prune(2).await.unwrap(), 0);
    let left = ids(state, SandboxQuery { include_finished: true, ..query() }).await;
    assert_eq!(left, [runs.id, records[1].clone(), records[0].clone()]);
    assert!(state.sandbox("others", &theirs.id).await.unwrap().is_some());
}
