//! What an object is given of the world.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use futures::FutureExt;
use serde::{Serialize, de::DeserializeOwned};

use crate::object::control::{Common, Control, KeepAlive, KeepaliveReason, Keeping};
use crate::object::id::{ObjectKey, ToObjectId};
use crate::object::lasting::{Lasting, MAX_PARAMS};
use crate::object::outbox::SendError;
use crate::object::storage::ledger::Timer;
use crate::object::storage::{Storage, StorageError, Stored};
use crate::object::timers::{self, Alarm, When};
use crate::registry::retained::{MAX_ATTACHMENT, Retained};
use crate::rpc::call::Call;
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::info::CallInfo;
use crate::rpc::method::MethodDesc;
use crate::rpc::stub::{Stub, StubExt};

/// What a durable object has of the world: its own id and storage, other objects, and its own end.
///
/// Handed to [`DurableObject::new`](crate::DurableObject::new), to be kept in a field. Clones are the same context.
#[derive(Clone)]
pub struct Ctx(Arc<Control>);

impl Ctx {
    /// Of an object's activation.
    pub(crate) fn new(control: Arc<Control>) -> Self {
        Self(control)
    }

    fn common(&self) -> &Common {
        self.0.common().expect("it is an object's")
    }

    fn key_arc(&self) -> &Arc<ObjectKey> {
        self.storage().ledger().key()
    }

    pub(crate) fn control(&self) -> &Arc<Control> {
        &self.0
    }

    /// What keeps this object's WebSockets.
    #[cfg(feature = "websocket")]
    pub(crate) fn socket_class(&self) -> Option<Arc<dyn crate::websocket::Sockets>> {
        Some(self.common().keeper.upgrade()?.sockets())
    }

    /// This object's class and id, with its name if it was started by name (checklist 1.10 to 1.12).
    pub fn key(&self) -> &ObjectKey {
        self.key_arc()
    }

    /// This object's keys and values.
    pub fn storage(&self) -> &Storage {
        self.0.storage().expect("it is an object's")
    }

    /// A part of this object that is kept under `key`; its default if nothing is stored there. For fields: see
    /// [`Stored`].
    ///
    /// # Errors
    /// [`StorageError::Decode`] when something else is stored there; [`StorageError::Engine`].
    pub async fn stored<T: Serialize + DeserializeOwned + Default>(
        &self,
        key: &str,
    ) -> Result<Stored<T>, StorageError> {
        Stored::load(self.storage(), key).await
    }

