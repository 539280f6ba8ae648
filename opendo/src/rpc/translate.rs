//! From one encoding to the other: a call that came in one is made in the other, and so is its answer.

use std::task::{Context, Waker};

use crate::encoding::{EncodeError, Encoder, Shape, with_encoder};
use crate::rpc::call::decode_reply;
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::incoming::{Incoming, RemoteReply};
use crate::rpc::info::Waiting;
use crate::rpc::method::{Method, MethodDesc};
use crate::rpc::outgoing::{Body, CallParts, RemoteCall, send};
use crate::rpc::remote::Remote;

impl Remote {
    /// Hands on a call that came encoded, in the encoding of the way that leads there: `translate` makes it anew if that
    /// is another one.
    pub fn deliver_as(&self, call: Incoming, translate: fn(&Self, Incoming)) {
        // Where it goes by no session, it is not known yet in which encoding it will be wanted.
        let by_session = self.object().number.is_some();
        if by_session && call.args.form != self.form() { translate(self, call) } else { self.pass_on(call) }
    }

    /// Makes a call for the one that came: its arguments and its answer are values on the way.
    pub fn translate<M: Method>(&self, mut call: Incoming) {
        match call.decode::<M>() {
            Err(error) => call.reply.fail(error),
            Ok(args) => self.make_for(call, M::DESC, &|out| M::encode_args(&args, out), answer::<M>),
        }
    }

    /// The part of [`translate`](Self::translate) that need not be compiled for each method.
    fn make_for(
        &self,
        incoming: Incoming,
        method: MethodDesc,
        encode: &dyn Fn(&mut Encoder) -> Result<(), EncodeError>,
        answer: fn(Result<&Body, &RpcError>, RemoteReply),
    ) {
        let object = self.object();
        let caller = incoming.caller();
        let Incoming { reply, deadline, trace, chain, .. } = incoming;
        if let Some(refusal) = object.peer.as_ref().and_then(|peer| peer.refusal(&method)) {
            return reply.fail(refusal);
        }
        let form = self.form();
        with_encoder(form, Shape::Arguments, encode, |encoded| match encoded {
            Err(error) => reply.fail(RpcError::new(ErrorKind::Encode, format!("the arguments: {error}"))),
            Ok((body, passed)) => {
                let call = RemoteCall::awaited(object.clone(), method, false, None);
                let waiting = reply.call().clone();
                call.when_done(Box::new(move |outcome| answer(outcome, reply)));
                if waiting.poll_gone(&mut Context::from_waker(&Waker::from(call.clone()))).is_ready() {
                    call.withdraw();
                }
                let parts = CallParts { method, form, member: None, deadline, trace, chain, caller };
                send(&call, &parts, body, passed);
            }
        });
    }
}

/// Answers a call with what came of the one that was made for it.
fn answer<M: Method>(outcome: Result<&Body, &RpcError>, reply: RemoteReply) {
    let decoded = match outcome {
        Ok(body) => decode_reply::<M>(body.value.clone(), body.is_ok),
        Err(error) => Err(error.clone()),
    };
    match decoded {
        Ok(result) => reply.send::<M>(&result),
        Err(error) => reply.fail(error),
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use bytes::Bytes;
    use tokio::sync::oneshot;

    use super::*;
    use crate::encoding::Form;
    use crate::rpc::callback::{CallMethod, Callback};
    use crate::rpc::cap::AllPassed;
    use crate::rpc::info::Caller;
    use crate::rpc::promise::promise;
    use crate::rpc::stub::Stub;

    type Double = CallMethod<u64, u64>;

    /// Has `remote` translate a call of which this is the body.
    fn ask(remote: &Remote, body: &[u8]) -> Arc<RemoteCall> {
        let method = Double::DESC;
        let call = RemoteCall::awaited(remote.object().clone(), method, false, None);
        let form = Form::Postcard;
        let parts = CallParts {
            method,
            form,
            member: None,
            deadline: None,
            trace: None,
            chain: None,
            caller: Caller::Local,
        };
        let body = Bytes::copy_from_slice(body);
        remote.translate::<Double>(Incoming::shared(&call, &parts, body, AllPassed::NOTHING).unwrap());
        call
    }

    async fn answer(call: &RemoteCall) -> Result<u64, RpcError> {
        let body = poll_fn(|cx| call.slot().poll_answer(cx)).await?;
        Ok(body.value.decode(&Shape::Value, |input| input.take()).unwrap())
    }

    /// A closure that has not arrived, so that it is called the encoded way; how it arrives, and how often it ran.
    fn double() -> (Remote, impl FnOnce(), Arc<AtomicU64>) {
        let (ready, arrived) = oneshot::channel();
        let stub: Callback<u64, u64> = promise(async { Ok(arrived.await.unwrap()) });
        let ran = Arc::new(AtomicU64::new(0));
        let counted = ran.clone();
        let arrive = move || {
            let double = move |n: u64| {
                counted.fetch_add(1, Ordering::Relaxed);
                async move { n * 2 }
            };
            ready.send(Callback::new(double)).unwrap();
        };
        (stub.core().calls().remote().unwrap().clone(), arrive, ran)
    }

    #[tokio::test]
    async fn arguments_and_answer_are_those_of_the_call_that_came() {
        let (remote, arrive, _) = double();
        let calls = [ask(&remote, &[4]), ask(&remote, &[5])];
        arrive();
        assert_eq!((answer(&calls[1]).await, answer(&calls[0]).await), (Ok(10), Ok(8)));
    }

    #[tokio::test]
    async fn arguments_that_are_none_are_refused_before_anything_is_called() {
        let (remote, arrive, ran) = double();
        let call = ask(&remote, &[]);
        assert_eq!(answer(&call).await.unwrap_err().kind(), ErrorKind::Decode);
        arrive();
        assert_eq!(answer(&ask(&remote, &[1])).await, Ok(2));
        assert_eq!(ran.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_caller_who_goes_away_withdraws_the_call_that_was_made() {
        let (remote, arrive, ran) = double();
        ask(&remote, &[4]).withdraw();
        arrive();
        assert_eq!(answer(&ask(&remote, &[5])).await, Ok(10));
        assert_eq!(ran.load(Ordering::Relaxed), 1);
    }
}
