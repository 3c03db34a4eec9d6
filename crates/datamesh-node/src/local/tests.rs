//! The daemon's end of a get, with a command that answers well and one that does not; and whose the
//! daemon's end is.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use datamesh_core::Hash;
use datamesh_core::catalog::EntryKind;
use datamesh_core::stream::{EntryHead, LARGE_BYTES_MIN, Sink};
use tokio::net::{UnixListener, UnixStream};

use super::frame::{FrameReader, FrameWriter, Kind, value};
use super::reach::reach;
use super::server::SocketSink;

fn head(size: u64, hash: Option<Hash>) -> EntryHead {
    EntryHead {
        path: "a file".parse().unwrap(),
        kind: EntryKind::File,
        mode: 0,
        modified: 0,
        tags: Vec::new(),
        size: Some(size),
        source: None,
        hash,
    }
}

/// What the sink says of an entry when the command sends this frame, if any, and goes away.
async fn begun(head: &EntryHead, answer: Option<(Kind, &[u8])>) -> Option<u64> {
    let (daemon, command) = UnixStream::pair().unwrap();
    let (read, write) = daemon.into_split();
    let (mut reader, mut writer) = (FrameReader::new(read), FrameWriter::new(write));
    let (command_reads, command_writes) = command.into_split();
    let mut command = FrameWriter::new(command_writes);
    if let Some((kind, payload)) = answer {
        command.send(kind, payload).await.unwrap();
        command.flush().await.unwrap();
    }
    drop(command);
    let held = SocketSink::new(&mut reader, &mut writer).begin(head.clone()).await;
    writer.flush().await.unwrap();
    let (kind, payload) = FrameReader::new(command_reads).next().await.unwrap().unwrap();
    assert_eq!(kind, Kind::Head);
    assert_eq!(value::<EntryHead>(&payload).unwrap(), *head);
    held.ok()
}

#[tokio::test]
async fn the_daemon_asks_what_is_there_of_large_files_alone() {
    let mut five = Vec::new();
    ciborium::into_writer(&5_u64, &mut five).unwrap();
    let large = head(LARGE_BYTES_MIN, Some(Hash([7; 32])));
    assert_eq!(begun(&large, Some((Kind::Held, &five))).await, Some(5));
    assert_eq!(begun(&large, None).await, None);
    assert_eq!(begun(&large, Some((Kind::StreamEnd, &five))).await, None);
    assert_eq!(begun(&large, Some((Kind::Held, b"what?"))).await, None);
    assert_eq!(begun(&large, Some((Kind::Held, b""))).await, None);
    // Nobody is asked, so it does not matter that nobody is there.
    let folder = EntryHead { kind: EntryKind::Folder, ..large.clone() };
    let small = head(LARGE_BYTES_MIN - 1, Some(Hash([7; 32])));
    for head in [head(LARGE_BYTES_MIN, None), small, folder] {
        assert_eq!(begun(&head, None).await, Some(0));
    }
}

#[tokio::test]
async fn whoever_else_listens_is_not_the_daemon() {
    let user = rustix::process::getuid().as_raw();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("sock");
    assert!(reach(&socket, &[user]).await.unwrap().is_none());
    let listener = UnixListener::bind(&socket).unwrap();
    assert!(reach(&socket, &[user]).await.unwrap().is_some());
    drop(listener.accept().await.unwrap());
    let refused = reach(&socket, &[user + 1]).await.unwrap_err();
    assert!(refused.message.contains("is not the daemon"), "{}", refused.message);
}
