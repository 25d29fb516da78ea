//! Opening what somebody else left: another server, another version, a crash, a full disk, the wrong key.

use super::scratch::{Scratch, files, open, sandbox};
use super::{SecretMode, SecretWrite, State, StateError, StateOptions};
use rusqlite::Connection;
use rustix::fs::{Gid, Uid, chown};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A folder in which a server was, with enough in it for several pages.
async fn left() -> tempfile::TempDir {
    let scratch = Scratch::new().await;
    for _ in 0..100 {
        scratch.state.insert_sandbox(&sandbox(None)).await.unwrap();
    }
    scratch.close()
}

async fn problem(dir: &Path) -> StateError {
    open(dir).await.map(drop).unwrap_err()
}

/// Runs as a user whom permissions bind. Where the tests are root's, that is a thread which gave it up.
fn as_user<T: Send>(dir: &Path, work: impl Future<Output = T> + Send) -> T {
    let root = rustix::process::geteuid().is_root();
    let nobody = Uid::from_raw(65534);
    if root {
        for path in files(dir).into_iter().map(|(path, _)| path).chain([dir.to_owned()]) {
            chown(&path, Some(nobody), Some(Gid::from_raw(65534))).unwrap();
        }
    }
    let run = || {
        if root {
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
        }
        // Its threads are this thread's children, and so that user's.
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
    };
    std::thread::scope(|scope| scope.spawn(run).join().unwrap())
}

#[tokio::test]
async fn a_folder_is_made_and_closed_to_others() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b");
    let state = open(&path).await.unwrap();
    state.issue_token("team", "start", None).await.unwrap();
    assert_eq!((mode(&dir.path().join("a")), mode(&path)), (0o700, 0o700));
    let names: Vec<_> =
        files(&path).iter().map(|(file, _)| (file.file_name().unwrap().to_owned(), mode(file))).collect();
    assert_eq!(names.len(), 4, "{names:?}");
    assert!(names.iter().all(|(_, mode)| *mode == 0o600), "{names:?}");
    drop(state);
    set_mode(&path.join("state.db"), 0o644);
    open(&path).await.unwrap();
    assert_eq!(mode(&path.join("state.db")), 0o600);
    set_mode(&path, 0o777);
    let error = problem(&path).await.to_string();
    assert!(error.contains(&format!("run `chmod 700 '{}'`", path.display())), "{error}");
}

