//! What wakes an object: its alarm, and its schedules.
//!
//! Each is a record of its own in the object's storage, so it is part of the same commits and transactions as all
//! else; the engine is told the earliest of their times. While a handler runs its record stays, so that it runs again
//! if the process dies; the commit with the handler's last writes removes it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::engine::UnixMillis;
use crate::object::clock::Clock;
use crate::object::control::Control;
use crate::object::outbox::Outbox;
use crate::object::storage::ledger::{Ledger, Timer};
use crate::object::storage::{Storage, StorageError};
use crate::rpc::error::{Error, ErrorKind, Result, RpcError};

/// How often a failed handler is tried again (checklist 7.10).
const RETRIES: u32 = 6;

/// How long a handler may take (checklist 7.16).
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// What is stored of a timer. The first field is when it is due.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    due: u64,
    /// When it was due at first.
    scheduled: u64,
    retries: u32,
    again: Option<Again>,
    payload: Vec<u8>,
}

/// When a schedule is due once more.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Again {
    Every(Duration),
    #[cfg(feature = "cron")]
    Cron(String),
}

/// The facts of a run of [`DurableObject::alarm`](crate::DurableObject::alarm) (checklist 7.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AlarmInfo {
    /// When it was to run, at first.
    pub scheduled_time: SystemTime,
    /// How many runs of it have failed.
    pub retry_count: u32,
}

impl AlarmInfo {
    /// Whether an earlier run of it has failed.
    pub fn is_retry(&self) -> bool {
        self.retry_count > 0
    }
}

/// The facts of a run of [`DurableObject::scheduled`](crate::DurableObject::scheduled).
#[derive(Clone)]
pub struct Scheduled {
    name: Arc<str>,
    info: AlarmInfo,
    payload: Vec<u8>,
    storage: Storage,
}

impl Scheduled {
    /// The name it was scheduled under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// When it was to run, at first.
    pub fn scheduled_time(&self) -> SystemTime {
        self.info.scheduled_time
    }

    /// How many runs of it have failed.
    pub fn retry_count(&self) -> u32 {
        self.info.retry_count
    }

    /// What was given with it.
    ///
    /// # Errors
    /// [`StorageError::Decode`] when it is of another type.
    pub fn payload<T: DeserializeOwned>(&self) -> std::result::Result<T, StorageError> {
        self.storage.decode(&self.name, &self.payload)
    }
}

impl fmt::Debug for Scheduled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scheduled")
            .field("name", &self.name)
            .field("info", &self.info)
            .finish_non_exhaustive()
    }
}

/// The one alarm of an object: see [`Ctx::alarm`](crate::Ctx::alarm).
pub struct Alarm<'a> {
    pub(super) ledger: &'a Ledger,
    pub(super) clock: Clock,
}

impl Alarm<'_> {
    /// When it is set to; `None` while its handler runs, unless that has set it again (checklist 7.5).
    pub fn get(&self) -> Option<SystemTime> {
        self.ledger.timer(&Timer::Alarm).map(UnixMillis::time)
    }

    /// Sets it to a moment, instead of what it was set to. One that has passed means now.
    ///
    /// # Errors
    /// [`StorageError::Closed`] after the instance was thrown away.
    pub fn set_at(&self, time: SystemTime) -> std::result::Result<(), StorageError> {
        set(self.ledger, Timer::Alarm, UnixMillis::not_before(time), None, Vec::new())
    }

    /// Sets it to a moment that is so far away, instead of what it was set to.
    ///
    /// # Errors
    /// As for [`set_at`](Self::set_at).
    pub fn set_in(&self, time: Duration) -> std::result::Result<(), StorageError> {
        set(self.ledger, Timer::Alarm, self.clock.in_millis(time), None, Vec::new())
    }

    /// Takes it back. A handler that runs goes on, and is not tried again if it fails (checklist 7.13, 7.14).
    ///
    /// # Errors
    /// As for [`set_at`](Self::set_at).
    pub fn delete(&self) -> std::result::Result<(), StorageError> {
        self.ledger.set_timer(Timer::Alarm, None)
    }
}

impl fmt::Debug for Alarm<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Alarm").field(&self.get()).finish()
    }
}

/// When something scheduled is to run: a [`SystemTime`], a [`Duration`] from now, [`Every`], or (feature `cron`) a `Cron`.
#[derive(Clone, Debug)]
pub struct When(Moment);

#[derive(Clone, Debug)]
enum Moment {
    At(SystemTime),
    In(Duration),
    Again(Again),
}

impl From<SystemTime> for When {
    fn from(time: SystemTime) -> Self {
        Self(Moment::At(time))
    }
}

impl From<Duration> for When {
    fn from(time: Duration) -> Self {
        Self(Moment::In(time))
    }
}

/// Again and again, that long after each time it was to run. Times that have passed meanwhile are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Every(pub Duration);

