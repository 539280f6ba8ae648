//! The task of a session that speaks Cap'n Web.

use std::future::poll_fn;
use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use opendo_transport::{CloseReason, Connection, Lines, Receiver, Sender, Transport, kind};
use tokio::time::{Instant, timeout};

use super::text_core::{Farewell, Sort, TextCore};
use crate::encoding::capnweb;
use crate::object::turn::at_once;
use crate::rpc::any_core::AnyCore;
use crate::rpc::driver::disconnected;
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::timer::Timer;

type Out = Box<dyn Sender<kind::Text>>;
type In = Box<dyn Receiver<kind::Text>>;

/// Messages read before others get a turn.
const BUDGET: usize = 128;

/// Runs the session to its end.
pub(crate) fn run(
    core: Arc<TextCore>,
    connection: Connection<kind::Text>,
) -> impl Future<Output = ()> + Send {
    let (sender, receiver) = connection.split();
    let mut running = Running {
        _ended: EndOnPanic(core.clone()),
        core,
        sender,
        receiver,
        reading: true,
        keepalive: Keepalive::default(),
        writing: Writing { batch: Lines::default(), sending: false, request: Request::Open },
    };
    async move {
        let error = poll_fn(|cx| running.poll(cx)).await;
        // What only an end needs takes no room before.
        Box::pin(running.end(error)).await;
    }
}

/// A session that runs. It is there as long as its connection, and so are its parts.
struct Running {
    _ended: EndOnPanic,
    core: Arc<TextCore>,
    sender: Out,
    receiver: In,
    reading: bool,
    keepalive: Keepalive,
    writing: Writing,
}

impl Running {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<RpcError> {
        let Self { core, sender, receiver, .. } = self;
        // It is awake, and writes before it sleeps: answers to what it reads need not wake it.
        core.state.lock().writer = None;
        if self.reading
            && let Poll::Ready(read) = poll_read(cx, core, receiver, BUDGET)
        {
            match read {
                Ok(()) => self.reading = false,
                Err(error) => return Poll::Ready(error),
            }
        }
        let over = self.writing.poll(cx, core, sender);
        if over.is_ready() && self.reading {
            // What the peer said before it went away still counts.
            let _ = poll_read(cx, core, receiver, usize::MAX);
        }
        if over.is_pending() {
            return self.keepalive.poll(cx, core, sender);
        }
        over
    }

    async fn end(&mut self, error: RpcError) {
        // Before anything that waits: calls in flight learn it now.
        self.core.end(&error);
        let mut farewell = self.core.farewell();
        if matches!(error.kind(), ErrorKind::Protocol | ErrorKind::TooLarge)
            && matches!(farewell, Farewell::None)
        {
            farewell = Farewell::Abort(error);
        }
        let patience = self.core.life.limits.hello_timeout;
        let batch = mem::take(&mut self.writing.batch);
        let _ = timeout(patience, say_goodbye(farewell, &self.core, batch, &mut self.sender)).await;
    }
}

async fn say_goodbye(farewell: Farewell, core: &TextCore, mut batch: Lines, sender: &mut Out) {
    let mut rest = core.take_rest();
    while let Some(message) = rest.pop_front() {
        batch.push(message);
    }
    let reason = match farewell {
        Farewell::None => None,
        Farewell::HangUp(text) => Some(CloseReason { code: 1000, text }),
        Farewell::Abort(error) => {
            batch.push(abort_message(&error));
            Some(CloseReason::aborted(error.message()))
        }
    };
    let sent = poll_fn(|cx| sender.poll_send(cx, &mut batch)).await;
    let _ = match reason {
        Some(reason) if sent.is_ok() => poll_fn(|cx| sender.poll_close_with(cx, &reason)).await,
        _ => poll_fn(|cx| sender.poll_close(cx)).await,
    };
}

fn abort_message(error: &RpcError) -> String {
    let mut out = br#"["abort","#.to_vec();
    capnweb::append_error_named("Error", error.message(), &mut out);
    out.push(b']');
    String::from_utf8(out).expect("what is written is text")
}

/// A `Drop` of the user's may panic in the reader: whoever waits for the session learns that it is over.
struct EndOnPanic(Arc<TextCore>);

impl Drop for EndOnPanic {
    fn drop(&mut self) {
        self.0.end(&RpcError::new(ErrorKind::Disconnected, "the task of the session is gone"));
    }
}