#[tokio::test]
async fn two_servers_never_share_a_folder() {
    let scratch = Scratch::new().await;
    let error = problem(&scratch.path("")).await;
    assert!(matches!(error, StateError::InUse { pid: Some(pid), .. } if pid == std::process::id()), "{error}");
    assert!(error.to_string().contains("--state DIR"), "{error}");
    scratch.state.issue_token("team", "start", None).await.unwrap();
    let scratch = scratch.restart().await;
    assert_eq!(scratch.state.list_tokens("team").await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_truncated_database_is_told() {
    let dir = left().await;
    let path = dir.path().join("state.db");
    let whole = fs::read(&path).unwrap();
    assert!(whole.len() > 40_000, "{}", whole.len());
    for length in [0, 1, 50, 100, 511, 4095, 4096, 8192, whole.len() / 2, whole.len() - 4096, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        let error = problem(dir.path()).await;
        assert!(matches!(error, StateError::Damaged { .. }), "{length} bytes: {error}");
        assert!(error.to_string().contains("state.db is damaged"), "{error}");
        assert!(fs::read(&path).unwrap() == whole[..length], "{length} bytes: it was changed");
    }
    fs::write(&path, &whole).unwrap();
    assert_eq!(open(dir.path()).await.unwrap().unfinished().await.unwrap().len(), 100);
}

#[tokio::test]
async fn what_is_no_database_of_ours_is_told() {
    let dir = left().await;
    let path = dir.path().join("state.db");
    let whole = fs::read(&path).unwrap();
    let mut zeroed = whole.clone();
    zeroed[8192..].fill(0);
    let mut noisy = whole.clone();
    noisy.iter_mut().skip(4096).enumerate().for_each(|(at, byte)| *byte ^= u8::try_from(at % 251).unwrap());
    for garbage in [b"garbage".repeat(10_000), vec![0; 8192], zeroed, noisy] {
        fs::write(&path, garbage).unwrap();
        let error = problem(dir.path()).await;
        assert!(matches!(error, StateError::Damaged { .. }), "{error}");
    }
    fs::remove_file(&path).unwrap();
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (a); PRAGMA user_version = 1").unwrap();
    let error = problem(dir.path()).await.to_string();
    assert!(error.contains("no database of this program"), "{error}");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let error = problem(dir.path()).await;
    assert!(matches!(error, StateError::Io { .. }), "{error}");
}

#[tokio::test]
async fn a_newer_version_is_left_alone() {
    let dir = left().await;
    let path = dir.path().join("state.db");
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let before = fs::read(&path).unwrap();
    let error = problem(dir.path()).await;
    assert!(matches!(error, StateError::Newer { found: 99, .. }), "{error}");
    assert!(error.to_string().contains("move it away or use the newer program"), "{error}");
    assert!(fs::read(&path).unwrap() == before, "it was changed");
}

#[tokio::test]
async fn a_server_that_was_killed_is_no_hindrance() {
    let scratch = Scratch::new().await;
    let token = scratch.state.issue_token("team", "start", None).await.unwrap();
    // What a killed server leaves: the files as they are in this moment, and halves of what it was making.
    let dir = tempfile::tempdir().unwrap();
    for (path, bytes) in files(&scratch.path("")) {
        fs::write(dir.path().join(path.file_name().unwrap()), bytes).unwrap();
    }
    set_mode(&dir.path().join("key"), 0o600);
    fs::write(dir.path().join("state.new"), "half of a da").unwrap();
    fs::write(dir.path().join("key.new"), "half of a ke").unwrap();
    let state = open(dir.path()).await.unwrap();
    assert!(state.verify(&token.id, secrecy::ExposeSecret::expose_secret(&token.secret)).is_some());
    drop(state);
    // The log of a database that is gone does not get into the next one.
    fs::write(dir.path().join("state.db-wal"), fs::read(scratch.path("state.db-wal")).unwrap()).unwrap();
    fs::remove_file(dir.path().join("state.db")).unwrap();
    let state = open(dir.path()).await.unwrap();
    assert!(state.list_tokens("team").await.unwrap().is_empty());
}

#[tokio::test]
async fn the_key_is_needed_and_guarded() {
    let dir = left().await;
    let key = dir.path().join("key");
    let right = fs::read(&key).unwrap();
    assert_eq!(right.len(), 32);
    fs::remove_file(&key).unwrap();
    let error = problem(dir.path()).await;
    assert!(matches!(error, StateError::KeyMissing { .. }), "{error}");
    assert!(!key.exists(), "a new key would open nothing");
    for length in [0, 31, 33, 4096] {
        fs::write(&key, vec![7; length]).unwrap();
        set_mode(&key, 0o600);
        let error = problem(dir.path()).await;
        assert!(matches!(error, StateError::KeyLength { .. }), "{length}: {error}");
    }
    fs::write(&key, [7; 32]).unwrap();
    let error = problem(dir.path()).await;
    assert!(matches!(error, StateError::WrongKey { .. }), "{error}");
    fs::write(&key, &right).unwrap();
    set_mode(&key, 0o640);
    let error = problem(dir.path()).await.to_string();
    assert!(error.contains(&format!("run `chmod 600 '{}'`", key.display())), "{error}");
    set_mode(&key, 0o400);
    open(dir.path()).await.unwrap();
}

#[tokio::test]
async fn a_key_may_lie_elsewhere() {
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let key = elsewhere.path().join("state key");
    let options = || StateOptions { dir: dir.path().to_owned(), key: Some(key.clone()) };
    let error = State::open(options()).await.unwrap_err();
    assert!(matches!(error, StateError::KeyMissing { .. }), "{error}");
    assert!(error.to_string().contains("head -c 32 /dev/urandom"), "{error}");
    fs::write(&key, [7; 32]).unwrap();
    set_mode(&key, 0o600);
    let first = *State::open(options()).await.unwrap().signing_key();
    assert_eq!(&first, State::open(options()).await.unwrap().signing_key());
    assert_ne!(first, [7; 32]);
    assert!(!dir.path().join("key").exists());
    fs::write(&key, [8; 32]).unwrap();
    assert!(matches!(State::open(options()).await.unwrap_err(), StateError::WrongKey { .. }));
}

#[tokio::test]
async fn files_that_cannot_be_read_or_written_are_told() {
    let dir = left().await;
    let path = dir.path().join("state.db");
    for wrong in [0, 0o400] {
        set_mode(&path, wrong);
        let error = as_user(dir.path(), problem(dir.path()));
        assert!(matches!(&error, StateError::Io { path, .. } if path.ends_with("state.db")), "{error}");
        assert!(error.to_string().contains("Permission denied"), "{error}");
        assert!(error.to_string().contains("must be able to read and write it"), "{error}");
    }
    set_mode(&path, 0o600);
    set_mode(dir.path(), 0o500);
    let error = as_user(dir.path(), problem(dir.path()));
    assert!(matches!(error, StateError::ReadOnly { .. }), "{error}");
    assert!(error.to_string().contains("its folder writable"), "{error}");
    set_mode(dir.path(), 0o700);
    set_mode(&dir.path().join("key"), 0);
    let error = as_user(dir.path(), problem(dir.path()));
    assert!(matches!(&error, StateError::Io { path, .. } if path.ends_with("key")), "{error}");
    let empty = tempfile::tempdir().unwrap();
    set_mode(empty.path(), 0o500);
    let error = as_user(empty.path(), problem(empty.path()));
    assert!(matches!(error, StateError::Io { .. }), "{error}");
}

#[tokio::test]
async fn a_full_disk_fails_the_call_and_no_more() {
    let scratch = Scratch::new().await;
    let room = |pages: u32| {
        let db = scratch.state.inner.db.clone();
        async move { db.lock().await.pragma_update(None, "max_page_count", pages).unwrap() }
    };
    room(1).await;
    let mut large = sandbox(Some("web"));
    large.tags.insert("a".to_owned(), "x".repeat(100_000));
    let error = scratch.state.insert_sandbox(&large).await.unwrap_err();
    assert!(matches!(error, StateError::DiskFull { .. }), "{error}");
    assert!(error.to_string().contains("no room on the disk"), "{error}");
    assert!(scratch.state.unfinished().await.unwrap().is_empty());
    room(1_000_000).await;
    scratch.state.insert_sandbox(&large).await.unwrap();
}

#[tokio::test]
async fn no_secret_is_in_any_file() {
    let scratch = Scratch::new().await;
    let state = &scratch.state;
    let secret = |mode, value: &str| SecretWrite {
        name: Some("keys".to_owned()),
        app_id: None,
        values: [("API_KEY".to_owned(), value.into())].into(),
        mode,
    };
    state.environment("team", "", true).await.unwrap();
    state.put_secret("team", "", secret(SecretMode::FailIfExists, "plain-value-1")).await.unwrap();
    let kept = state.put_secret("team", "", secret(SecretMode::Overwrite, "plain-value-2")).await.unwrap();
    let change = vec![("OTHER".to_owned(), Some("plain-value-3".into()))];
    state.update_secret("team", &kept.id, change).await.unwrap();
    state.put_secret("team", "", secret(SecretMode::Ephemeral, "plain-value-4")).await.unwrap();
    let token = state.issue_token("team", "start", None).await.unwrap();
    let token = secrecy::ExposeSecret::expose_secret(&token.secret).to_owned();
    let super::Claim::Fresh(guard) = state.begin("team", "M", "key", std::time::Duration::ZERO).await.unwrap() else {
        panic!("it was never called");
    };
    guard.finish(b"plain-value-5".to_vec()).await.unwrap();
    let check = |dir: &Path, when: &str| {
        let mut names = 0;
        for (path, bytes) in files(dir) {
            let contains = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
            assert!(!contains("plain-value") && !contains(&token), "{when}: {}", path.display());
            names += usize::from(contains("API_KEY"));
        }
        assert!(names > 0, "{when}: the names of variables are in clear, so this looks in the right place");
    };
    check(&scratch.path(""), "open");
    assert!(fs::metadata(scratch.path("state.db-wal")).unwrap().len() > 0);
    check(scratch.close().path(), "closed");
}

#[tokio::test]
async fn a_value_that_was_moved_or_changed_is_not_used() {
    let scratch = Scratch::new().await;
    scratch.state.environment("team", "", true).await.unwrap();
    let mut ids = Vec::new();
    for name in ["a", "b"] {
        let values = [("K".to_owned(), name.into())].into();
        let secret = SecretWrite { name: Some(name.to_owned()), app_id: None, values, mode: SecretMode::FailIfExists };
        ids.push(scratch.state.put_secret("team", "", secret).await.unwrap().id);
    }
    let dir = scratch.close();
    let db = Connection::open(dir.path().join("state.db")).unwrap();
    db.execute("UPDATE secrets SET sealed = (SELECT sealed FROM secrets WHERE name = 'b')", []).unwrap();
    drop(db);
    let state = open(dir.path()).await.unwrap();
    let error = state.secret_values("team", &ids[0]).await.unwrap_err();
    assert!(matches!(error, StateError::Sealed { .. }), "{error}");
    assert!(error.to_string().contains(&ids[0]), "{error}");
    assert!(state.secret_values("team", &ids[1]).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_callers_at_once_get_their_turn() {
    let scratch = Scratch::new().await;
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..500 {
        let state = scratch.state.clone();
        calls.spawn(async move {
            let mut record = sandbox(Some(&format!("name-{}", number % 50)));
            record.created_at = std::time::SystemTime::UNIX_EPOCH;
            let inserted = state.insert_sandbox(&record).await;
            assert_eq!(state.sandbox("team", &record.id).await.unwrap().is_some(), inserted.is_ok());
            inserted
        });
    }
    let results = calls.join_all().await;
    let times: std::collections::BTreeSet<_> = results.iter().flatten().collect();
    assert_eq!(times.len(), 50, "one of each name, and no two at the same time");
    let taken = |result: &&Result<_, StateError>| matches!(result, Err(StateError::NameTaken { .. }));
    assert_eq!(results.iter().filter(taken).count(), 450);
}
