//! How instances begin and end: asleep, thrown away, or never made.

use std::sync::Arc;

use futures::future::join_all;
use opendo::prelude::*;
use opendo::testing::{Disk, Fault, crash, hibernate, on_disk, reset, with_tokio_clock};
use opendo::{Error, ErrorKind, StorageError};
use tokio::time::{Instant, sleep};

use crate::by_name::{Gate, Log};
use crate::desk::{Desk, DeskStub};
use crate::keeper::{Keeper, KeeperStub, Script, all, keeper, node_on, seconds, within};
use crate::rings::wanted;
use crate::world::{failure, let_others_run};

/// Checklist 3.16: here there is one.
#[tokio::test(start_paused = true)]
async fn the_hook_runs_before_it_leaves_and_what_it_writes_is_kept() {
    let (_disk, node, stub) = keeper("hook").await;
    Script::of("hook").on_hibernate(|ctx| async move {
        let times: u64 = ctx.storage().get("times").await.unwrap().unwrap_or(0);
        sleep(seconds(1)).await;
        ctx.storage().put("times", &(times + 1)).unwrap();
        ctx.alarm().set_in(seconds(3600)).unwrap();
    });
    within(&stub, |_| async {}).done().await;
    sleep(seconds(13)).await;
    assert!(node.live::<KeeperStub>().is_empty());
    hibernate(&node, &stub).await; // it sleeps already
    assert_eq!(all(&stub).await, [("times".to_owned(), 1)]);
    hibernate(&node, &stub).await;
    let alarm = within(&stub, |ctx| async move { ctx.alarm().get().is_some() });
    assert!(alarm.done().await);
    assert_eq!(all(&stub).await, [("times".to_owned(), 2)]);
}

/// Checklist 3.16: keep nothing there that matters.
#[tokio::test]
async fn the_hook_does_not_run_when_the_instance_is_lost() {
    let (disk, mut node, _) = keeper("no-hook").await;
    let log = Log::new();
    for (n, way) in ["reset", "abort", "crash", "commit"].into_iter().enumerate() {
        let stub: KeeperStub = node.get("no-hook");
        let ran = log.clone();
        Script::of("no-hook").on_hibernate(move |_| {
            ran.push(n as u64);
            async {}
        });
        within(&stub, |_| async {}).done().await;
        match way {
            "reset" => assert!(reset(&node, &stub, "as the test wants").await),
            "abort" => {
                drop(within(&stub, |ctx| async move { ctx.abort("as the test wants") }).result().await);
            }
            "crash" => {
                crash(&node).await;
                node = node_on(&disk).await;
            }
            _ => {
                disk.inject_next(Fault::Fail);
                let lost = within(&stub, |ctx| async move { ctx.storage().put("a", &1_u64).unwrap() });
                assert_eq!(failure(lost.result().await), (ErrorKind::Reset, true));
            }
        }
        let_others_run().await;
        assert!(log.take().is_empty(), "{way}");
    }
    assert_eq!(Script::of("no-hook").live(), 0);
}

/// A hook that fails costs what it wrote, and nobody is held up.
#[tokio::test]
async fn a_hook_that_panics_aborts_or_cannot_write_ends_the_instance_all_the_same() {
    for (n, way) in ["panic", "abort", "commit"].into_iter().enumerate() {
        let name = format!("bad-hook-{n}");
        let (disk, node, stub) = keeper(&name).await;
        Script::of(&name).on_hibernate(move |ctx| async move {
            ctx.storage().put("lost", &1_u64).unwrap();
            match way {
                "panic" => std::panic::resume_unwind(Box::new("as the test wants")),
                "abort" => ctx.abort("as the test wants"),
                _ => {}
            }
        });
        within(&stub, |ctx| async move { ctx.storage().put("kept", &1_u64).unwrap() }).done().await;
        if way == "commit" {
            disk.inject_next(Fault::Fail);
        }
        hibernate(&node, &stub).await;
        let_others_run().await;
        assert_eq!(Script::of(&name).live(), 0, "{way}");
        assert_eq!(all(&stub.fresh()).await, [("kept".to_owned(), 1)], "{way}");
    }
}

