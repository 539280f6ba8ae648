//! One call to many stubs.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::encoding::Encoded;
use crate::rpc::cap::Cap;
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::incoming::Incoming;
use crate::rpc::outgoing::{Body, OutgoingCall, RemoteCall};
use crate::rpc::remote::{Binding, Place, Remote, RemoteObject, Uplink, cap_of, of_remote};
use crate::rpc::stub::{Broken, Stub};

/// Stubs of one type that are called together: a call on the group goes to each of them, its arguments encoded once.
///
/// It dereferences to the stub of the members. Such a call answers when each member has answered, or can no longer:
/// with the result of the member that joined first, or with the first error if a method failed. Members that are gone
/// (their session ended, their target was reset) make no call fail, and leave the group when a call finds them so; if
/// there is no other, the call fails with [`Broken`](ErrorKind::Broken); so does a call on an empty group, unless its
/// result is `()`. Each member starts the calls of the group in the order in which they were made. Dropping
/// such a call does not withdraw it.
///
/// ```
/// use opendo::{Group, prelude::*};
///
/// #[opendo::interface]
/// pub trait Member {
///     async fn told(&mut self, text: String);
/// }
///
/// # struct Ear(tokio::sync::mpsc::UnboundedSender<String>);
/// # #[rpc_target] impl Member for Ear { async fn told(&mut self, text: String) { let _ = self.0.send(text); } }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> opendo::Result<()> {
/// # let (heard, mut hear) = tokio::sync::mpsc::unbounded_channel();
/// let members = Group::<MemberStub>::new();
/// members.join(opendo::serve(Ear(heard.clone())));
/// let second = members.join(opendo::serve(Ear(heard)));
/// members.told("hello".into()).await?; // each was told
/// members.leave(second);
/// assert_eq!(members.len(), 1);
/// # assert_eq!((hear.recv().await.as_deref(), hear.recv().await.as_deref()), (Some("hello"), Some("hello")));
/// # Ok(()) }
/// ```
pub struct Group<S> {
    members: Arc<Members>,
    stub: S,
}

struct Members {
    list: Mutex<Vec<(MemberId, Cap)>>,
}

/// A member of a [`Group`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MemberId(u64);

impl<S: Stub> Group<S> {
    /// A group without members.
    pub fn new() -> Self {
        let members = Arc::new(Members { list: Mutex::default() });
        let stub = of_remote(&Remote::new(members.clone(), Place::Group));
        Self { members, stub }
    }

    /// Adds a member, until it leaves or is gone. The same stub can join several times.
    #[allow(clippy::needless_pass_by_value)] // it is the group's now
    pub fn join(&self, member: S) -> MemberId {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        let id = MemberId(NUMBER.fetch_add(1, Ordering::Relaxed));
        self.members.list.lock().push((id, cap_of(&member)));
        id
    }

    /// Removes a member; `false` when it has left already.
    pub fn leave(&self, member: MemberId) -> bool {
        self.members.remove(member)
    }

    /// Whether a member is (still) there.
    pub fn contains(&self, member: MemberId) -> bool {
        self.members.list.lock().iter().any(|(id, _)| *id == member)
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.members.list.lock().len()
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<S: Stub> Default for Group<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Deref for Group<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.stub
    }
}

impl<S> fmt::Debug for Group<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("members", &self.members.list.lock().len()).finish_non_exhaustive()
    }
}

impl Members {
    fn remove(&self, member: MemberId) -> bool {
        let removed = {
            let mut list = self.list.lock();
            let at = list.iter().position(|(id, _)| *id == member);
            at.map(|at| list.remove(at))
        };
        removed.is_some()
    }
}

/// What has come of a call on the group.
struct Answers {
    missing: usize,
    /// By the order of the members.
    first: Option<(usize, Body)>,
    error: Option<RpcError>,
    refused: Option<Body>,
}

impl Uplink for Members {
    fn send(self: Arc<Self>, outgoing: OutgoingCall<'_>) {
        let OutgoingCall { call, parts, body, passed } = outgoing;
        let list = self.list.lock().clone();
        if list.is_empty() {
            return call.complete(Ok(Body { is_ok: true, value: Encoded::NOTHING }));
        }
        let body = Bytes::copy_from_slice(body);
        let answers = Answers { missing: list.len(), first: None, error: None, refused: None };
        let answers = Arc::new(Mutex::new(answers));
        for (place, (id, cap)) in list.into_iter().enumerate() {
            let (members, answers, whole) = (self.clone(), answers.clone(), call.clone());
            let hook = move |answer| members.answered(id, place, answer, &answers, &whole);
            // Straight to where it is: nothing has to be passed on.
            if let Some(remote) = cap.remote().filter(|remote| remote.form() == parts.form) {
                remote.call_one_of_many(call, parts, &body, passed.into(), hook);
                continue;
            }
            let each = RemoteCall::for_hook(call, call.object.clone(), hook);
            if let Some(incoming) = Incoming::shared(&each, parts, body.clone(), passed.into()) {
                incoming.when_complete(move |incoming| cap.deliver(incoming));
            }
        }
    }

    fn release(&self, _: &Binding) {}

    fn default_timeout(&self) -> Option<Duration> {
        None
    }

    fn number(&self) -> Option<u64> {
        None
    }

    /// A group may always get new members.
    fn broken(self: Arc<Self>, _: &RemoteObject) -> Broken {
        std::future::pending().boxed()
    }
}

impl Members {
    fn answered(
        &self,
        id: MemberId,
        place: usize,
        answer: Result<Body, RpcError>,
        answers: &Mutex<Answers>,
        whole: &Arc<RemoteCall>,
    ) {
        if let Err(error) = &answer
            && matches!(error.kind(), ErrorKind::Broken | ErrorKind::Reset)
        {
            self.remove(id);
        }
        let mut all = answers.lock();
        match answer {
            Ok(body) if !body.is_ok => all.refused = all.refused.take().or(Some(body)),
            Ok(body) => {
                if all.first.as_ref().is_none_or(|(first, _)| place < *first) {
                    all.first = Some((place, body));
                }
            }
            Err(error) if is_gone(error.kind()) => {}
            Err(error) => all.error = all.error.take().or(Some(error)),
        }
        all.missing -= 1;
        if all.missing > 0 {
            return;
        }
        let answer = match (all.error.take(), all.refused.take(), all.first.take()) {
            (Some(error), _, _) => Err(error),
            (None, Some(refused), _) => Ok(refused),
            (None, None, Some((_, body))) => Ok(body),
            (None, None, None) => Err(RpcError::new(ErrorKind::Broken, "every member of the group is gone")),
        };
        drop(all);
        whole.complete(answer);
    }
}

fn is_gone(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Broken | ErrorKind::Reset | ErrorKind::Disconnected)
}
