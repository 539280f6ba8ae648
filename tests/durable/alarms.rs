//! The one alarm of an object: never early, at least once, and never apart from what was written with it.

use std::time::{Duration, SystemTime};

use opendo::testing::{Disk, Fault, crash, run_alarm};
use tokio::time::sleep;

use crate::by_name::{Gate, Log};
use crate::keeper::{KeeperStub, Script, all, beside, keeper, node_on, seconds, within};
use crate::rings::{Rings, get, set_in};

/// Checklist 7.1, 7.4, 7.5, 3.12, 7.21, 1.10, 7.20.
#[tokio::test(start_paused = true)]
async fn an_alarm_wakes_a_sleeping_object_once_and_not_too_early() {
    let (_disk, node, stub) = keeper("wakes").await;
    let rings = Rings::of("wakes", |ctx, info| async move {
        assert_eq!((info.retry_count, info.is_retry()), (0, false));
        assert!(ctx.now() >= info.scheduled_time);
        assert_eq!((ctx.alarm().get(), ctx.key().name()), (None, Some("wakes")));
        Ok(())
    });
    set_in(&stub, seconds(60)).await;
    sleep(seconds(12)).await;
    assert!(node.live::<KeeperStub>().is_empty(), "an alarm keeps nothing in memory");
    sleep(Duration::from_millis(47_999)).await;
    assert!(node.live::<KeeperStub>().is_empty());
    assert!(rings.take().is_empty());
    sleep(Duration::from_millis(3)).await;
    assert_eq!(rings.seconds(), [60]);
    assert_eq!(Script::of("wakes").made(), 2);
    assert_eq!(get(&stub).await, None);
    sleep(seconds(3600)).await;
    assert!(rings.take().is_empty());
}

/// Checklist 7.1.
#[tokio::test(start_paused = true)]
async fn there_is_one_and_the_last_setting_counts() {
    let (_disk, _node, stub) = keeper("one-alarm").await;
    let rings = Rings::only("one-alarm");
    let [first, second] = [60, 30].map(|time| {
        let setting = within(&stub, move |ctx| async move {
            ctx.alarm().set_in(seconds(5)).unwrap();
            ctx.alarm().set_in(seconds(time)).unwrap();
            ctx.alarm().get().unwrap()
        });
        setting.done()
    });
    let (first, second) = (first.await, second.await);
    assert_eq!(get(&stub).await, Some(second));
    assert_eq!(first.duration_since(second).unwrap().as_secs(), 30);
    sleep(seconds(100)).await;
    assert_eq!(rings.seconds(), [30]);
    // Later than what it was set to, and then not at all.
    set_in(&stub, seconds(5)).await;
    set_in(&stub, seconds(10)).await;
    sleep(seconds(9)).await;
    within(&stub, |ctx| async move { ctx.alarm().delete().unwrap() }).done().await;
    sleep(seconds(3600)).await;
    assert!(rings.take().is_empty());
}

/// Checklist 7.2: what has passed means now, and what never comes does not come.
#[tokio::test(start_paused = true)]
async fn every_time_can_be_set() {
    let (_disk, _node, stub) = keeper("every-time").await;
    let rings = Rings::only("every-time");
    for time in [SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH - seconds(1), SystemTime::now() - seconds(9)]
    {
        within(&stub, move |ctx| async move { ctx.alarm().set_at(time).unwrap() }).done().await;
        sleep(Duration::from_millis(2)).await;
        assert_eq!(rings.take().len(), 1);
    }
    set_in(&stub, Duration::MAX).await;
    assert!(get(&stub).await.is_some());
    set_in(&stub, Duration::from_secs(u64::MAX / 2)).await;
    assert!(get(&stub).await.is_some());
    sleep(seconds(86_400 * 365)).await;
    assert!(rings.take().is_empty());
}

/// Checklist 7.17 and 4.19.
#[tokio::test(start_paused = true)]
async fn a_handler_runs_alone() {
    let (_disk, _node, stub) = keeper("alone").await;
    let (gate, log) = (Gate::new(), Log::new());
    let (at, passed) = (gate.clone(), log.clone());
    let _rings = Rings::of("alone", move |ctx, _| {
        let (at, passed) = (at.clone(), passed.clone());
        async move {
            ctx.alarm().set_in(Duration::ZERO)?;
            at.pass().await;
            passed.push(1);
            Ok(())
        }
    });
    set_in(&stub, seconds(1)).await;
    gate.reached().await;
    let marked = log.clone();
    let mut call = beside(&stub, move |_| async move { marked.push(2) });
    sleep(seconds(60)).await;
    assert_eq!((call.is_answered(), gate.waiting(), log.take()), (false, 0, vec![]));
    gate.open();
    call.done().await;
    gate.reached().await; // the next one
    assert_eq!(log.take(), [1, 2]);
}

/// Checklist 7.23.
#[tokio::test(start_paused = true)]
async fn one_that_sets_its_alarm_for_now_runs_again() {
    for (name, back) in [("again-now", Duration::ZERO), ("again-before", seconds(1))] {
        let (_disk, _node, stub) = keeper(name).await;
        let rings = Rings::of(name, move |ctx, info| async move {
            let runs: u64 = ctx.storage().get("runs").await?.unwrap_or(0) + 1;
            ctx.storage().put("runs", &runs)?;
            if runs < 20 {
                ctx.alarm().set_at(info.scheduled_time - back)?;
            }
            Ok(())
        });
        set_in(&stub, seconds(1)).await;
        sleep(seconds(2)).await;
        assert_eq!((rings.take().len(), get(&stub).await), (20, None));
    }
}

