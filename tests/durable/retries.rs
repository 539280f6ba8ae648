//! Handlers of alarms that fail, and what is tried again.

use std::time::Duration;

use opendo::prelude::*;
use opendo::testing::{Fault, crash, hibernate, reset};
use tokio::time::sleep;

use crate::by_name::{Gate, Log};
use crate::keeper::{Script, all, keeper, node_on, seconds, within};
use crate::rings::{Rings, get, set_in, wanted};

/// Checklist 7.3.
#[tokio::test(start_paused = true)]
async fn without_a_handler_it_fails_and_is_given_up() {
    struct Deaf(Ctx);
    #[durable_object]
    impl Deaf {
        pub fn set(&self) -> Result<(), String> {
            Ok(self.0.alarm().set_in(seconds(1))?)
        }
        pub fn is_set(&self) -> bool {
            self.0.alarm().get().is_some()
        }
    }
    impl DurableObject for Deaf {
        async fn new(ctx: Ctx) -> opendo::Result<Self> {
            Ok(Self(ctx))
        }
    }
    let node = opendo::testing::with_tokio_clock(Node::builder().object::<Deaf>()).start().await.unwrap();
    let deaf: DeafStub = node.get("a");
    deaf.set().await.unwrap();
    sleep(seconds(60)).await;
    assert!(deaf.is_set().await.unwrap());
    sleep(seconds(200)).await;
    assert!(!deaf.is_set().await.unwrap());
}

/// Checklist 7.10, 7.15, 7.9.
#[tokio::test(start_paused = true)]
async fn a_failing_handler_is_tried_six_times_more_and_then_given_up() {
    let (_disk, _node, stub) = keeper("fails").await;
    let first = within(&stub, |ctx| async move {
        ctx.alarm().set_in(seconds(1)).unwrap();
        ctx.alarm().get().unwrap()
    });
    let first = first.done().await;
    let rings = Rings::of("fails", move |ctx, info| async move {
        assert_eq!(info.scheduled_time, first);
        assert_eq!(info.is_retry(), info.retry_count > 0);
        ctx.storage().put(&format!("run {}", info.retry_count), &1_u64)?;
        wanted()
    });
    sleep(seconds(3600)).await;
    let heard = rings.take();
    assert_eq!(heard.iter().map(|(_, retries)| *retries).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6]);
    for (n, two) in heard.windows(2).enumerate() {
        let (gap, wait) = (two[1].0 - two[0].0, f64::from(2 << n));
        assert!(gap >= wait && gap <= wait * 1.25 + 0.01, "{gap} after the run {n}");
    }
    assert_eq!(get(&stub).await, None);
    assert_eq!(all(&stub).await.len(), 7, "what it wrote stays");
    assert_eq!(Script::of("fails").made(), 5, "an error costs no instance, being idle does");
    // The next one begins anew.
    set_in(&stub, seconds(1)).await;
    sleep(seconds(2)).await;
    assert_eq!(rings.take()[0].1, 0);
}

/// Checklist 7.10, 7.18, 3.21: a reset counts like an error, and what was written since is lost.
#[tokio::test(start_paused = true)]
async fn a_handler_that_panics_or_aborts_is_tried_again_as_often() {
    for (name, aborts) in [("alarm-panics", false), ("alarm-aborts", true)] {
        let (_disk, _node, stub) = keeper(name).await;
        let rings = Rings::of(name, move |ctx, info| async move {
            ctx.storage().put("lost", &u64::from(info.retry_count))?;
            if aborts {
                ctx.abort("as the test wants");
            }
            std::panic::resume_unwind(Box::new("as the test wants"));
        });
        set_in(&stub, seconds(1)).await;
        sleep(seconds(3600)).await;
        let retries: Vec<_> = rings.take().into_iter().map(|(_, retries)| retries).collect();
        assert_eq!(retries, [0, 1, 2, 3, 4, 5, 6], "{name}");
        let stub = stub.fresh();
        assert_eq!((get(&stub).await, all(&stub).await), (None, vec![]));
    }
}