/// Checklist 3.1, 3.3, 2.8: nothing of it is left, and a fresh stub tries again.
#[tokio::test(start_paused = true)]
async fn a_constructor_that_fails_leaves_nothing_behind() {
    for way in ["error", "panic", "abort", "forever"] {
        let name = format!("no-constructor-{way}");
        let (disk, node, stub) = keeper(&name).await;
        let script = Script::of(&name);
        script.on_new(move |ctx| async move {
            ctx.storage().put("lost", &1_u64)?;
            ctx.alarm().set_in(seconds(1))?;
            match way {
                "error" => wanted(),
                "panic" => std::panic::resume_unwind(Box::new("as the test wants")),
                "abort" => ctx.abort("as the test wants"),
                _ => std::future::pending().await,
            }
        });
        let before = Instant::now();
        let waiting = join_all((0..5).map(|_| within(&stub, |_| async {}).result()));
        for waited in waiting.await {
            let Err(CallError::Rpc(error)) = waited else { panic!("{way}: it was not made") };
            assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::Reset, false), "{way}");
            match way {
                "error" | "abort" => assert!(error.message().ends_with("as the test wants"), "{error}"),
                "panic" => assert!(!error.message().contains("as the test wants"), "{error}"),
                _ => assert!(error.message().contains("took longer than 30s"), "{error}"),
            }
        }
        assert_eq!(before.elapsed().as_secs(), if way == "forever" { 30 } else { 0 }, "{way}");
        assert_eq!((script.made(), script.live()), (1, 0), "{way}");
        assert_eq!(failure(within(&stub, |_| async {}).result().await).0, ErrorKind::Reset);
        assert_eq!(script.made(), 1, "the stub stays lost");
        let_others_run().await;
        assert_eq!(disk.commits(), 0, "{way}");
        assert!(node.objects::<KeeperStub>(None, 1).await.unwrap().is_empty(), "{way}");
        script.on_new(|_| async { Ok(()) });
        assert!(all(&stub.fresh()).await.is_empty());
    }
}

/// Checklist 3.20, 5.12: what it wrote is one commit with what it could not finish.
#[tokio::test]
async fn what_a_constructor_wrote_is_committed_as_a_whole() {
    let (disk, node, stub) = keeper("constructed").await;
    Script::of("constructed").on_new(|ctx| async move {
        let made: u64 = ctx.storage().get("made").await?.unwrap_or(0);
        ctx.storage().put("made", &(made + 1))?;
        tokio::task::yield_now().await;
        Ok(ctx.storage().put("again", &(made + 1))?)
    });
    disk.inject_next(Fault::Fail);
    assert_eq!(failure(within(&stub, |_| async {}).result().await).0, ErrorKind::Reset);
    let stub = stub.fresh();
    assert_eq!(all(&stub).await, [("again".to_owned(), 1), ("made".to_owned(), 1)]);
    assert_eq!(disk.commits(), 2);
    hibernate(&node, &stub).await;
    assert_eq!(all(&stub).await, [("again".to_owned(), 2), ("made".to_owned(), 2)]);
}

/// Checklist 2.6, 2.7, 3.19, 3.25.
#[tokio::test]
async fn an_abort_takes_the_running_and_the_waiting_calls_along() {
    let (_disk, node, stub) = keeper("abort").await;
    within(&stub, |ctx| async move { ctx.storage().put("kept", &1_u64).unwrap() }).done().await;
    let gate = Gate::new();
    let at = gate.clone();
    let running = within(&stub, move |ctx| async move {
        ctx.storage().put("lost", &1_u64).unwrap();
        at.pass().await;
        ctx.abort("as the test wants");
    });
    let waiting: Vec<_> = (0..5).map(|_| within(&stub, |_| async {})).collect();
    gate.reached().await;
    gate.open();
    let Err(CallError::<std::convert::Infallible>::Rpc(error)) = running.result().await;
    assert_eq!(
        (error.kind(), error.may_have_run(), error.message()),
        (ErrorKind::Reset, true, "as the test wants")
    );
    let next = stub.fresh();
    let fresh = within(&next, |_| async {}); // before the others have heard of it
    for waiting in waiting {
        assert_eq!(failure(waiting.result().await), (ErrorKind::Reset, false));
    }
    fresh.done().await;
    assert_eq!(failure(within(&stub, |_| async {}).result().await), (ErrorKind::Reset, false));
    assert_eq!(all(&next).await, [("kept".to_owned(), 1)]);
    assert_eq!((Script::of("abort").made(), Script::of("abort").live()), (2, 1));
    assert_eq!(node.live::<KeeperStub>().len(), 1);
}

