//! The old file calls.

use super::super::old::OldFiles;
use super::{poke, until, with_sandbox};
use bytes::Bytes;
use computesdk_core::Files;
use computesdk_modal_proto::client::container_filesystem_exec_request::FileExecRequestOneof as Request;
use computesdk_modal_proto::client::{
    ContainerFileCloseRequest, ContainerFileDeleteBytesRequest, ContainerFileFlushRequest, ContainerFileLsRequest,
    ContainerFileMkdirRequest, ContainerFileOpenRequest, ContainerFileReadLineRequest, ContainerFileReadRequest,
    ContainerFileRmRequest, ContainerFileSeekRequest, ContainerFileWatchRequest, ContainerFileWriteReplaceBytesRequest,
    ContainerFileWriteRequest, ContainerFilesystemExecRequest, FilesystemRuntimeOutputBatch, SystemErrorCode as Code,
};
use futures_util::StreamExt as _;
use std::sync::Arc;

type Batches = Vec<FilesystemRuntimeOutputBatch>;

/// What a client does: one call, and its output to the end.
struct Client(OldFiles);

impl Client {
    fn new(files: &Arc<dyn Files>) -> Self {
        Self(OldFiles::new(Arc::clone(files)))
    }

    async fn begin(&self, request: Request) -> (String, Option<String>) {
        let request = ContainerFilesystemExecRequest { task_id: "ta-1".into(), file_exec_request_oneof: Some(request) };
        let answer = self.0.exec(request).await.unwrap();
        (answer.exec_id, answer.file_descriptor)
    }

    async fn output(&self, exec_id: &str) -> Batches {
        self.0.output(exec_id).expect("the output is kept").map(Result::unwrap).collect().await
    }

    async fn call(&self, request: Request) -> Result<Vec<u8>, Code> {
        let (exec_id, _) = self.begin(request).await;
        collect(&self.output(&exec_id).await)
    }

    async fn open(&self, path: &str, mode: &str) -> Result<String, Code> {
        let (exec_id, descriptor) = self.begin(open(path, mode)).await;
        // Also of a file that cannot be opened: clients look for the error only then.
        let descriptor = descriptor.expect("a descriptor");
        collect(&self.output(&exec_id).await).map(|output| {
            assert!(output.is_empty());
            descriptor
        })
    }

    async fn read(&self, file: &str, n: Option<u32>) -> Result<String, Code> {
        let bytes = self.call(read(file, n)).await?;
        Ok(String::from_utf8(bytes).unwrap())
    }

    async fn line(&self, file: &str) -> String {
        let request = ContainerFileReadLineRequest { file_descriptor: file.into() };
        String::from_utf8(self.call(Request::FileReadLineRequest(request)).await.unwrap()).unwrap()
    }

    async fn write(&self, file: &str, data: &str) -> Result<(), Code> {
        let data = Bytes::copy_from_slice(data.as_bytes());
        let request = ContainerFileWriteRequest { file_descriptor: file.into(), data };
        self.call(Request::FileWriteRequest(request)).await.map(drop)
    }

    async fn seek(&self, file: &str, offset: i32, whence: i32) -> Result<(), Code> {
        let request = ContainerFileSeekRequest { file_descriptor: file.into(), offset, whence };
        self.call(Request::FileSeekRequest(request)).await.map(drop)
    }

    async fn close(&self, file: &str) -> Result<(), Code> {
        let request = ContainerFileCloseRequest { file_descriptor: file.into() };
        self.call(Request::FileCloseRequest(request)).await.map(drop)
    }

    async fn watch(&self, path: &str, timeout_secs: Option<u64>) -> String {
        let request = ContainerFileWatchRequest { path: path.into(), recursive: true, timeout_secs };
        self.begin(Request::FileWatchRequest(request)).await.0
    }
}

fn open(path: &str, mode: &str) -> Request {
    Request::FileOpenRequest(ContainerFileOpenRequest { file_descriptor: None, path: path.into(), mode: mode.into() })
}

fn read(file: &str, n: Option<u32>) -> Request {
    Request::FileReadRequest(ContainerFileReadRequest { file_descriptor: file.into(), n })
}