/// Checklist 7.12, 7.13 and 5.15: what it has decided was not durable, and is lost like all else it wrote.
#[tokio::test(start_paused = true)]
async fn a_handler_that_sets_or_deletes_its_alarm_and_panics_is_tried_again() {
    for name in ["sets-and-panics", "deletes-and-panics", "deletes-all-and-panics"] {
        let (_disk, _node, stub) = keeper(name).await;
        let rings = Rings::of(name, move |ctx, info| async move {
            match name {
                "sets-and-panics" => ctx.alarm().set_in(seconds(1))?,
                "deletes-and-panics" => ctx.alarm().delete()?,
                _ => ctx.storage().delete_all()?,
            }
            if info.retry_count < 2 {
                std::panic::resume_unwind(Box::new("as the test wants"));
            }
            ctx.alarm().delete()?;
            Ok(())
        });
        within(&stub, |ctx| async move { ctx.storage().put("kept", &1_u64).unwrap() }).done().await;
        set_in(&stub, seconds(1)).await;
        sleep(seconds(3600)).await;
        let retries: Vec<_> = rings.take().into_iter().map(|(_, retries)| retries).collect();
        assert_eq!(retries, [0, 1, 2], "{name}");
        let kept = usize::from(name != "deletes-all-and-panics");
        assert_eq!((get(&stub.fresh()).await, all(&stub.fresh()).await.len()), (None, kept));
    }
}

/// What a handler has scheduled before it panicked wakes nobody.
#[tokio::test(start_paused = true)]
async fn other_timers_that_a_panic_takes_back_are_as_before() {
    let (_disk, _node, stub) = keeper("takes-back").await;
    let (rings, due) = (Rings::new(), Rings::new());
    let (heard, heard_due) = (rings.clone(), due.clone());
    let script = Script::of("takes-back");
    script.on_alarm(move |ctx, info| {
        heard.ring(info.retry_count);
        async move {
            if info.is_retry() {
                return Ok(());
            }
            ctx.schedule("new", seconds(1), &())?;
            ctx.unschedule("old")?;
            std::panic::resume_unwind(Box::new("as the test wants"));
        }
    });
    script.on_schedule(move |_, event| {
        assert_eq!(event.name(), "old");
        heard_due.ring(event.retry_count());
        async { Ok(()) }
    });
    within(&stub, |ctx| async move {
        ctx.alarm().set_in(seconds(1)).unwrap();
        ctx.schedule("old", Duration::from_millis(2_100), &()).unwrap();
    })
    .done()
    .await;
    sleep(seconds(60)).await;
    assert_eq!(due.seconds(), [2]);
    assert_eq!(rings.seconds(), [1, 3]);
    assert!(Script::of("takes-back").made() <= 3);
}

/// Checklist 7.5, 7.12: it is a first run again.
#[tokio::test(start_paused = true)]
async fn one_that_sets_its_alarm_and_fails_is_not_tried_again_but_runs_when_it_said() {
    let (_disk, _node, stub) = keeper("sets-and-fails").await;
    let rings = Rings::of("sets-and-fails", |ctx, _| async move {
        ctx.alarm().set_in(seconds(20))?;
        assert!(ctx.alarm().get().is_some());
        wanted()
    });
    set_in(&stub, seconds(1)).await;
    sleep(Duration::from_millis(62_000)).await;
    let heard = rings.take();
    assert!(heard.iter().all(|(_, retries)| *retries == 0));
    assert_eq!(heard.iter().map(|(at, _)| *at as u64).collect::<Vec<_>>(), [1, 21, 41, 61]);
}

/// Checklist 7.13, 5.29.
#[tokio::test(start_paused = true)]
async fn one_that_deletes_its_alarm_and_fails_is_not_tried_again() {
    for name in ["deletes-and-fails", "deletes-all-and-fails"] {
        let (_disk, _node, stub) = keeper(name).await;
        let rings = Rings::of(name, move |ctx, _| async move {
            match name {
                "deletes-and-fails" => ctx.alarm().delete()?,
                _ => ctx.storage().delete_all()?,
            }
            wanted()
        });
        set_in(&stub, seconds(1)).await;
        sleep(seconds(3600)).await;
        assert_eq!((rings.seconds(), get(&stub).await), (vec![1], None));
    }
}

/// Checklist 7.14: from work beside the calls, as calls wait for their turn.
#[tokio::test(start_paused = true)]
async fn deleting_it_does_not_stop_a_handler_that_runs() {
    let (_disk, _node, stub) = keeper("deleted-meanwhile").await;
    let (gate, log) = (Gate::new(), Log::new());
    let (at, passed) = (gate.clone(), log.clone());
    let rings = Rings::of("deleted-meanwhile", move |_, _| {
        let (at, passed) = (at.clone(), passed.clone());
        async move {
            at.pass().await;
            passed.push(1);
            wanted()
        }
    });
    set_in(&stub, seconds(1)).await;
    let ctx = within(&stub, |ctx| async move { ctx }).done().await;
    gate.reached().await;
    ctx.alarm().delete().unwrap();
    gate.open();
    sleep(seconds(3600)).await;
    assert_eq!((log.take(), rings.seconds()), (vec![1], vec![1]));
}

