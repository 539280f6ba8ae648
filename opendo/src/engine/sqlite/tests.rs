use std::fs;
use std::io::ErrorKind;
use std::time::Duration;

use tempfile::tempdir;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::super::{Changes, Engine, Writes};
use super::*;

fn room(n: u8) -> Arc<ObjectKey> {
    Arc::new(ObjectKey::kept("Room".into(), [n; 32], None))
}

async fn owner(engine: &Sqlite, n: u8) -> Ownership {
    engine.claim(&room(n)).await.unwrap().ownership
}

/// A commit that writes one value.
fn write(n: u8, owner: &Ownership, value: &[u8]) -> Commit {
    let writes = Writes::from([(Bytes::from_static(b"a"), Some(Bytes::copy_from_slice(value)))]);
    let changes = Arc::new(Changes { writes, ..Changes::default() });
    Commit { object: room(n), epoch: owner.epoch, sequence: owner.sequence + 1, changes }
}

async fn commit(engine: &Sqlite, commit: Commit) -> EngineResult<Outcome> {
    engine.commit(vec![commit]).await.remove(0)
}

async fn read(engine: &Sqlite, n: u8) -> Option<Bytes> {
    engine.get(&room(n), vec![Bytes::from_static(b"a")]).await.unwrap().remove(0)
}

/// To look inside.
fn inner(engine: &Sqlite) -> Arc<Inner> {
    engine.inner.lock().clone().unwrap()
}

#[tokio::test]
async fn a_directory_is_open_once() {
    let directory = tempdir().unwrap();
    let engine = Sqlite::open(directory.path()).unwrap();
    let error = Sqlite::open(directory.path()).unwrap_err();
    assert_eq!(error, OpenError::InUse { path: directory.path().to_owned() });
    assert!(error.to_string().contains(directory.path().to_str().unwrap()), "{error}");
    drop(engine);
    Sqlite::open(directory.path()).unwrap();
}

#[tokio::test]
async fn a_closed_directory_may_be_opened_while_the_engine_is_still_held() {
    let directory = tempdir().unwrap();
    let engine: Arc<dyn Engine> = Arc::new(Sqlite::open(directory.path()).unwrap());
    let claim = engine.claim(&room(1)).await.unwrap();
    // The task goes on when nobody waits for it: closing does.
    drop(engine.commit(vec![write(1, &claim.ownership, b"1")]).now_or_never());
    engine.close().await;
    let again = Sqlite::open(directory.path()).unwrap();
    assert_eq!(read(&again, 1).await.as_deref(), Some(&b"1"[..]));
    let refused = engine.commit(vec![write(1, &claim.ownership, b"2")]).await.remove(0);
    assert!(matches!(refused, Err(EngineError::Failed(_))));
    assert!(matches!(engine.claim(&room(1)).await, Err(EngineError::Failed(_))));
    assert!(matches!(engine.objects("Room", None, 1).await, Err(EngineError::Failed(_))));
    engine.close().await;
}

#[tokio::test]
async fn a_directory_is_made_with_its_parents() {
    let directory = tempdir().unwrap();
    let deep = directory.path().join("a/b/c");
    drop(Sqlite::open(&deep).unwrap());
    assert!(deep.join("opendo.sqlite3").is_file());
}

#[test]
fn a_file_in_the_place_of_the_directory_is_told() {
    let directory = tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "text").unwrap();
    for path in [file.clone(), file.join("below")] {
        assert!(matches!(Sqlite::open(&path), Err(OpenError::Io { .. })), "{path:?}");
    }
    assert_eq!(fs::read(&file).unwrap(), b"text");
    let Err(OpenError::Io { kind, .. }) = Sqlite::open(&file) else { panic!("it was opened") };
    assert_eq!(kind, ErrorKind::NotADirectory);
}

#[test]
fn a_file_that_is_no_database_is_told_and_kept() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("opendo.sqlite3");
    let text = "no database, but long enough to be looked at. ".repeat(100);
    fs::write(&path, &text).unwrap();
    let Err(OpenError::Sqlite { path: told, .. }) = Sqlite::open(directory.path()) else {
        panic!("it was opened")
    };
    assert_eq!(told, path);
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn a_database_of_a_newer_version_is_told_and_kept() {
    let directory = tempdir().unwrap();
    drop(Sqlite::open(directory.path()).unwrap());
    let path = directory.path().join("opendo.sqlite3");
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let before = fs::read(&path).unwrap();
    let error = Sqlite::open(directory.path()).unwrap_err();
    assert_eq!(error, OpenError::Newer { path: path.clone(), found: 99, known: 1 });
    assert_eq!(fs::read(&path).unwrap(), before);
}

