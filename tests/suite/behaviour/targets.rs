//! Values that are called as if they were somewhere else. They are in this process: there is one way to them.

use opendo::ErrorKind;
use opendo::prelude::*;

use super::by_name::{Gate, Log};
use super::errors::failure;
use super::world::let_others_run;

pub struct Desk {
    count: u64,
}

#[rpc_target]
impl Desk {
    pub async fn look(&self, log: Log, entry: u64, gate: Gate) {
        log.push(entry);
        gate.pass().await;
    }

    pub async fn write(&mut self, log: Log, entry: u64, gate: Gate) {
        log.push(entry);
        gate.pass().await;
    }

    pub fn count(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    pub fn panic(&mut self) {
        panic!("as the test wants");
    }

    pub fn refuse(&self) -> Result<(), String> {
        Err("no".into())
    }

    /// Calls back through a stub of itself.
    pub async fn call(&self, #[call] call: &CallInfo, desk: ByStub, log: Log, gate: Gate) -> ErrorKindText {
        assert!(call.object().is_none());
        desk.0.look(log.clone(), 1, gate).await.unwrap();
        let refused = desk.0.write(log, 2, Gate::new()).await;
        ErrorKindText(format!("{:?}", failure(refused).0))
    }
}

/// The text of an error's kind.
#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ErrorKindText(String);

/// A stub on its way within the process. It has no encoding.
#[derive(Clone)]
pub struct ByStub(DeskStub);

impl serde::Serialize for ByStub {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("it stays in its process"))
    }
}

impl<'de> serde::Deserialize<'de> for ByStub {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("it stays in its process"))
    }
}

fn desk() -> DeskStub {
    opendo::serve(Desk { count: 0 })
}

#[tokio::test]
async fn shared_methods_overlap_and_exclusive_ones_run_alone_all_in_order() {
    let desk = desk();
    let (log, early, alone, late) = (Log::new(), Gate::new(), Gate::new(), Gate::new());
    let mut calls = vec![desk.look(log.clone(), 1, early.clone()), desk.look(log.clone(), 2, early.clone())];
    calls.push(desk.write(log.clone(), 3, alone.clone()));
    calls.push(desk.look(log.clone(), 4, late.clone()));
    early.reached().await;
    early.reached().await;
    let_others_run().await;
    assert_eq!(log.take(), [1, 2]);
    early.open();
    let_others_run().await;
    assert!(log.take().is_empty());
    early.open();
    alone.reached().await;
    let_others_run().await;
    assert_eq!(log.take(), [3]);
    alone.open();
    late.reached().await;
    late.open();
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!(log.take(), [4]);
}

#[tokio::test]
async fn an_error_changes_nothing_and_a_panic_ends_a_target_for_good() {
    let desk = desk();
    assert_eq!(desk.count().await, Ok(1));
    assert_eq!(desk.refuse().await, Err(CallError::App("no".into())));
    assert_eq!(desk.count().await, Ok(2));
    let queued = (desk.panic(), desk.count());
    assert_eq!(failure(queued.0.await), (ErrorKind::Reset, true));
    assert_eq!(failure(queued.1.await), (ErrorKind::Reset, false));
    assert_eq!(failure(desk.fresh().count().await), (ErrorKind::Reset, false));
}

#[tokio::test]
async fn a_target_has_no_id_and_errors_name_its_type() {
    let desk = desk();
    assert!(desk.key().is_none() && desk.id().is_none());
    let error = desk.panic().await.unwrap_err();
    assert_eq!(error.rpc().and_then(RpcError::target), Some("Desk.panic"));
}

#[tokio::test]
async fn a_target_may_be_called_back_where_its_methods_overlap() {
    let desk = desk();
    let (log, gate) = (Log::new(), Gate::new());
    gate.open();
    let text = desk.call(ByStub(desk.clone()), log.clone(), gate).await.unwrap();
    assert_eq!((text, log.take()), (ErrorKindText("Reentrant".into()), vec![1]));
}

#[tokio::test]
async fn a_target_lives_as_long_as_its_stubs() {
    struct Guard(Gate);
    #[rpc_target]
    impl Guard {
        pub fn touch(&self) {}
    }
    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.open();
        }
    }
    let gate = Gate::new();
    let guard: GuardStub = opendo::serve(Guard(gate.clone()));
    let copy = guard.clone();
    guard.touch().await.unwrap();
    drop(guard);
    copy.touch().await.unwrap();
    let passing = gate.pass();
    let mut passing = std::pin::pin!(passing);
    assert!(futures::poll!(&mut passing).is_pending());
    drop(copy);
    passing.await;
}

#[tokio::test]
async fn a_mock_stands_in_for_an_object() {
    use super::service_binding::{Greeter, GreeterStub};

    struct Mock(Log);

    #[rpc_target]
    impl Greeter for Mock {
        async fn greet(&self, name: String) -> String {
            self.0.push(name.len() as u64);
            "as told".into()
        }

        fn times(&self) -> u64 {
            1
        }

        async fn meet(&mut self, friend: ObjectId<GreeterStub>) -> ObjectId<GreeterStub> {
            friend
        }
    }

    /// Code under test: it knows the interface only.
    async fn politely(greeter: &GreeterStub) -> Result<String, RpcError> {
        Ok(greeter.greet("Ann".into()).await?)
    }

    let log = Log::new();
    let mock: GreeterStub = opendo::serve(Mock(log.clone()));
    assert_eq!(politely(&mock).await.unwrap(), "as told");
    assert_eq!(log.take(), [3]);
}

#[tokio::test]
async fn ten_thousand_calls_of_a_target_run_in_order() {
    let desk = desk();
    let calls: Vec<_> = (0..10_000).map(|_| desk.count()).collect();
    for (call, count) in calls.into_iter().zip(1..) {
        assert_eq!(call.await, Ok(count));
    }
}