    /// This object's alarm: one moment at which [`DurableObject::alarm`](crate::DurableObject::alarm) runs. It is stored
    /// with the writes of the call that sets it, wakes the object if it sleeps, and outlives the process. It runs at
    /// least once, never early; one that fails is tried again, after 2 s, 4 s and so on, six times (checklist 7.10).
    ///
    /// ```
    /// use std::time::Duration;
    /// use opendo::{AlarmInfo, prelude::*};
    ///
    /// pub struct Reminder { ctx: Ctx }
    ///
    /// #[durable_object]
    /// impl Reminder {
    ///     pub fn remind(&self) -> Result<(), String> {
    ///         Ok(self.ctx.alarm().set_in(Duration::from_secs(60))?)
    ///     }
    /// }
    ///
    /// impl DurableObject for Reminder {
    ///     async fn new(ctx: Ctx) -> opendo::Result<Self> { Ok(Reminder { ctx }) }
    ///
    ///     async fn alarm(&mut self, info: AlarmInfo) -> opendo::Result<()> {
    ///         println!("it is time, for the {}. time", info.retry_count + 1);
    ///         Ok(())
    ///     }
    /// }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> opendo::Result<()> {
    /// # let node = Node::builder().object::<Reminder>().start().await?;
    /// # let reminder: ReminderStub = node.get("a");
    /// # reminder.remind().await?;
    /// # assert!(opendo::testing::run_alarm(&node, &reminder).await);
    /// # assert!(!opendo::testing::run_alarm(&node, &reminder).await);
    /// # Ok(()) }
    /// ```
    pub fn alarm(&self) -> Alarm<'_> {
        Alarm { ledger: self.storage().ledger(), clock: self.common().clock }
    }

    /// Has [`DurableObject::scheduled`](crate::DurableObject::scheduled) run at some time, or again and again, with
    /// `payload`. Any number can be scheduled, each under a name; the same name replaces what was there. They are kept
    /// and tried again like the [`alarm`](Self::alarm).
    ///
    /// # Errors
    /// As for [`Storage::put`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use opendo::{Every, Scheduled, prelude::*};
    ///
    /// pub struct Shop { ctx: Ctx }
    ///
    /// #[durable_object]
    /// impl Shop {
    ///     pub fn order(&self, number: u32) -> Result<(), String> {
    ///         self.ctx.schedule("report", Every(Duration::from_secs(3600)), &())?;
    ///         Ok(self.ctx.schedule(&format!("expire/{number}"), Duration::from_secs(900), &number)?)
    ///     }
    /// }
    ///
    /// impl DurableObject for Shop {
    ///     async fn new(ctx: Ctx) -> opendo::Result<Self> { Ok(Shop { ctx }) }
    ///
    ///     async fn scheduled(&mut self, event: Scheduled) -> opendo::Result<()> {
    ///         match event.name() {
    ///             "report" => println!("{:?}", self.ctx.schedules()),
    ///             _ => println!("order {} was not paid", event.payload::<u32>()?),
    ///         }
    ///         Ok(())
    ///     }
    /// }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> opendo::Result<()> {
    /// # let node = Node::builder().object::<Shop>().start().await?;
    /// # let shop: ShopStub = node.get("a");
    /// # shop.order(7).await?;
    /// # Ok(()) }
    /// ```
    pub fn schedule<T: Serialize + ?Sized>(
        &self,
        name: &str,
        when: impl Into<When>,
        payload: &T,
    ) -> Result<(), StorageError> {
        let timer = Timer::named(name)?;
        let payload = self.storage().encode_entry(name, payload)?;
        timers::schedule(self.storage(), self.common().clock, timer, when.into(), payload)
    }

    /// The object's SQL database. Its class is marked `#[durable_object(sql)]`, or nothing works
    /// ([`SqlError::None`](crate::sql::SqlError::None)).
    ///
    /// Keys, the alarm and schedules are kept in the same file then, and what one call writes with either is one
    /// transaction. A call that reads and writes rows does not wait for the disk; its reply does.
    ///
    /// ```
    /// use opendo::prelude::*;
    /// use opendo::sql::SqlError;
    ///
    /// pub struct Ledger { ctx: Ctx }
    ///
    /// #[durable_object(sql)]
    /// impl Ledger {
    ///     pub fn book(&mut self, account: String, cents: i64) -> Result<i64, String> {
    ///         let sql = self.ctx.sql();
    ///         sql.exec("INSERT INTO entry(account, cents) VALUES (?, ?)", (&account, cents))?;
    ///         Ok(sql.query_one("SELECT sum(cents) FROM entry WHERE account = ?", (&account,))?)
    ///     }
    /// }
    ///
    /// impl DurableObject for Ledger {
    ///     async fn new(ctx: Ctx) -> opendo::Result<Self> {
    ///         ctx.sql().migrate(&["CREATE TABLE entry(account TEXT NOT NULL, cents INTEGER NOT NULL)"])?;
    ///         Ok(Ledger { ctx })
    ///     }
    /// }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> opendo::Result<()> {
    /// # let node = Node::builder().object::<Ledger>().start().await?;
    /// # let ledger: LedgerStub = node.get("a");
    /// # ledger.book("rent".into(), 7).await?;
    /// # opendo::testing::hibernate(&node, &ledger).await;
    /// # assert_eq!(ledger.book("rent".into(), 5).await?, 12);
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "sqlite")]
    pub fn sql(&self) -> crate::sql::Sql {
        crate::sql::Sql::of(self.storage().ledger())
    }

    /// Takes back what was scheduled under that name.
    ///
    /// # Errors
    /// As for [`Storage::delete`].
    pub fn unschedule(&self, name: &str) -> Result<(), StorageError> {
        self.storage().ledger().set_timer(Timer::named(name)?, None)
    }

    /// What is scheduled, by name, and when it is due next.
    pub fn schedules(&self) -> BTreeMap<String, SystemTime> {
        timers::schedules(self.storage().ledger())
    }

    /// Keeps a stub for this object, while it sleeps too: the node holds the connection. `attachment` (16 KiB in postcard
    /// at most) stays with it. What is [retained](Self::retained) under a tag is there again after a wake; when its
    /// connection ends it is gone, and [`DurableObject::lost`](crate::DurableObject::lost) runs.
    ///
    /// It is kept at once, whatever becomes of the call, and not across restarts of the node: connections end with it.
    ///
    /// # Errors
    /// As for [`Storage::put`].
    ///
    /// ```
    /// use opendo::{Lost, prelude::*};
    ///
    /// #[opendo::interface]
    /// pub trait Watcher {
    ///     async fn changed(&self, value: u64);
    /// }
    ///
    /// pub struct Counter { ctx: Ctx, value: opendo::Stored<u64> }
    ///
    /// #[durable_object]
    /// impl Counter {
    ///     pub fn watch(&self, name: String, watcher: WatcherStub) -> Result<(), String> {
    ///         Ok(self.ctx.retain("watchers", &watcher, &name)?)
    ///     }
    ///
    ///     pub fn increment(&mut self) {
    ///         *self.value.edit() += 1;
    ///         for watcher in self.ctx.retained::<WatcherStub>("watchers") {
    ///             Call::detach(watcher.changed(*self.value)); // leaves once the value is durable
    ///         }
    ///     }
    /// }
    ///
    /// impl DurableObject for Counter {
    ///     async fn new(ctx: Ctx) -> opendo::Result<Self> {
    ///         Ok(Counter { value: ctx.stored("value").await?, ctx })
    ///     }
    ///
    ///     async fn lost(&mut self, lost: Lost) -> opendo::Result<()> {
    ///         println!("{} is gone", lost.attachment::<String>()?);
    ///         Ok(())
    ///     }
    /// }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> opendo::Result<()> {
    /// # let node = Node::builder().object::<Counter>().start().await?;
    /// # let counter: CounterStub = node.get("a");
    /// # struct Page(tokio::sync::mpsc::UnboundedSender<u64>);
    /// # #[rpc_target] impl Watcher for Page {
    /// #     async fn changed(&self, value: u64) { let _ = self.0.send(value); }
    /// # }
    /// # let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    /// # counter.watch("ann".into(), opendo::serve(Page(told))).await?;
    /// # opendo::testing::hibernate(&node, &counter).await;
    /// # counter.increment().await?;
    /// # assert_eq!(heard.recv().await, Some(1));
    /// # Ok(()) }
    /// ```
    pub fn retain<S: Stub, T: Serialize + ?Sized>(
        &self,
        tag: &str,
        stub: &S,
        attachment: &T,
    ) -> Result<(), StorageError> {
        let attachment = self.storage().encoded(tag, attachment)?;
        if attachment.len() > MAX_ATTACHMENT {
            let size = attachment.len();
            return Err(StorageError::TooLarge { key: tag.to_owned(), size, limit: MAX_ATTACHMENT });
        }
        let keeper = self.common().keeper.upgrade().ok_or(StorageError::Closed)?;
        let entry = keeper.shelf().add(self.key_arc(), tag, stub.clone(), attachment.into());
        keeper.watch(self.key_arc(), &entry, stub.broken().boxed());
        Ok(())
    }

    /// The stubs of `S` that are retained under a tag, the oldest first.
    pub fn retained<S: Stub>(&self, tag: &str) -> Vec<Retained<S>> {
        Retained::of(&self.common().keeper, self.key_arc(), self.storage(), tag)
    }

    /// A stub of a target that this object [makes again](Lasting) from `params` whenever it is called and not there. Nothing
    /// runs before that. The stub can be stored, and be passed like any other.
    ///
    /// `params` have 16 KiB in postcard at most. Whoever holds the stub at the other end of a connection could read them
    /// (not change them): they are no place for secrets. They can hold stubs of objects.
    ///
    /// The target has to be registered with [`NodeBuilder::lasting`](crate::NodeBuilder::lasting), for this object's class;
    /// otherwise all calls fail with [`NoSuchClass`](ErrorKind::NoSuchClass).
    ///
    /// # Errors
    /// [`StorageError::Encode`], [`StorageError::TooLarge`].
    pub fn lasting<T: Lasting>(&self, params: &T::Params) -> Result<T::Stub, StorageError> {
        let params = self.storage().encoded(T::NAME, params)?;
        if params.len() > MAX_PARAMS {
            let size = params.len();
            return Err(StorageError::TooLarge { key: T::NAME.to_owned(), size, limit: MAX_PARAMS });
        }
        Ok(self.common().node.lasting((**self.key_arc()).clone(), T::NAME, params))
    }

    /// What time it is, by the clock that alarms go by: in tests with a paused clock, that one.
    pub fn now(&self) -> SystemTime {
        self.common().clock.now()
    }

    /// Keeps the object in memory until what this returns is dropped, however idle it is.
    pub fn keep_alive(&self) -> KeepAlive {
        self.0.keep_alive(Keeping::Guard)
    }

    /// What keeps the object in memory, beside calls that run or wait. Empty for one that may hibernate when it has been
    /// idle for long enough.
    pub fn keepalive_reasons(&self) -> Vec<KeepaliveReason> {
        self.0.keepalive_reasons()
    }

    /// A stub of another object of this node. No I/O, no `Result`: a call tells whether there is such a
    /// class.
    pub fn get<S: Stub>(&self, id: impl ToObjectId<S>) -> S {
        self.common().node.get(id)
    }

    /// A stub of this object itself, for others to use. Awaiting a call to it from one of its own methods fails with
    /// [`Reentrant`](ErrorKind::Reentrant); work given to [`wait_until`](Self::wait_until) may.
    pub fn this<S: Stub>(&self) -> S {
        self.common().node.stub_of((**self.key_arc()).clone())
    }

    /// Sends a message to another object of this node: a call that is recorded now, with all else that is written, and made
    /// when that is durable. It arrives in any case, after crashes, too, and counts once: the receiver keeps its number
    /// in the same commit as what its method writes. Messages to one object arrive in the order in which they were sent.
    ///
    /// `call` makes the call on the stub that it is given, and returns it. Its arguments are stored, so they can hold stubs
    /// of this node's objects, but no callbacks, no streams, no results of other calls. Nobody learns its result; an error
    /// of the method's is a result, too. [What exactly is promised](crate::docs::semantics#messages).
    ///
    /// # Errors
    /// See [`SendError`]: nothing is recorded then.
    ///
    /// ```
    /// use opendo::{Stored, prelude::*};
    ///
    /// pub struct Account { ctx: Ctx, balance: Stored<u64> }
    ///
    /// #[durable_object]
    /// impl Account {
    ///     pub fn deposit(&mut self, amount: u64) {
    ///         *self.balance.edit() += amount;
    ///     }
    ///
    ///     /// Takes it from here and brings it there: both or nothing.
    ///     pub fn transfer(&mut self, to: AccountStub, amount: u64) -> Result<(), String> {
    ///         let rest = self.balance.checked_sub(amount).ok_or("not enough")?;
    ///         self.ctx.send(&to, |to| to.deposit(amount))?;
    ///         *self.balance.edit() = rest;
    ///         Ok(())
    ///     }
    /// #     pub fn balance(&self) -> u64 { *self.balance }
    /// }
    ///
    /// impl DurableObject for Account {
    ///     async fn new(ctx: Ctx) -> opendo::Result<Self> {
    ///         Ok(Account { balance: ctx.stored("balance").await?, ctx })
    ///     }
    /// }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> opendo::Result<()> {
    /// # let node = Node::builder().object::<Account>().start().await?;
    /// # let (ann, bob): (AccountStub, AccountStub) = (node.get("ann"), node.get("bob"));
    /// # ann.deposit(10).await?;
    /// # assert!(ann.transfer(bob.clone(), 11).await.is_err());
    /// # ann.transfer(bob.clone(), 4).await?;
    /// # while bob.balance().await? == 0 { tokio::task::yield_now().await; }
    /// # assert_eq!((ann.balance().await?, bob.balance().await?), (6, 4));
    /// # Ok(()) }
    /// ```
    pub fn send<S: Stub, T, E>(&self, to: &S, call: impl FnOnce(&S) -> Call<T, E>) -> Result<(), SendError> {
        let outbox = self.0.make_outbox().ok_or(StorageError::Closed)?;
        outbox.send(to, call)
    }

    /// Runs `future` beside the calls. The object does not hibernate before it has finished; it is cancelled when
    /// the instance is thrown away. A panic in it concerns nobody else (checklist 3.22).
    ///
    /// What it writes is committed with the next thing that leaves the object, or when it has finished.
    pub fn wait_until(&self, future: impl Future<Output = ()> + Send + 'static) {
        let control = &self.0;
        let weak = Arc::downgrade(control);
        let info = CallInfo::of_own_work(const { &MethodDesc::of_own_work("wait_until") }, control);
        control.spawn(info.scope(async move {
            future.await;
            if let Some(control) = weak.upgrade() {
                control.seal();
            }
        }));
    }

    /// Throws this instance away: every call in flight or queued fails with [`Reset`](ErrorKind::Reset) and this
    /// reason, writes that were not committed are lost, and a fresh stub reaches a new instance made from what
    /// is stored.
    ///
    /// It does not return: it unwinds out of the method that calls it, without a panic message. Storage is closed
    /// first, so nothing that is dropped on the way can write (checklist 3.19, 3.20).
    pub fn abort(&self, reason: impl fmt::Display) -> ! {
        let error = RpcError::new(ErrorKind::Reset, reason.to_string());
        tracing::info!(object = %self.key_arc(), %reason, "aborted");
        self.0.reset(error);
        std::panic::resume_unwind(Box::new(Aborted))
    }
}

impl fmt::Debug for Ctx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ctx({})", self.key_arc())
    }
}

/// What `ctx.abort` unwinds with.
struct Aborted;