/// Never after a failed flush: see `Writer`.
#[tokio::test]
async fn after_a_failed_commit_nothing_is_written_until_it_is_opened_again() {
    let directory = tempdir().unwrap();
    let engine = Sqlite::open(directory.path()).unwrap();
    let mut first = owner(&engine, 1).await;
    assert_eq!(commit(&engine, write(1, &first, b"1")).await, Ok(Outcome::Committed));
    first.sequence += 1;
    let second = owner(&engine, 2).await;

    let pages = |count: i64| inner(&engine).writer.lock().limit_pages(count);
    pages(1); // a disk that is full
    let batch = vec![write(1, &first, &[7; 100_000]), write(2, &second, b"2")];
    let answers = engine.commit(batch).await;
    let Err(EngineError::Failed(text)) = &answers[0] else { panic!("{answers:?}") };
    assert!(text.contains("the disk is full; make room"), "{text}");
    assert!(!text.contains(directory.path().to_str().unwrap()), "{text}");
    assert_eq!(answers[1], answers[0], "one batch, one flush");

    pages(1 << 30);
    assert_eq!(commit(&engine, write(2, &second, b"2")).await, answers[0]);
    assert_eq!(read(&engine, 1).await.as_deref(), Some(&b"1"[..]), "what is there can be read");
    assert_eq!(read(&engine, 2).await, None);
    assert!(engine.claim(&room(1)).await.is_ok());

    drop(engine);
    let engine = Sqlite::open(directory.path()).unwrap();
    assert_eq!(read(&engine, 1).await.as_deref(), Some(&b"1"[..]));
    let second = owner(&engine, 2).await;
    assert_eq!(commit(&engine, write(2, &second, b"2")).await, Ok(Outcome::Committed));
}

#[tokio::test]
async fn owning_an_object_writes_nothing() {
    let directory = tempdir().unwrap();
    let engine = Sqlite::open(directory.path()).unwrap();
    let changes = || inner(&engine).writer.lock().total_changes();
    let before = changes();
    for n in 0..10 {
        let ownership = owner(&engine, n).await;
        engine.release(&room(n), ownership.epoch).await.unwrap();
    }
    owner(&engine, 1).await;
    assert_eq!(changes(), before);
}

#[tokio::test]
async fn reads_and_claims_do_not_wait_for_commits() {
    let directory = tempdir().unwrap();
    let engine = Sqlite::open(directory.path()).unwrap();
    let ownership = owner(&engine, 1).await;
    commit(&engine, write(1, &ownership, b"1")).await.unwrap();
    let inner = inner(&engine);
    let (locked, is_locked) = oneshot::channel();
    let (finish, finished) = oneshot::channel::<()>();
    let writing = spawn_blocking(move || {
        let _writer = inner.writer.lock();
        locked.send(()).unwrap();
        let _ = finished.blocking_recv();
    });
    is_locked.await.unwrap();
    for _ in 0..2 * READERS {
        assert_eq!(read(&engine, 1).await.as_deref(), Some(&b"1"[..]));
        owner(&engine, 2).await;
    }
    drop(finish);
    writing.await.unwrap();
}

/// Otherwise a timeout could pass before the disk has answered.
#[tokio::test(start_paused = true)]
async fn a_paused_clock_stands_still_while_the_disk_works() {
    let directory = tempdir().unwrap();
    let engine = Sqlite::open(directory.path()).unwrap();
    let start = Instant::now();
    let mut ownership = owner(&engine, 1).await;
    for _ in 0..20 {
        tokio::select! {
            biased;
            () = sleep(Duration::from_millis(1)) => panic!("the clock went on"),
            outcome = commit(&engine, write(1, &ownership, b"1")) => outcome.unwrap(),
        };
        ownership.sequence += 1;
        read(&engine, 1).await;
    }
    assert_eq!(Instant::now(), start);
}