/// Checklist 7.7: neither of them without the other, whatever becomes of the commit.
#[tokio::test(start_paused = true)]
async fn data_and_alarm_are_there_together_or_not_at_all() {
    for (name, fault) in
        [("both-lost", Fault::Hold), ("both-there", Fault::HoldAnswer), ("both-fail", Fault::Fail)]
    {
        let (disk, node, stub) = keeper(name).await;
        let rings = Rings::only(name);
        disk.inject_next(fault);
        let setting = within(&stub, |ctx| async move {
            ctx.storage().put("data", &1_u64).unwrap();
            ctx.alarm().set_in(seconds(20)).unwrap();
        });
        disk.reached(1).await;
        crash(&node).await;
        assert!(setting.result().await.is_err());
        disk.release();
        let node = node_on(&disk).await;
        sleep(seconds(60)).await;
        let there = name == "both-there";
        assert_eq!(rings.take().len(), usize::from(there), "{name}");
        assert_eq!(all(&node.get(name)).await.len(), usize::from(there), "{name}");
    }
}

/// Checklist 7.8: an earlier time counts at once, and one that is taken back does not ring, also after a restart.
#[tokio::test(start_paused = true)]
async fn what_was_set_last_rings_after_a_restart() {
    let (disk, node, stub) = keeper("set-anew").await;
    let rings = Rings::only("set-anew");
    set_in(&stub, seconds(100)).await;
    set_in(&stub, seconds(50)).await;
    let other: KeeperStub = node.get("taken-back");
    Script::of("taken-back").on_alarm(|_, _| async { panic!("it was deleted") });
    set_in(&other, seconds(10)).await;
    within(&other, |ctx| async move { ctx.alarm().delete().unwrap() }).done().await;
    crash(&node).await;
    let node = node_on(&disk).await;
    sleep(seconds(40)).await;
    assert!(node.live::<KeeperStub>().is_empty());
    sleep(seconds(100)).await;
    assert_eq!(rings.seconds(), [50]);
}

/// Checklist 7.19.
#[tokio::test(start_paused = true)]
async fn one_that_became_due_while_nobody_was_there_rings_at_the_start() {
    let (disk, node, stub) = keeper("overdue").await;
    let rings = Rings::of("overdue", |ctx, info| async move {
        assert!(ctx.now().duration_since(info.scheduled_time)? > seconds(80));
        Ok(())
    });
    set_in(&stub, seconds(10)).await;
    node.shutdown(seconds(1)).await;
    sleep(seconds(95)).await;
    assert!(rings.take().is_empty());
    let _node = node_on(&disk).await;
    sleep(Duration::from_millis(10)).await;
    assert_eq!(rings.seconds(), [95]);
}

/// Checklist 7.6: until what it wrote is durable, it may run again; then it has run.
#[tokio::test(start_paused = true)]
async fn one_whose_effect_was_not_durable_runs_again_and_counts_once() {
    for (name, fault, runs) in [("effect-lost", Fault::Hold, 2), ("effect-there", Fault::HoldAnswer, 1)] {
        let (disk, node, stub) = keeper(name).await;
        let rings = Rings::of(name, |ctx, info| async move {
            assert_eq!(info.retry_count, 0, "the handler has not failed");
            let effect: u64 = ctx.storage().get("effect").await?.unwrap_or(0);
            Ok(ctx.storage().put("effect", &(effect + 1))?)
        });
        set_in(&stub, seconds(1)).await;
        disk.inject_next(fault);
        disk.reached(2).await;
        crash(&node).await;
        disk.release();
        let node = node_on(&disk).await;
        sleep(seconds(60)).await;
        assert_eq!(rings.take().len(), runs, "{name}");
        assert_eq!(all(&node.get(name)).await, [("effect".to_owned(), 1)]);
    }
}

/// Checklist 3.26.
#[tokio::test(start_paused = true)]
async fn a_test_may_run_it_before_its_time() {
    let (_disk, node, stub) = keeper("by-hand").await;
    let rings = Rings::only("by-hand");
    assert!(!run_alarm(&node, &stub).await);
    set_in(&stub, seconds(3600)).await;
    assert!(run_alarm(&node, &stub).await);
    assert_eq!((rings.seconds(), get(&stub).await), (vec![0], None));
    assert!(!run_alarm(&node, &stub).await);
    sleep(seconds(7200)).await;
    assert!(rings.take().is_empty());
}

/// However many become due at once.
#[tokio::test(start_paused = true)]
async fn a_thousand_alarms_of_one_moment_all_ring() {
    let disk = Disk::new();
    let node = node_on(&disk).await;
    let rings = Rings::new();
    let at = SystemTime::now() + seconds(3600);
    for n in 0..1_000 {
        let name = format!("many-{n}");
        let heard = rings.clone();
        Script::of(&name).on_alarm(move |_, info| {
            heard.ring(info.retry_count);
            async { Ok(()) }
        });
        let stub: KeeperStub = node.get(name.as_str());
        within(&stub, move |ctx| async move { ctx.alarm().set_at(at).unwrap() }).done().await;
    }
    sleep(seconds(60)).await;
    assert!(node.live::<KeeperStub>().is_empty());
    sleep(seconds(3600)).await;
    assert_eq!(rings.take().len(), 1_000);
    assert!(node.live::<KeeperStub>().is_empty());
    assert_eq!(disk.commits(), 2_000);
}