/// Checklist 3.19: storage is closed first.
#[tokio::test]
async fn what_is_dropped_on_the_way_out_cannot_write() {
    struct Late(Ctx, Arc<std::sync::Mutex<Option<Result<(), StorageError>>>>);
    impl Drop for Late {
        fn drop(&mut self) {
            *self.1.lock().unwrap() = Some(self.0.storage().put("late", &1_u64));
        }
    }
    for (name, panics) in [("late-abort", false), ("late-reset", true)] {
        let (disk, node, stub) = keeper(name).await;
        let (wrote, gate) = (Arc::default(), Gate::new());
        let (late, at) = (Arc::clone(&wrote), gate.clone());
        let lost = within(&stub, move |ctx| async move {
            let _late = Late(ctx.clone(), late);
            at.pass().await;
            ctx.abort("as the test wants")
        });
        gate.reached().await;
        if panics {
            reset(&node, &stub, "as the test wants").await;
        }
        gate.open();
        assert_eq!(failure::<(), _>(lost.result().await), (ErrorKind::Reset, true));
        assert_eq!(wrote.lock().unwrap().take(), Some(Err(StorageError::Closed)), "{name}");
        assert_eq!((all(&stub.fresh()).await, disk.commits()), (vec![], 0));
    }
}

/// Checklist 3.22, 3.23: work beside the calls goes with the instance, and an abort in it takes that along.
#[tokio::test]
async fn work_beside_the_calls_may_abort() {
    let (_disk, _node, stub) = keeper("aborts-beside").await;
    let gate = Gate::new();
    let (at, log) = (gate.clone(), Log::new());
    let cancelled = log.clone();
    within(&stub, move |ctx| async move {
        let other = gate_of(cancelled);
        ctx.wait_until(other);
        let own = ctx.clone();
        ctx.wait_until(async move {
            at.pass().await;
            own.abort("as the test wants");
        });
    })
    .done()
    .await;
    gate.reached().await;
    gate.open();
    gate.left().await;
    let_others_run().await;
    assert_eq!(log.take(), [1], "the other work was cancelled");
    assert_eq!(failure(within(&stub, |_| async {}).result().await), (ErrorKind::Reset, false));
    assert!(all(&stub.fresh()).await.is_empty());
}

/// Never comes to its end, and notes when it is dropped.
async fn gate_of(dropped: Log) {
    struct Note(Log);
    impl Drop for Note {
        fn drop(&mut self) {
            self.0.push(1);
        }
    }
    let _note = Note(dropped);
    std::future::pending::<()>().await;
}

/// Checklist 2.5, 5.15: an error is the caller's affair.
#[tokio::test]
async fn an_error_resets_nothing() {
    let disk = Disk::new();
    let node = on_disk(Node::builder().object::<Desk>(), &disk).start().await.unwrap();
    let desk: DeskStub = node.get("a");
    assert_eq!(desk.calls().await.unwrap(), 1);
    assert!(matches!(desk.refuse("kept".into(), 1).await, Err(CallError::App(_))));
    assert_eq!(desk.calls().await.unwrap(), 2);
    assert_eq!(desk.all().await.unwrap(), [("kept".to_owned(), 1)]);
}

/// Checklist 2.17: it was delivered, so it runs; nobody waits for its answer.
#[tokio::test]
async fn a_call_whose_caller_is_gone_keeps_what_it_wrote() {
    let (_disk, _node, stub) = keeper("caller-gone").await;
    let gate = Gate::new();
    let at = gate.clone();
    let call = within(&stub, move |ctx| async move {
        at.pass().await;
        ctx.storage().put("a", &1_u64).unwrap();
    });
    gate.reached().await;
    let not_begun = within(&stub, |ctx| async move { ctx.storage().put("never", &1_u64).unwrap() });
    drop((call, not_begun));
    gate.open();
    assert_eq!(all(&stub).await, [("a".to_owned(), 1)]);
}

/// Checklist 1.10, 1.12, 7.20: whoever wakes it.
#[tokio::test(start_paused = true)]
async fn an_object_that_is_woken_by_its_id_knows_its_name_from_its_alarm() {
    let disk = Disk::new();
    let node = with_tokio_clock(on_disk(Node::builder().object::<Desk>().object::<Keeper>(), &disk));
    let node = node.start().await.unwrap();
    let stub: KeeperStub = node.get("knows-its-name");
    let names = Arc::new(std::sync::Mutex::new(Vec::new()));
    let noted = names.clone();
    Script::of("knows-its-name").on_alarm(move |ctx, _| {
        noted.lock().unwrap().push(ctx.key().name().map(str::to_owned));
        async { Ok::<_, Error>(()) }
    });
    within(&stub, |ctx| async move { ctx.alarm().set_in(seconds(60)).unwrap() }).done().await;
    crash(&node).await;
    let _node = node_on(&disk).await;
    sleep(seconds(61)).await;
    assert_eq!(*names.lock().unwrap(), [Some("knows-its-name".to_owned())]);
}