fn ls(path: &str) -> Request {
    Request::FileLsRequest(ContainerFileLsRequest { path: path.into() })
}

fn mkdir(path: &str, make_parents: bool) -> Request {
    Request::FileMkdirRequest(ContainerFileMkdirRequest { path: path.into(), make_parents })
}

fn rm(path: &str, recursive: bool) -> Request {
    Request::FileRmRequest(ContainerFileRmRequest { path: path.into(), recursive })
}

/// What clients make of an output: it ends with `eof` alone in a message, or with an error without.
fn collect(batches: &[FilesystemRuntimeOutputBatch]) -> Result<Vec<u8>, Code> {
    let (last, before) = batches.split_last().expect("a message");
    let mut bytes = Vec::new();
    for (index, batch) in before.iter().enumerate() {
        assert!(!batch.eof && batch.error.is_none() && batch.batch_index == index as u64, "{batch:?}");
        for piece in &batch.output {
            assert!(!piece.is_empty() && piece.len() <= 1 << 20);
            bytes.extend_from_slice(piece);
        }
    }
    assert!(last.output.is_empty(), "{last:?}");
    match &last.error {
        None => {
            assert!(last.eof, "{last:?}");
            Ok(bytes)
        }
        Some(error) => {
            assert!(!last.eof && !error.error_message.is_empty(), "{error:?}");
            Err(error.error_code())
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn modes_are_those_of_open() {
    with_sandbox(async |room| {
        let client = Client::new(&room.files);
        let file = client.open("/tmp/f", "w").await.unwrap();
        client.write(&file, "one\ntwo\n").await.unwrap();
        client.write(&file, "three").await.unwrap();
        assert_eq!(client.read(&file, None).await, Err(Code::Inval), "w does not read");
        let request = ContainerFileFlushRequest { file_descriptor: file.clone() };
        client.call(Request::FileFlushRequest(request)).await.unwrap();
        assert_eq!(room.shell("cat /tmp/f").await, "one\ntwo\nthree");
        client.close(&file).await.unwrap();
        assert_eq!(client.close(&file).await, Err(Code::Inval));
        assert_eq!(client.read(&file, None).await, Err(Code::Inval));

        let file = client.open("/tmp/f", "rb").await.unwrap();
        assert_eq!(client.read(&file, Some(2)).await.unwrap(), "on");
        assert_eq!(client.line(&file).await, "e\n");
        assert_eq!(client.line(&file).await, "two\n");
        assert_eq!(client.line(&file).await, "three");
        assert_eq!(client.line(&file).await, "");
        assert_eq!(client.read(&file, None).await.unwrap(), "");
        client.seek(&file, -5, 2).await.unwrap();
        assert_eq!(client.read(&file, Some(2)).await.unwrap(), "th");
        client.seek(&file, 1, 1).await.unwrap();
        assert_eq!(client.read(&file, None).await.unwrap(), "ee");
        client.seek(&file, 4, 0).await.unwrap();
        assert_eq!(client.read(&file, Some(100)).await.unwrap(), "two\nthree");
        assert_eq!(client.seek(&file, -1, 0).await, Err(Code::Inval));
        client.seek(&file, 1000, 0).await.unwrap();
        assert_eq!(client.read(&file, None).await.unwrap(), "");
        assert_eq!(client.write(&file, "x").await, Err(Code::Inval), "r does not write");

        let file = client.open("/tmp/f", "r+").await.unwrap();
        client.write(&file, "ONE").await.unwrap();
        assert_eq!(client.read(&file, None).await.unwrap(), "\ntwo\nthree");
        let file = client.open("/tmp/f", "a").await.unwrap();
        client.seek(&file, 0, 0).await.unwrap();
        client.write(&file, "!").await.unwrap();
        let file = client.open("/tmp/f", "a+").await.unwrap();
        assert_eq!(client.read(&file, None).await.unwrap(), "");
        client.seek(&file, 0, 0).await.unwrap();
        assert_eq!(client.read(&file, Some(3)).await.unwrap(), "ONE");
        client.write(&file, "?").await.unwrap();
        assert_eq!(room.shell("cat /tmp/f").await, "ONE\ntwo\nthree!?");
        let file = client.open("/tmp/f", "w+").await.unwrap();
        client.write(&file, "new").await.unwrap();
        client.seek(&file, 0, 0).await.unwrap();
        assert_eq!(client.read(&file, None).await.unwrap(), "new");
        client.seek(&file, 5, 0).await.unwrap();
        client.write(&file, "gap").await.unwrap();
        assert_eq!(room.shell("od -An -c /tmp/f | tr -d ' \\n'").await, "new\\0\\0gap");
        assert_eq!(client.open("/tmp/f", "x").await, Err(Code::Exist));
        let file = client.open("/tmp/g", "x+").await.unwrap();
        client.write(&file, "g").await.unwrap();
        for mode in ["", "rw", "q", "r++"] {
            assert_eq!(client.open("/tmp/f", mode).await, Err(Code::Inval), "{mode}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_in_the_middle_are_replaced() {
    with_sandbox(async |room| {
        let client = Client::new(&room.files);
        room.shell("printf 0123456789 > /tmp/f; ln -s f /tmp/link").await;
        let file = client.open("/tmp/link", "r+").await.unwrap();
        let delete = |start_inclusive, end_exclusive| {
            let file_descriptor = file.clone();
            let request = ContainerFileDeleteBytesRequest { file_descriptor, start_inclusive, end_exclusive };
            client.call(Request::FileDeleteBytesRequest(request))
        };
        let replace = |data: &'static str, start_inclusive, end_exclusive| {
            let (file_descriptor, data) = (file.clone(), Bytes::from(data));
            let request =
                ContainerFileWriteReplaceBytesRequest { file_descriptor, data, start_inclusive, end_exclusive };
            client.call(Request::FileWriteReplaceBytesRequest(request))
        };
        delete(Some(2), Some(4)).await.unwrap();
        assert_eq!(room.shell("cat /tmp/f").await, "01456789");
        replace("abcdef", Some(1), Some(2)).await.unwrap();
        assert_eq!(room.shell("cat /tmp/f").await, "0abcdef456789");
        replace("-", Some(7), None).await.unwrap();
        assert_eq!(room.shell("cat /tmp/f").await, "0abcdef-");
        delete(None, Some(1)).await.unwrap();
        delete(Some(6), Some(1000)).await.unwrap();
        assert_eq!(client.read(&file, None).await.unwrap(), "abcdef");
        assert_eq!(delete(Some(7), None).await, Err(Code::Inval));
        assert_eq!(delete(Some(3), Some(2)).await, Err(Code::Inval));
        delete(None, None).await.unwrap();
        assert_eq!(room.shell("stat -c '%s %F' /tmp/f").await, "0 regular empty file\n");
        room.shell("truncate -s 200M /tmp/f").await;
        assert_eq!(delete(Some(1), Some(2)).await, Err(Code::Fbig));
        let file = client.open("/tmp/f", "r").await.unwrap();
        let request = ContainerFileDeleteBytesRequest { file_descriptor: file, ..Default::default() };
        assert_eq!(client.call(Request::FileDeleteBytesRequest(request)).await, Err(Code::Inval));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_have_numbers() {
    with_sandbox(async |room| {
        room.shell("mkdir -p /tmp/d/e; touch /tmp/f; mkfifo /tmp/p; ln -s none /tmp/dangling").await;
        let client = Client::new(&room.files);
        for (path, mode, code) in [
            ("/tmp/none", "r", Code::Noent),
            ("/tmp/none", "r+", Code::Noent),
            ("/tmp/none/f", "w", Code::Noent),
            ("/tmp/none/f", "a", Code::Noent),
            ("/tmp/d", "r", Code::Isdir),
            ("/tmp/d", "r+", Code::Isdir),
            ("/tmp/d", "w", Code::Isdir),
            ("/tmp/d", "a+", Code::Isdir),
            ("/tmp/f/x", "r", Code::Notdir),
            ("/tmp/f/x", "w", Code::Notdir),
            ("/tmp/p", "r", Code::Inval),
            ("/tmp/p", "w", Code::Inval),
            ("/tmp/f", "x", Code::Exist),
            ("/tmp/dangling", "x", Code::Exist),
            ("/proc/version", "r+", Code::Acces),
            ("tmp/f", "r", Code::Inval),
            ("/tmp/f\0", "w", Code::Inval),
        ] {
            assert_eq!(client.open(path, mode).await, Err(code), "{path:?} {mode}");
        }
        for (request, code) in [
            (ls("/tmp/none"), Code::Noent),
            (ls("/tmp/f"), Code::Notdir),
            (mkdir("/tmp/d", false), Code::Exist),
            (mkdir("/tmp/none/d", false), Code::Noent),
            (mkdir("/tmp/f/d", true), Code::Notdir),
            (rm("/tmp/none", true), Code::Noent),
            (rm("/tmp/d", false), Code::Inval),
            (read("fd-none", None), Code::Inval),
        ] {
            assert_eq!(client.call(request.clone()).await, Err(code), "{request:?}");
        }
        assert!(room.files.stat("/tmp/none", false).await.is_err(), "no directory was made");
        let none = ContainerFilesystemExecRequest { task_id: "ta-1".into(), file_exec_request_oneof: None };
        let refused = async move { client.0.exec(none).await.map_err(|status| (client, status)) };
        let (client, status) = tokio::spawn(refused).await.unwrap().map(drop).unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        assert!(client.0.output("fx-none").is_none());
        // A watch of what is not there.
        let exec_id = client.watch("/tmp/none", None).await;
        assert_eq!(collect(&client.output(&exec_id).await), Err(Code::Noent));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn directories_are_listed_made_and_removed() {
    with_sandbox(async |room| {
        let client = Client::new(&room.files);
        client.call(mkdir("/tmp/a/b", true)).await.unwrap();
        client.call(mkdir("/tmp/a/c", false)).await.unwrap();
        room.shell("touch /tmp/a/\"$(printf 'x\\ny')\"").await;
        let listed = client.call(ls("/tmp/a")).await.unwrap();
        assert_eq!(String::from_utf8(listed).unwrap(), r#"{"paths":["b","c","x\ny"]}"#);
        client.call(rm("/tmp/a/c", false)).await.unwrap();
        client.call(rm("/tmp/a", true)).await.unwrap();
        room.shell("test ! -e /tmp/a").await;

        let client = Client(OldFiles::new(Arc::clone(&room.files)).in_directory("/tmp/"));
        client.call(mkdir("rel/x", true)).await.unwrap();
        let file = client.open("rel/x/f", "w").await.unwrap();
        client.write(&file, "here").await.unwrap();
        assert_eq!(room.shell("cat /tmp/rel/x/f").await, "here");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn outputs_are_given_again() {
    with_sandbox(async |room| {
        let client = Client::new(&room.files);
        let (exec_id, _) = client.begin(open("/tmp/none", "r")).await;
        for _ in 0..11 {
            assert_eq!(collect(&client.output(&exec_id).await), Err(Code::Noent));
        }
        room.shell("head -c 3000000 /dev/zero | tr '\\0' x > /tmp/f").await;
        let file = client.open("/tmp/f", "r").await.unwrap();
        let (exec_id, _) = client.begin(read(&file, None)).await;
        // Broken off before anything can have arrived, and after it was given to its end.
        for _ in 0..2 {
            drop(client.0.output(&exec_id));
            let mut begun = client.0.output(&exec_id).unwrap();
            begun.next().await.unwrap().unwrap();
            drop(begun);
            let batches = client.output(&exec_id).await;
            assert_eq!(batches.len(), 4);
            assert_eq!(collect(&batches).unwrap(), vec![b'x'; 3_000_000]);
        }
        // Broken off in the middle: nobody knows what arrived, and wrong bytes are worse than none.
        let mut begun = client.0.output(&exec_id).unwrap();
        begun.next().await.unwrap().unwrap();
        begun.next().await.unwrap().unwrap();
        drop(begun);
        for _ in 0..11 {
            assert_eq!(collect(&client.output(&exec_id).await), Err(Code::Io));
        }
        client.seek(&file, 0, 0).await.unwrap();
        assert_eq!(client.read(&file, None).await.unwrap().len(), 3_000_000);
        // Two files at different places do not disturb each other, nor does a read that is given late.
        let other = client.open("/tmp/f", "r").await.unwrap();
        let (late, _) = client.begin(read(&other, Some(10))).await;
        assert_eq!(client.read(&other, Some(5)).await.unwrap(), "xxxxx");
        assert_eq!(collect(&client.output(&late).await).unwrap().len(), 10);
        client.close(&other).await.unwrap();
        assert_eq!(collect(&client.output(&late).await), Err(Code::Inval));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_is_bounded_and_gone_with_the_sandbox() {
    with_sandbox(async |room| {
        let client = Client::new(&room.files);
        room.shell("mkdir /tmp/d; touch /tmp/f").await;
        let mut open = Vec::new();
        for _ in 0..64 {
            open.push(client.open("/tmp/f", "r").await.unwrap());
        }
        assert_eq!(client.open("/tmp/f", "r").await, Err(Code::Mfile));
        client.close(&open[0]).await.unwrap();
        client.open("/tmp/f", "r").await.unwrap();

        let (first, _) = client.begin(ls("/tmp/d")).await;
        let watch = client.watch("/tmp/d", None).await;
        let mut last = String::new();
        for _ in 0..300 {
            last = client.begin(ls("/tmp/d")).await.0;
        }
        assert!(client.0.output(&first).is_none());
        assert!(client.0.output(&last).is_some());
        assert!(client.0.output(&watch).is_some(), "what still runs is kept");

        // The oldest watch that nobody reads makes room.
        let mut watches = Vec::new();
        for _ in 0..16 {
            watches.push(client.watch("/tmp/d", None).await);
        }
        assert!(client.0.output(&watch).is_none());
        let mut reading = client.0.output(&watches[0]).unwrap();
        let poking = tokio::spawn(poke(Arc::clone(&room.files), "/tmp/d/poke".into()));
        reading.next().await.unwrap().unwrap();
        poking.abort();
        let _ = poking.await;
        assert!(Arc::strong_count(&room.files) > 1);
        drop((client, reading));
        until("nothing of it is left", || Arc::strong_count(&room.files) == 1).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_gives_changes_as_they_come() {
    with_sandbox(async |room| {
        room.shell("mkdir /tmp/d").await;
        let client = Client::new(&room.files);
        let exec_id = client.watch("/tmp/d", None).await;
        room.shell("printf x > /tmp/d/f").await;
        let mut output = client.0.output(&exec_id).unwrap();
        let next = async |output: &mut futures_util::stream::BoxStream<'static, _>| {
            let batch: Result<FilesystemRuntimeOutputBatch, tonic::Status> = output.next().await.unwrap();
            let batch = batch.unwrap();
            assert!(!batch.eof && batch.output.len() == 1, "{batch:?}");
            let text = String::from_utf8(batch.output[0].to_vec()).unwrap();
            serde_json::from_str::<serde_json::Value>(text.strip_suffix("\n\n").unwrap()).unwrap()
        };
        let created = serde_json::json!({"event_type": "Create", "paths": ["/tmp/d/f"]});
        let modified = serde_json::json!({"event_type": "Modify", "paths": ["/tmp/d/f"]});
        assert_eq!(next(&mut output).await, created);
        drop(output);
        // Nobody knows whether the last one arrived.
        let mut output = client.0.output(&exec_id).unwrap();
        assert_eq!(next(&mut output).await, created);
        assert_eq!(next(&mut output).await, modified);
        room.shell("rm -r /tmp/d").await;
        let rest: Vec<_> = output.map(Result::unwrap).collect().await;
        assert!(rest.last().is_some_and(|last| last.eof && last.output.is_empty()), "{rest:?}");

        let exec_id = client.watch("/tmp", Some(0)).await;
        assert_eq!(collect(&client.output(&exec_id).await), Ok(Vec::new()));
        let exec_id = client.watch("/tmp", Some(1)).await;
        assert_eq!(collect(&client.output(&exec_id).await), Ok(Vec::new()));
        assert_eq!(collect(&client.output(&exec_id).await), Ok(Vec::new()), "its end is given again");
    })
    .await;
}