impl From<Every> for When {
    fn from(every: Every) -> Self {
        Self(Moment::Again(Again::Every(every.0)))
    }
}

/// Whenever a cron pattern says so, in UTC: minute, hour, day of the month, month, day of the week; a sixth field before
/// them for seconds.
///
/// ```
/// let mondays: opendo::Cron = "0 9 * * MON".parse()?;
/// assert!("0 25 * * *".parse::<opendo::Cron>().is_err());
/// # Ok::<_, opendo::CronError>(())
/// ```
#[cfg(feature = "cron")]
#[derive(Clone, Debug)]
pub struct Cron(String);

/// Why a text is no cron pattern.
#[cfg(feature = "cron")]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{pattern}` is no cron pattern: {reason}")]
pub struct CronError {
    pattern: String,
    reason: String,
}

#[cfg(feature = "cron")]
impl std::str::FromStr for Cron {
    type Err = CronError;

    fn from_str(pattern: &str) -> std::result::Result<Self, CronError> {
        next_by_pattern(pattern, SystemTime::UNIX_EPOCH)
            .map(|_| Self(pattern.to_owned()))
            .map_err(|reason| CronError { pattern: pattern.to_owned(), reason })
    }
}

#[cfg(feature = "cron")]
impl From<Cron> for When {
    fn from(cron: Cron) -> Self {
        Self(Moment::Again(Again::Cron(cron.0)))
    }
}

/// The first time behind `after` that the pattern names.
#[cfg(feature = "cron")]
fn next_by_pattern(pattern: &str, after: SystemTime) -> std::result::Result<SystemTime, String> {
    let parser = croner::parser::CronParser::builder().seconds(croner::parser::Seconds::Optional).build();
    let cron = parser.parse(pattern).map_err(|error| error.to_string())?;
    let after = chrono::DateTime::<chrono::Utc>::from(after);
    cron.find_next_occurrence(&after, false).map(SystemTime::from).map_err(|error| error.to_string())
}

impl Again {
    /// The first time behind `after`, counted from `scheduled`.
    fn next(&self, scheduled: SystemTime, after: SystemTime) -> Option<SystemTime> {
        match self {
            Self::Every(every) => {
                let every = (*every).max(Duration::from_millis(1));
                let passed = after.duration_since(scheduled).unwrap_or_default();
                let since = Duration::from_nanos_u128(passed.as_nanos() % every.as_nanos());
                scheduled.checked_add(passed - since)?.checked_add(every)
            }
            #[cfg(feature = "cron")]
            Self::Cron(pattern) => next_by_pattern(pattern, after).ok(),
        }
    }
}

fn set(
    ledger: &Ledger,
    timer: Timer,
    due: UnixMillis,
    again: Option<Again>,
    payload: Vec<u8>,
) -> std::result::Result<(), StorageError> {
    store(ledger, timer, &Record { due: due.0, scheduled: due.0, retries: 0, again, payload })
}

fn store(ledger: &Ledger, timer: Timer, record: &Record) -> std::result::Result<(), StorageError> {
    ledger.set_timer(timer, Some(encoded(record)))
}

/// See [`Ctx::schedule`](crate::Ctx::schedule).
pub(super) fn schedule(
    storage: &Storage,
    clock: Clock,
    timer: Timer,
    when: When,
    payload: Vec<u8>,
) -> std::result::Result<(), StorageError> {
    let now = clock.now();
    let (due, again) = match when.0 {
        Moment::At(time) => (UnixMillis::not_before(time), None),
        Moment::In(time) => (clock.in_millis(time), None),
        Moment::Again(again) => match again.next(now, now) {
            Some(time) => (UnixMillis::not_before(time), Some(again)),
            // A pattern that names no time that is to come.
            None => return storage.ledger().set_timer(timer, None),
        },
    };
    set(storage.ledger(), timer, due, again, payload)
}

/// See [`Ctx::schedules`](crate::Ctx::schedules).
pub(super) fn schedules(ledger: &Ledger) -> BTreeMap<String, SystemTime> {
    let named = |(timer, due): (Timer, UnixMillis)| match timer {
        Timer::Alarm | Timer::Messages => None,
        Timer::Schedule(name) => Some((name.to_string(), due.time())),
    };
    ledger.timers().into_iter().filter_map(named).collect()
}

/// How long after its failure a handler is tried again (checklist 7.10).
pub(crate) fn backoff(retries: u32) -> Duration {
    let wait = Duration::from_secs(2 << retries.min(9));
    let jitter = getrandom::u32().map_or(0.0, |random| f64::from(random) / f64::from(u32::MAX));
    wait + wait.mul_f64(jitter / 4.0)
}

impl Record {
    fn info(&self) -> AlarmInfo {
        AlarmInfo { scheduled_time: UnixMillis(self.scheduled).time(), retry_count: self.retries }
    }

