//! What is scheduled beside the alarm: any number of them, each under its name, by the rules of the alarm.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use opendo::testing::{crash, hibernate};
use opendo::{Cron, Ctx, Error, Every, Scheduled, StorageError, When};
use tokio::time::{Instant, sleep};

use crate::keeper::{KeeperStub, Script, keeper, node_on, seconds, within};
use crate::rings::{Rings, wanted};

/// What has run, by name and in order, at which second.
#[derive(Clone)]
struct Runs(Instant, Arc<Mutex<Vec<(String, u64)>>>);

impl Runs {
    /// The keeper of that name notes each run and does this then.
    fn of<F>(name: &str, then: impl Fn(Ctx, Scheduled) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = opendo::Result<()>> + Send + 'static,
    {
        let runs = Self(Instant::now(), Arc::default());
        let noting = runs.clone();
        Script::of(name).on_schedule(move |ctx, event| {
            assert!(ctx.now() >= event.scheduled_time());
            let second = noting.0.elapsed().as_secs();
            noting.1.lock().unwrap().push((event.name().to_owned(), second));
            then(ctx, event)
        });
        runs
    }

    fn take(&self) -> Vec<(String, u64)> {
        std::mem::take(&mut self.1.lock().unwrap())
    }

    fn seconds(&self) -> Vec<u64> {
        self.take().into_iter().map(|(_, second)| second).collect()
    }
}

async fn schedule(stub: &KeeperStub, name: &'static str, when: impl Into<When> + Send + 'static) {
    within(stub, move |ctx| async move { ctx.schedule(name, when, &()).unwrap() }).done().await;
}

async fn names(stub: &KeeperStub) -> Vec<String> {
    within(stub, |ctx| async move { ctx.schedules().into_keys().collect() }).done().await
}

fn runs<const N: usize>(runs: [(&str, u64); N]) -> Vec<(String, u64)> {
    runs.map(|(name, second)| (name.to_owned(), second)).to_vec()
}

#[tokio::test(start_paused = true)]
async fn each_runs_once_in_its_time_with_what_was_given_with_it() {
    let (_disk, node, stub) = keeper("schedules").await;
    let ran = Runs::of("schedules", |ctx, event| async move {
        assert!(!ctx.schedules().contains_key(event.name()), "it is not to run any more");
        assert_eq!(event.payload::<(String, u64)>()?, (event.name().to_owned(), 7));
        assert!(matches!(event.payload::<[u64; 9]>(), Err(StorageError::Decode { .. })));
        assert_eq!(event.retry_count(), 0);
        Ok(())
    });
    let alarm = Rings::only("schedules");
    within(&stub, |ctx| async move {
        let now = ctx.now();
        for (name, second) in [("later", 30), ("soon", 5), ("", 20), ("gone", 6)] {
            ctx.schedule(name, seconds(second), &(name, 7_u64)).unwrap();
        }
        ctx.schedule("at", now + seconds(15), &("at", 7_u64)).unwrap();
        ctx.alarm().set_in(seconds(20)).unwrap();
        ctx.unschedule("gone").unwrap();
        ctx.unschedule("never there").unwrap();
        let all: Vec<_> = ctx.schedules().into_iter().collect();
        assert_eq!(all.iter().map(|(name, _)| &**name).collect::<Vec<_>>(), ["", "at", "later", "soon"]);
        assert_eq!(all[1].1.duration_since(now).unwrap().as_secs(), 15);
    })
    .done()
    .await;
    hibernate(&node, &stub).await;
    sleep(seconds(3600)).await;
    assert_eq!(ran.take(), runs([("soon", 5), ("at", 15), ("", 20), ("later", 30)]));
    assert_eq!(alarm.seconds(), [20]);
    assert!(names(&stub).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn one_of_the_same_name_replaces_what_was_there() {
    let (_disk, _node, stub) = keeper("replaced").await;
    let ran = Runs::of("replaced", |_, event| async move {
        assert_eq!(event.payload::<u64>()?, 2);
        Ok(())
    });
    within(&stub, |ctx| async move {
        ctx.schedule("a", Every(seconds(5)), &1_u64).unwrap();
        ctx.schedule("a", seconds(10), &2_u64).unwrap();
        ctx.schedule("b", seconds(1), &1_u64).unwrap();
        // This is to come in no time that there is.
        ctx.schedule("b", Every(Duration::MAX), &1_u64).unwrap();
        ctx.schedule("c", seconds(1), &1_u64).unwrap();
        ctx.schedule("c", Duration::MAX, &1_u64).unwrap();
        assert_eq!(ctx.schedules().into_keys().collect::<Vec<_>>(), ["a", "c"]);
    })
    .done()
    .await;
    sleep(seconds(3600)).await;
    assert_eq!(ran.take(), runs([("a", 10)]));
}

/// Checklist 7.10, for each of them alone.
#[tokio::test(start_paused = true)]
async fn one_that_fails_is_tried_again_and_holds_up_no_other_one() {
    let (_disk, _node, stub) = keeper("one-fails").await;
    let ran =
        Runs::of(
            "one-fails",
            |_, event| async move { if event.name() == "fails" { wanted() } else { Ok(()) } },
        );
    schedule(&stub, "fails", seconds(1)).await;
    schedule(&stub, "other", seconds(2)).await;
    sleep(seconds(3600)).await;
    let (other, failed): (Vec<_>, Vec<_>) = ran.take().into_iter().partition(|(name, _)| name == "other");
    assert_eq!((other, failed.len()), (runs([("other", 2)]), 7));
    assert!(names(&stub).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn every_runs_again_and_again_without_drifting() {
    let (_disk, node, stub) = keeper("every").await;
    let ran = Runs::of("every", |_, _| async {
        sleep(seconds(3)).await;
        Ok(())
    });
    schedule(&stub, "tick", Every(seconds(10))).await;
    sleep(seconds(45)).await;
    assert_eq!(ran.seconds(), [10, 20, 30, 40]);
    hibernate(&node, &stub).await;
    sleep(seconds(20)).await;
    assert_eq!(ran.seconds(), [50, 60]);
    within(&stub, |ctx| async move { ctx.unschedule("tick").unwrap() }).done().await;
    sleep(seconds(60)).await;
    assert!(ran.take().is_empty());
}

/// The times that have passed meanwhile are left out.
#[tokio::test(start_paused = true)]
async fn every_goes_on_in_step_after_a_restart() {
    let (disk, node, stub) = keeper("in-step").await;
    let ran = Runs::of("in-step", |_, _| async { Ok(()) });
    schedule(&stub, "tick", Every(seconds(10))).await;
    sleep(seconds(15)).await;
    crash(&node).await;
    sleep(seconds(30)).await;
    let _node = node_on(&disk).await;
    sleep(seconds(20)).await;
    assert_eq!(ran.seconds(), [10, 45, 50, 60]);
}

/// … however many they are.
#[tokio::test(start_paused = true)]
async fn every_millisecond_goes_on_after_a_hundred_days() {
    let (disk, node, stub) = keeper("long-gone").await;
    let ran = Runs::of("long-gone", |_, _| async { Ok(()) });
    schedule(&stub, "tick", Every(Duration::ZERO)).await; // as often as there are times
    node.shutdown(seconds(1)).await;
    ran.take();
    sleep(seconds(100 * 86_400)).await;
    let node = node_on(&disk).await;
    sleep(Duration::from_millis(50)).await;
    let many = ran.take().len();
    assert!((10..60).contains(&many), "{many} runs");
    assert_eq!(names(&node.get("long-gone")).await, ["tick"]);
}

#[tokio::test(start_paused = true)]
async fn every_goes_on_after_it_was_given_up() {
    let (_disk, _node, stub) = keeper("goes-on").await;
    let ran = Runs::of("goes-on", |_, _| async { wanted() });
    schedule(&stub, "tick", Every(seconds(3600))).await;
    sleep(seconds(3600 * 3 - 1)).await;
    let seconds = ran.seconds();
    let hours: Vec<_> = seconds.iter().map(|second| second / 3600).collect();
    assert_eq!(hours, [[1; 7], [2; 7]].concat());
    assert_eq!((seconds[0], seconds[7]), (3600, 7200));
}

/// It has the last word on its own name.
#[tokio::test(start_paused = true)]
async fn a_handler_may_take_back_or_set_anew_what_it_runs_for() {
    let (_disk, _node, stub) = keeper("itself").await;
    let ran = Runs::of("itself", |ctx, event| async move {
        match event.name() {
            "once" => ctx.unschedule("once")?,
            _ => ctx.schedule("twice", seconds(50), &())?,
        }
        if event.scheduled_time() < ctx.now() - seconds(10) { Ok(()) } else { wanted() }
    });
    schedule(&stub, "once", Every(seconds(10))).await;
    schedule(&stub, "twice", Every(seconds(20))).await;
    sleep(seconds(100)).await;
    assert_eq!(ran.take(), runs([("once", 10), ("twice", 20), ("twice", 70)]));
    assert_eq!(names(&stub).await, ["twice"]);
}

#[tokio::test(start_paused = true)]
async fn cron_runs_whenever_its_pattern_says() {
    let (disk, node, stub) = keeper("cron").await;
    let times: Arc<Mutex<BTreeMap<String, Vec<u64>>>> = Arc::default();
    let noting = times.clone();
    Script::of("cron").on_schedule(move |_, event| {
        let second = event.scheduled_time().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        noting.lock().unwrap().entry(event.name().to_owned()).or_default().push(second);
        async { Ok(()) }
    });
    schedule(&stub, "minutes", "* * * * *".parse::<Cron>().unwrap()).await;
    schedule(&stub, "seconds", "*/20 * * * * *".parse::<Cron>().unwrap()).await;
    sleep(seconds(120)).await;
    crash(&node).await;
    let node = node_on(&disk).await;
    sleep(seconds(120)).await;
    let times = std::mem::take(&mut *times.lock().unwrap());
    for (name, step, many) in [("minutes", 60, 4), ("seconds", 20, 12)] {
        let times = &times[name];
        assert_eq!(times.len(), many, "{name}");
        assert!(times.iter().all(|second| second % step == 0), "{name}: {times:?}");
        assert!(times.windows(2).all(|two| two[1] - two[0] == step), "{name}: {times:?}");
    }
    assert_eq!(names(&node.get("cron")).await, ["minutes", "seconds"]);
}

#[test]
fn a_pattern_that_is_none_is_refused() {
    for pattern in ["", "* * * *", "61 * * * *", "0 0 30 2 *", "hourly"] {
        let refused = pattern.parse::<Cron>().unwrap_err();
        assert!(Error::from(refused).to_string().contains(&format!("`{pattern}`")));
    }
}
