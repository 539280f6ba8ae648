//! What happens to an object besides calls: its timers, the loss of what it retains. It takes its turn like a call.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::object::control::Control;
use crate::object::job::{Job, Place, Progress, UntilLost};
use crate::rpc::chain::Link;
use crate::rpc::error::RpcError;
use crate::rpc::info::{CallInfo, listened_to};
use crate::rpc::method::{MethodDesc, MethodFlags};

/// What an object does about an event.
pub(crate) type React<O> = Box<dyn for<'a> FnOnce(&'a mut O, Arc<Control>) -> BoxFuture<'a, ()> + Send>;

/// An event on its way through a strand. Whoever has to know that it is over has given something to `react` that
/// tells when it is dropped.
pub(crate) struct Event<O> {
    pub(crate) what: &'static MethodDesc,
    pub(crate) react: React<O>,
}

impl<O: Send + Sync + 'static> Job<O> for Event<O> {
    fn flags(&self) -> MethodFlags {
        MethodFlags::default()
    }

    fn chain(&self) -> Option<&Arc<Link>> {
        None
    }

    fn is_wanted(&self) -> bool {
        true
    }

    fn start(self: Box<Self>, mut object: Arc<O>, place: Place) -> Progress<O> {
        let Self { what, react } = *self;
        let Place { sequence, control } = place;
        let span = tracing::debug_span!(
            "event",
            object = control.key().map(tracing::field::display),
            name = what.name
        );
        let info = CallInfo { sequence, ..CallInfo::of_own_work(what, &control) };
        let given = control.clone();
        let run = async move {
            let alone = Arc::get_mut(&mut object).expect("events run alone");
            react(alone, given).await;
            object
        };
        let ended = move |ended: Result<Arc<O>, _>| {
            // A reset has been told to whoever waits.
            let object = ended.ok()?;
            control.seal();
            Some(object)
        };
        Progress::Runs(UntilLost::new(info, listened_to(span), run).map(ended).boxed())
    }

    fn fail(self: Box<Self>, error: RpcError) {
        tracing::warn!(event = self.what.name, %error, "an event did not reach its object");
    }
}