    /// What is stored of it after a run that failed; `None` when it is given up.
    fn after_failure(&self, now: SystemTime) -> Option<Self> {
        if self.retries == RETRIES {
            return self.after_success(now);
        }
        let due = UnixMillis::not_before(now + backoff(self.retries)).0;
        Some(Self { due, retries: self.retries + 1, ..self.clone() })
    }

    fn after_success(&self, now: SystemTime) -> Option<Self> {
        let scheduled = UnixMillis(self.scheduled).time();
        let next = self.again.as_ref()?.next(scheduled, now.max(scheduled))?;
        let due = UnixMillis::not_before(next).0;
        Some(Self { due, scheduled: due, retries: 0, ..self.clone() })
    }
}

/// What an object does when its alarm or a schedule is due.
pub(crate) struct Handlers<O> {
    pub(crate) alarm: for<'a> fn(&'a mut O, AlarmInfo) -> futures::future::BoxFuture<'a, Result<()>>,
    pub(crate) scheduled: for<'a> fn(&'a mut O, Scheduled) -> futures::future::BoxFuture<'a, Result<()>>,
}

impl<O> Clone for Handlers<O> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<O> Copy for Handlers<O> {}

/// Runs the handler of the timer that is due first, if one is due.
pub(crate) async fn run_due<O>(object: &mut O, control: &Arc<Control>, clock: Clock, handlers: Handlers<O>) {
    let Some(storage) = control.storage() else { return };
    let now = clock.now_millis();
    let due = storage.ledger().timers().into_iter().filter(|(_, due)| *due <= now);
    match due.min_by_key(|(_, due)| *due) {
        Some((Timer::Messages, _)) => control.make_outbox().into_iter().for_each(Outbox::is_due),
        Some((timer, _)) => run(object, control, clock, handlers, timer).await,
        None => {}
    }
}

/// Runs the alarm's handler, if it is set.
pub(crate) async fn run_alarm<O>(
    object: &mut O,
    control: &Control,
    clock: Clock,
    handlers: Handlers<O>,
) -> bool {
    let is_set = control.storage().is_some_and(|storage| storage.ledger().timer(&Timer::Alarm).is_some());
    if is_set {
        run(object, control, clock, handlers, Timer::Alarm).await;
    }
    is_set
}

async fn run<O>(object: &mut O, control: &Control, clock: Clock, handlers: Handlers<O>, timer: Timer) {
    let Some(storage) = control.storage() else { return };
    let ledger = storage.ledger();
    let record = match read(storage, &timer).await {
        Ok(Some(record)) => record,
        Ok(None) => return,
        Err(error) => {
            control.reset(RpcError::new(ErrorKind::Reset, error.to_string()));
            return;
        }
    };
    let cut_off = record.clone();
    ledger.begin(timer.clone(), move || cut_off.after_failure(clock.now()).as_ref().map(encoded));
    let info = record.info();
    let running = match &timer {
        Timer::Alarm => (handlers.alarm)(object, info),
        Timer::Schedule(name) => {
            let (name, payload) = (name.clone(), record.payload.clone());
            (handlers.scheduled)(object, Scheduled { name, info, payload, storage: storage.clone() })
        }
        Timer::Messages => unreachable!("messages have no handler"),
    };
    let Ok(result) = tokio::time::timeout(LONGEST, running).await else {
        let text = format!("{timer} exceeded its allowed execution time of {LONGEST:?}");
        control.reset(RpcError::new(ErrorKind::Reset, text));
        return;
    };
    let next = match &result {
        Ok(()) => record.after_success(clock.now()),
        Err(error) => {
            let given_up = record.retries == RETRIES;
            tracing::warn!(object = %ledger.key(), %timer, %error, given_up, "a handler failed");
            record.after_failure(clock.now())
        }
    };
    ledger.finish(&timer, next.as_ref().map(encoded));
}

async fn read(storage: &Storage, timer: &Timer) -> std::result::Result<Option<Record>, StorageError> {
    let Some(bytes) = storage.timer(timer).await? else { return Ok(None) };
    let record = postcard::from_bytes(&bytes).map_err(|error| StorageError::Decode {
        key: timer.to_string(),
        expected: "timer",
        reason: error.to_string(),
    })?;
    Ok(Some(record))
}

fn encoded(record: &Record) -> (UnixMillis, bytes::Bytes) {
    let bytes = postcard::to_allocvec(record).expect("a record has nothing that cannot be encoded");
    (UnixMillis(record.due), bytes.into())
}

impl fmt::Display for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alarm => f.write_str("the alarm"),
            Self::Schedule(name) => write!(f, "schedule `{name}`"),
            Self::Messages => f.write_str("the messages"),
        }
    }
}

/// What an object without a handler says.
pub(crate) fn no_handler(name: &str) -> Error {
    Error::msg(format!("its class has no `{name}` handler: implement `DurableObject::{name}`"))
}
