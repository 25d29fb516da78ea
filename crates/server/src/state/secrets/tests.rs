use super::*;
use crate::state::from_seconds;
use crate::state::scratch::Scratch;
use crate::state::seconds;

fn write(name: Option<&str>, mode: SecretMode, values: &[(&str, &str)]) -> SecretWrite {
    let values = values.iter().map(|(key, value)| ((*key).to_owned(), SecretString::from(*value))).collect();
    SecretWrite { name: name.map(ToOwned::to_owned), app_id: None, values, mode }
}

async fn values(state: &State, id: &str) -> Vec<(String, String)> {
    let values = state.secret_values("team", id).await.unwrap().unwrap();
    values.into_iter().map(|(key, value)| (key, value.expose_secret().to_owned())).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn a_named_secret_is_kept_by_its_mode() {
    let scratch = Scratch::new().await;
    let state = &scratch.state;
    let error = state.put_secret("team", "dev", write(Some("keys"), SecretMode::Overwrite, &[])).await.unwrap_err();
    assert!(matches!(error, StateError::NoEnvironment { .. }), "{error}");
    let error = state.put_secret("team", "", write(None, SecretMode::Overwrite, &[])).await.unwrap_err();
    assert!(matches!(error, StateError::NoName), "{error}");
    let first = write(Some("keys"), SecretMode::FailIfExists, &[("B", "2\n\"ü"), ("A", "1")]);
    let kept = state.put_secret("team", "", first.clone()).await.unwrap();
    assert_eq!(
        (kept.keys.clone(), kept.environment.as_str(), &kept.id[..3]),
        (vec!["A".into(), "B".into()], "main", "st-")
    );
    let error = state.put_secret("team", "main", first).await.unwrap_err();
    assert!(matches!(error, StateError::SecretExists { .. }), "{error}");
    let same = write(Some("keys"), SecretMode::CreateIfMissing, &[("C", "3")]);
    assert_eq!(state.put_secret("team", "", same).await.unwrap(), kept);
    assert_eq!(values(state, &kept.id).await, pairs(&[("A", "1"), ("B", "2\n\"ü")]));
    let other = write(Some("keys"), SecretMode::Overwrite, &[("C", "3")]);
    let replaced = state.put_secret("team", "", other).await.unwrap();
    assert_eq!((&replaced.id, replaced.keys.as_slice()), (&kept.id, &["C".to_owned()][..]));
    let scratch = scratch.restart().await;
    let state = &scratch.state;
    assert_eq!(values(state, &kept.id).await, pairs(&[("C", "3")]));
    let found = state.secret_by_name("team", "", "keys").await.unwrap().unwrap();
    assert!(found.last_used_at.is_some());
    assert_eq!(state.secret("team", &kept.id).await.unwrap(), Some(found));
}

#[tokio::test]
async fn it_is_changed_key_by_key() {
    let scratch = Scratch::new().await;
    let state = &scratch.state;
    state.environment("team", "", true).await.unwrap();
    for (name, mode) in [(Some("keys"), SecretMode::FailIfExists), (None, SecretMode::Ephemeral)] {
        let kept = state.put_secret("team", "", write(name, mode, &[("A", "1"), ("B", "2")])).await.unwrap();
        let changes = || vec![("A".to_owned(), None), ("C".to_owned(), Some("3".into())), ("D".to_owned(), None)];
        assert_eq!(state.update_secret("others", &kept.id, changes()).await.unwrap(), None);
        let changed = state.update_secret("team", &kept.id, changes()).await.unwrap().unwrap();
        assert_eq!((changed.keys.as_slice(), changed.name.as_deref()), (&["B".to_owned(), "C".to_owned()][..], name));
        assert_eq!(values(state, &kept.id).await, pairs(&[("B", "2"), ("C", "3")]));
        let large = vec![("X".to_owned(), Some("x".repeat(MOST_BYTES).into()))];
        let error = state.update_secret("team", &kept.id, large).await.unwrap_err();
        assert!(matches!(error, StateError::TooLarge { .. }), "{error}");
        assert!(!state.delete_secret("others", &kept.id).await.unwrap());
        assert!(state.delete_secret("team", &kept.id).await.unwrap());
        assert!(!state.delete_secret("team", &kept.id).await.unwrap());
        assert!(state.secret_values("team", &kept.id).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn one_without_a_name_does_not_outlive_the_server() {
    let scratch = Scratch::new().await;
    let state = &scratch.state;
    let mut anonymous = write(Some("ignored"), SecretMode::Anonymous, &[("A", "1")]);
    anonymous.app_id = Some("ap-1".to_owned());
    let kept = state.put_secret("team", "", anonymous).await.unwrap();
    assert_eq!((kept.name.as_deref(), kept.app_id.as_deref()), (None, Some("ap-1")));
    assert_eq!(values(state, &kept.id).await, pairs(&[("A", "1")]));
    assert!(state.secret("others", &kept.id).await.unwrap().is_none());
    assert!(state.secret_values("others", &kept.id).await.unwrap().is_none());
    assert!(state.secrets("team", "", None, 10).await.unwrap().is_empty());
    let large = "x".repeat(MOST_BYTES);
    let large = write(None, SecretMode::Ephemeral, &[("A", large.as_str())]);
    let error = state.put_secret("team", "", large).await.unwrap_err();
    assert!(matches!(error, StateError::TooLarge { .. }), "{error}");
    let scratch = scratch.restart().await;
    assert!(scratch.state.secret("team", &kept.id).await.unwrap().is_none());
}

#[tokio::test]
async fn they_are_listed_page_by_page() {
    let scratch = Scratch::new().await;
    let state = &scratch.state;
    state.environment("team", "", true).await.unwrap();
    state.environment("team", "dev", true).await.unwrap();
    for number in 0..7 {
        let secret = write(Some(&format!("s{number}")), SecretMode::FailIfExists, &[]);
        state.put_secret("team", if number == 3 { "dev" } else { "" }, secret).await.unwrap();
    }
    let (mut names, mut before) = (Vec::new(), None);
    loop {
        let page = state.secrets("team", "", before, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        before = from_seconds(seconds(last.created_at));
        names.extend(page.into_iter().filter_map(|secret| secret.name));
    }
    assert_eq!(names, ["s6", "s5", "s4", "s2", "s1", "s0"]);
    assert!(state.secrets("others", "", None, 10).await.unwrap().is_empty());
}
