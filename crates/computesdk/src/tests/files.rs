use super::{sandbox, unique_seconds};
use crate::{ErrorKind, FileKind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[tokio::test]
async fn what_is_written_is_read_and_listed() {
    let sandbox = sandbox().await;
    let files = sandbox.filesystem();
    let place = format!("/tmp/computesdk-test-{}", unique_seconds());
    let path = format!("{place}/a/b c.txt");
    let text = "$HOME `id` 'quotes\" \\ ü\r\nno newline at the end";
    files.write_file(&path, text).await.unwrap();
    assert_eq!(files.read_file(&path).await.unwrap(), text);
    files.append(&path, "\n").await.unwrap();
    let mut writer = files.open_append(&path).await.unwrap();
    writer.write_all(b"more").await.unwrap();
    writer.shutdown().await.unwrap();
    let mut reader = files.open_read(&path).await.unwrap();
    let mut all = String::new();
    reader.read_to_string(&mut all).await.unwrap();
    assert_eq!(all, format!("{text}\nmore"));
    files.write_bytes(&format!("{place}/a/raw"), [0, 255]).await.unwrap();
    assert_eq!(files.read_bytes(&format!("{place}/a/raw")).await.unwrap(), [0, 255]);
    files.mkdir(&format!("{place}/a/dir")).await.unwrap();
    files.mkdir(&format!("{place}/a/dir")).await.unwrap();

    let entries = files.readdir(&format!("{place}/a/")).await.unwrap();
    let names: Vec<_> = entries.iter().map(|entry| (&*entry.name, entry.is_directory, entry.size)).collect();
    assert_eq!(names, [("b c.txt", false, all.len() as u64), ("dir", true, 0), ("raw", false, 2)]);
    assert_eq!((&entries[0].path, entries[1].stat.kind), (&path, FileKind::Directory));
    let json = serde_json::to_value(&entries[0]).unwrap();
    let keys: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["isDirectory", "lastModified", "name", "path", "size"]);
    assert!(json["lastModified"].as_str().unwrap().ends_with('Z'), "{json}");

    files.rename(&path, &format!("{place}/moved")).await.unwrap();
    assert!(!files.exists(&path).await.unwrap() && files.exists(&format!("{place}/moved")).await.unwrap());
    assert_eq!(files.stat(&format!("{place}/moved")).await.unwrap().kind, FileKind::File);
    files.remove(&place).await.unwrap();
    files.remove(&place).await.unwrap();
    assert!(!files.exists(&place).await.unwrap());
}

#[tokio::test]
async fn errors_keep_their_prefix_kind_and_cause() {
    let sandbox = sandbox().await;
    let files = sandbox.filesystem();
    let missing = "/tmp/no/such/file";
    let table = [
        (files.read_file(missing).await.unwrap_err(), "Failed to read file /tmp/no/such/file: ", ErrorKind::NotFound),
        (
            files.write_file("/etc/passwd/x", "").await.unwrap_err(),
            "Failed to write file /etc/passwd/x: ",
            ErrorKind::AlreadyExists,
        ),
        (
            files.mkdir("/etc/passwd/x").await.unwrap_err(),
            "Failed to create directory /etc/passwd/x: ",
            ErrorKind::InvalidArgument,
        ),
        (
            files.readdir("/etc/passwd").await.unwrap_err(),
            "Failed to read directory /etc/passwd: ",
            ErrorKind::InvalidArgument,
        ),
        (
            files.remove("/etc/passwd/x").await.unwrap_err(),
            "Failed to remove /etc/passwd/x: ",
            ErrorKind::InvalidArgument,
        ),
        (files.read_file("x").await.unwrap_err(), "Failed to read file x: invalid `path`", ErrorKind::InvalidArgument),
        (files.remove("").await.unwrap_err(), "Failed to remove : invalid `path`", ErrorKind::InvalidArgument),
        (files.watch("/tmp", false).await.err().unwrap(), "Failed to watch /tmp: ", ErrorKind::Unsupported),
        (
            files.rename("/tmp/x", "y").await.unwrap_err(),
            "Failed to rename /tmp/x: invalid `to`",
            ErrorKind::InvalidArgument,
        ),
    ];
    for (error, prefix, kind) in table {
        assert!(error.to_string().starts_with(prefix), "{error}");
        assert_eq!(error.kind(), kind, "{error}");
        assert!(std::error::Error::source(&error).is_some(), "{error}");
        assert_eq!(error.provider(), Some("host"));
    }
    let path = format!("/tmp/computesdk-test-{}", unique_seconds());
    files.write_bytes(&path, [b'a', 255]).await.unwrap();
    let error = files.read_file(&path).await.unwrap_err();
    files.remove(&path).await.unwrap();
    assert!(error.to_string().contains("byte 1 is not UTF-8; use `read_bytes`"), "{error}");
}
