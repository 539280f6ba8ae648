//! What is heard of alarms.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use opendo::prelude::*;
use opendo::{AlarmInfo, Error};
use tokio::time::Instant;

use crate::keeper::{KeeperStub, Script, within};

/// When an alarm rang, in seconds since this was made, and how often it had failed before.
#[derive(Clone)]
pub(crate) struct Rings(Instant, Arc<Mutex<Vec<(f64, u32)>>>);

impl Rings {
    pub(crate) fn new() -> Self {
        Self(Instant::now(), Arc::default())
    }

    pub(crate) fn ring(&self, retries: u32) {
        self.1.lock().unwrap().push((self.0.elapsed().as_secs_f64(), retries));
    }

    pub(crate) fn take(&self) -> Vec<(f64, u32)> {
        std::mem::take(&mut self.1.lock().unwrap())
    }

    /// In whole seconds.
    pub(crate) fn seconds(&self) -> Vec<u64> {
        self.take().into_iter().map(|(at, _)| Duration::from_secs_f64(at).as_secs()).collect()
    }

    /// The keeper of that name notes each ring and does this then.
    pub(crate) fn of<F>(name: &str, then: impl Fn(Ctx, AlarmInfo) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = opendo::Result<()>> + Send + 'static,
    {
        let rings = Self::new();
        let heard = rings.clone();
        Script::of(name).on_alarm(move |ctx, info| {
            heard.ring(info.retry_count);
            then(ctx, info)
        });
        rings
    }

    /// … which is nothing.
    pub(crate) fn only(name: &str) -> Self {
        Self::of(name, |_, _| async { Ok(()) })
    }
}

/// An error.
pub(crate) fn wanted() -> opendo::Result<()> {
    Err(Error::msg("as the test wants"))
}

/// Sets its alarm.
pub(crate) async fn set_in(stub: &KeeperStub, time: Duration) {
    within(stub, move |ctx| async move { ctx.alarm().set_in(time).unwrap() }).done().await;
}

/// What its alarm is set to.
pub(crate) async fn get(stub: &KeeperStub) -> Option<SystemTime> {
    within(stub, |ctx| async move { ctx.alarm().get() }).done().await
}