/// `Ok` when the peer has said all, and the session goes on.
fn poll_read(
    cx: &mut Context<'_>,
    core: &Arc<TextCore>,
    receiver: &mut In,
    budget: usize,
) -> Poll<Result<(), RpcError>> {
    for _ in 0..budget {
        match ready!(receiver.poll_receive(cx)) {
            Some(Ok(message)) => {
                // As it is read, so that what is pushed later finds it started.
                if let Err(error) = at_once(|| core.handle(&message)) {
                    return Poll::Ready(Err(error));
                }
            }
            Some(Err(error)) => return Poll::Ready(Err(disconnected(error))),
            None => return Poll::Ready(core.peer_is_done()),
        }
    }
    cx.waker().wake_by_ref();
    Poll::Pending
}

/// Notices that a peer has gone without a word, where the transport can ask for a sign of life.
#[derive(Default)]
struct Keepalive {
    heard: u64,
    asked: bool,
    timer: Option<Timer>,
}

impl Keepalive {
    fn poll(&mut self, cx: &mut Context<'_>, core: &TextCore, sender: &mut Out) -> Poll<RpcError> {
        let limits = &core.life.limits;
        loop {
            let timer =
                self.timer.get_or_insert_with(|| Timer::until(Instant::now() + limits.keepalive_interval));
            ready!(timer.poll(cx));
            let Some(heard) = sender.heard() else {
                // Nothing can be asked.
                return Poll::Pending;
            };
            let silent = heard == self.heard;
            if silent && self.asked {
                let text = format!("{} gave no sign of life", core.life.peer);
                return Poll::Ready(RpcError::new(ErrorKind::Disconnected, text));
            }
            self.heard = heard;
            self.asked = silent;
            if silent && let Poll::Ready(Err(error)) = sender.poll_ping(cx) {
                return Poll::Ready(disconnected(error));
            }
            let next =
                Instant::now() + if silent { limits.keepalive_timeout } else { limits.keepalive_interval };
            if let Some(timer) = &mut self.timer {
                timer.reset(next);
            }
        }
    }
}

struct Writing {
    batch: Lines,
    /// Also when the transport has taken all of the batch, and not written it.
    sending: bool,
    request: Request,
}

/// How far a batch is.
#[derive(PartialEq)]
enum Request {
    /// It may still be added to. What is no batch stays so.
    Open,
    Closing,
    /// What comes now are the answers.
    Sent,
}

impl Writing {
    fn poll(&mut self, cx: &mut Context<'_>, core: &TextCore, sender: &mut Out) -> Poll<RpcError> {
        loop {
            if self.request == Request::Closing {
                if let Err(error) = ready!(sender.poll_close(cx)) {
                    return Poll::Ready(disconnected(error));
                }
                self.request = Request::Sent;
            }
            {
                let mut state = core.state.lock();
                if let Some(error) = &state.ended {
                    return Poll::Ready(error.clone());
                }
                // Also while it sends: a peer that does not read does not keep the session.
                state.writer = Some(cx.waker().clone());
                if !self.sending {
                    let waits = core.sort == Sort::Batch && !state.complete;
                    if self.request == Request::Sent || waits || state.out.is_empty() {
                        let over = match core.sort {
                            Sort::Conversation => state.draining && state.is_idle(),
                            Sort::Request => state.complete && state.open_pulls == 0,
                            Sort::Batch => state.draining && state.is_idle(),
                        };
                        if over {
                            return Poll::Ready(RpcError::new(ErrorKind::Closed, "the session was closed"));
                        }
                        return Poll::Pending;
                    }
                    std::mem::swap(&mut state.out, &mut self.batch);
                    state.handed_over = state.last_import + 1;
                    self.sending = true;
                }
            }
            if let Err(error) = ready!(sender.poll_send(cx, &mut self.batch)) {
                return Poll::Ready(disconnected(error));
            }
            self.sending = false;
            if core.sort == Sort::Batch && self.request == Request::Open {
                self.request = Request::Closing;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_test::task::new_count_waker;
    use opendo_transport::memory;

    use super::*;
    use crate::node::WeakNode;
    use crate::registry::namespace::Objects;
    use crate::rpc::limits::Limits;

    #[tokio::test]
    async fn what_is_answered_at_once_wakes_nobody() {
        let (ours, theirs) = memory::pair(8);
        let objects = Objects(WeakNode::none());
        let core =
            TextCore::new(ours.peer(), Arc::new(Limits::default()), objects, Vec::new(), Sort::Conversation);
        let mut running = pin!(run(core, Connection::new(ours)));
        let (waker, woken) = new_count_waker();
        let mut poll = || running.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(poll().is_pending());
        let (mut sender, mut receiver) = theirs.split();
        let mut asked = Lines::default();
        asked.push(r#"["push",5]"#.to_owned());
        asked.push(r#"["pull",1]"#.to_owned());
        sender.send(&mut asked).await.unwrap();
        let before = woken.get();
        assert!(poll().is_pending());
        assert_eq!(receiver.receive().await.unwrap().unwrap(), r#"["resolve",1,5]"#);
        assert_eq!(woken.get(), before);
    }
}