/// Checklist 7.16.
#[tokio::test(start_paused = true)]
async fn a_handler_that_does_not_come_to_an_end_is_reset_after_a_quarter_of_an_hour_and_tried_again() {
    let (_disk, _node, stub) = keeper("too-long").await;
    let rings = Rings::of("too-long", |_, info| async move {
        if !info.is_retry() {
            std::future::pending::<()>().await;
        }
        Ok(())
    });
    set_in(&stub, seconds(1)).await;
    sleep(seconds(2)).await;
    let waiting = within(&stub, |_| async {});
    sleep(seconds(890)).await;
    assert_eq!(rings.seconds(), [1]);
    sleep(seconds(60)).await;
    assert!(waiting.result().await.is_err(), "it waited for an instance that was lost");
    let again = rings.seconds();
    assert!(matches!(again[..], [903 | 904]), "{again:?}");
    assert_eq!(Script::of("too-long").made(), 2);
}

/// Checklist 4.13, 7.10: a crash is no failure of the handler.
#[tokio::test(start_paused = true)]
async fn a_handler_that_is_cut_off_by_a_crash_begins_anew() {
    let (disk, mut node, stub) = keeper("cut-off").await;
    let gate = Gate::new();
    let at = gate.clone();
    let rings = Rings::of("cut-off", move |ctx, _| {
        let at = at.clone();
        async move {
            ctx.storage().put("first", &1_u64)?;
            ctx.storage().sync().await?;
            at.pass().await;
            Ok(())
        }
    });
    set_in(&stub, seconds(1)).await;
    for _ in 0..10 {
        gate.reached().await;
        crash(&node).await;
        node = node_on(&disk).await;
    }
    gate.reached().await;
    gate.open();
    sleep(seconds(1)).await;
    assert!(rings.take().iter().all(|(_, retries)| *retries == 0));
    assert_eq!(all(&node.get("cut-off")).await, [("first".to_owned(), 1)]);
}

/// Checklist 7.11: without end, but not without a pause.
#[tokio::test(start_paused = true)]
async fn failures_of_the_storage_do_not_count_and_are_waited_out() {
    for name in ["commits-fail", "commits-fail-meanwhile"] {
        let (disk, _node, stub) = keeper(name).await;
        let rings = Rings::of(name, move |ctx, _| async move {
            ctx.storage().put("done", &1_u64)?;
            if name == "commits-fail-meanwhile" {
                ctx.storage().sync().await?;
            }
            Ok(())
        });
        set_in(&stub, seconds(1)).await;
        disk.inject(2.., Fault::Fail);
        sleep(seconds(3600)).await;
        let heard = rings.take();
        assert!(heard.iter().all(|(_, retries)| *retries == 0), "{name}");
        assert!((9..60).contains(&heard.len()), "{name}: {} runs", heard.len());
        disk.release();
        sleep(seconds(3600)).await;
        assert_eq!(rings.take().len(), 1, "{name}");
        assert_eq!(all(&stub.fresh()).await, [("done".to_owned(), 1)]);
    }
}

/// Checklist 7.11: neither does what is not the handler's fault, as it did not run.
#[tokio::test(start_paused = true)]
async fn an_object_that_cannot_be_made_is_waited_for() {
    let (disk, node, stub) = keeper("not-made").await;
    let rings = Rings::only("not-made");
    set_in(&stub, seconds(1)).await;
    hibernate(&node, &stub).await;
    Script::of("not-made").on_new(|_| async { wanted() });
    sleep(seconds(1800)).await;
    let made = Script::of("not-made").made();
    assert!((9..30).contains(&made), "{made} constructions");
    Script::of("not-made").on_new(|_| async { Ok(()) });
    disk.fail_reads(true);
    sleep(seconds(1800)).await;
    assert!(rings.take().is_empty());
    disk.fail_reads(false);
    sleep(seconds(3600)).await;
    assert_eq!(rings.take().iter().map(|(_, retries)| *retries).collect::<Vec<_>>(), [0]);
}

/// A reset of the instance from elsewhere while the handler runs counts as a failure, and the alarm is not lost.
#[tokio::test(start_paused = true)]
async fn a_handler_whose_instance_is_reset_is_tried_again() {
    let (_disk, node, stub) = keeper("reset-meanwhile").await;
    let gate = Gate::new();
    let at = gate.clone();
    let rings = Rings::of("reset-meanwhile", move |_, info| {
        let at = at.clone();
        async move {
            if !info.is_retry() {
                at.pass().await;
            }
            Ok(())
        }
    });
    set_in(&stub, seconds(1)).await;
    gate.reached().await;
    assert!(reset(&node, &stub, "as the test wants").await);
    sleep(seconds(60)).await;
    assert_eq!(rings.take().iter().map(|(_, retries)| *retries).collect::<Vec<_>>(), [0, 1]);
}
