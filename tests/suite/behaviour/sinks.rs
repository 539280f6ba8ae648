//! The writing ends of streams, and streams whose ends are far apart.

use futures::{FutureExt, StreamExt};
use opendo::prelude::*;
use opendo::{ErrorKind, NodeBuilder, RpcSink, RpcStream};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::errors::failure;
use super::library::{self, LibraryStub, Well, all};
use super::place::Place;
use super::world::{World, let_others_run, unique};

/// A stream that is encoded twice, and decoded twice from its first place.
#[derive(Debug)]
pub struct Doubled(RpcStream<u64>, bool);

impl Serialize for Doubled {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.1 { (&self.0, &self.0).serialize(serializer) } else { self.0.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for Doubled {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let place = u32::deserialize(deserializer)?;
        let stream = || RpcStream::deserialize(Place(place)).map_err(serde::de::Error::custom);
        let _first = stream()?;
        Ok(Self(stream()?, false))
    }
}

pub struct Reader;

#[durable_object]
impl Reader {
    pub async fn read(&self, doubled: Doubled) -> Result<Vec<u64>, String> {
        all(doubled.0).await.map_err(|error| error.to_string())
    }
}

impl DurableObject for Reader {
    async fn new(_: Ctx) -> opendo::Result<Self> {
        Ok(Self)
    }
}

fn hosted() -> NodeBuilder {
    library::hosted().object::<Reader>()
}

/// Another node, and the way to it.
async fn elsewhere() -> (Node, Client, LibraryStub) {
    let node = library::hosted().start().await.unwrap();
    let address = node.listen(&format!("memory:{}", unique("elsewhere"))).await.unwrap();
    let client = opendo::connect(&address.to_string()).await.unwrap();
    let library = client.get("far");
    (node, client, library)
}

every_way! {
    async fn what_is_written_there_is_read_here_and_the_other_way_round(world: &World) {
        let library: LibraryStub = world.get("a");
        for count in [0, 1, 3_000] {
            let (sink, stream) = opendo::pipe();
            let writing = library.write(sink, count);
            assert_eq!(all(stream).await?, (0..count).collect::<Vec<_>>());
            assert_eq!(writing.await.unwrap(), count);
        }
        let mut sink = library.sink().await?;
        for number in 0..100 {
            sink.send(number).await?;
            assert_eq!(library.next().await?, Some(number));
        }
        sink.close().await?;
        assert_eq!(library.next().await?, None);
        library.forget().await?;
    }

    async fn closing_waits_until_all_was_read(world: &World) {
        let library: LibraryStub = world.get("a");
        let mut sink = library.sink().await?;
        for number in 0..3 {
            sink.send(number).await?;
        }
        for number in 0..3 {
            let_others_run().await;
            assert!(sink.close().now_or_never().is_none(), "closed before {number} was read");
            assert_eq!(library.next().await?, Some(number));
        }
        sink.close().await?;
        assert_eq!(library.next().await?, None);
        library.forget().await?;
    }

    async fn a_stream_that_is_not_closed_in_order_ends_with_the_reason(world: &World) {
        let library: LibraryStub = world.get("a");
        for (abort, reason) in [(true, "enough"), (false, "dropped")] {
            let (sink, mut stream) = opendo::pipe();
            library.spoil(sink, abort).await?;
            assert_eq!(stream.next().await.unwrap()?, 1); // what came before still counts
            let error = stream.next().await.unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Aborted);
            assert!(error.message().contains(reason), "{error}");
            assert!(stream.next().await.is_none());
            // And from here to there.
            let (mut sink, stream) = opendo::pipe();
            let reading = library.read(stream);
            sink.send(1).await?;
            if abort { sink.abort("enough") } else { drop(sink) }
            let error = reading.await.unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    async fn writing_fails_when_the_reader_is_gone(world: &World) {
        let library: LibraryStub = world.get("a");
        let (sink, stream) = opendo::pipe();
        drop(stream);
        let error = library.write(sink, 10).await.unwrap_err().to_string();
        assert!(error.contains("reader of the stream is gone"), "{error}");
        let mut sink = library.sink().await?;
        sink.send(1).await?;
        library.forget().await?;
        let mut error = None;
        for number in 0..10 {
            let_others_run().await;
            error = error.or(sink.send(number).await.err());
        }
        let error = error.expect("it was written to nobody");
        assert_eq!(error.kind(), ErrorKind::Aborted);
        // It stays so, and closing does not hang.
        assert!(sink.send(1).await.is_err());
        assert!(sink.close().await.is_err());
    }

    async fn a_sink_comes_home_and_goes_anywhere(world: &World) {
        let (library, other): (LibraryStub, LibraryStub) = (world.get("a"), world.get("b"));
        let (mut sink, mut stream) = opendo::pipe();
        for number in 0..3 {
            sink = library.echo_sink(sink).await?;
            sink.send(number).await?;
            assert_eq!(stream.next().await.unwrap()?, number);
        }
        // On to others: the one there is written by another object there.
        let theirs = library.sink().await?;
        let writing = other.write(other.echo_sink(theirs).await?, 5);
        for number in 0..5 {
            assert_eq!(library.next().await?, Some(number));
        }
        assert_eq!(writing.await.unwrap(), 5);
        let writing = library.write(sink, 2);
        assert_eq!((stream.next().await.unwrap()?, stream.next().await.unwrap()?), (0, 1));
        assert!(stream.next().await.is_none());
        writing.await.unwrap();
        library.forget().await?;
    }

    async fn streams_and_sinks_are_passed_on_through_a_third_party(world: &World) {
        let near: LibraryStub = world.get("a");
        let (node, client, far) = elsewhere().await;
        let well = Well::new();
        let numbers = near.numbers(well.clone(), 5_000).await?;
        assert_eq!(far.read(numbers).await.unwrap(), (0..5_000).collect::<Vec<_>>());
        let numbers = far.numbers(well.clone(), 5_000).await?;
        assert_eq!(near.read(numbers).await.unwrap().len(), 5_000);
        // An error, an end, and a reader that stops.
        let error = far.read(near.faulty(well.clone(), 3).await?).await.unwrap_err().to_string();
        assert!(error.contains("the well is dry"), "{error}");
        assert_eq!(far.take(near.numbers(well.clone(), u64::MAX).await?, 3).await?, [0, 1, 2]);
        well.gone().await;
        // The far one writes to the near one.
        let writing = far.write(near.sink().await?, 3);
        for number in 0..3 {
            assert_eq!(near.next().await?, Some(number));
        }
        assert_eq!((near.next().await?, writing.await.unwrap()), (None, 3));
        near.forget().await?;
        drop(far);
        client.close().await;
        drop(node);
    }

    async fn a_stream_is_there_once(world: &World) {
        let (reader, library): (ReaderStub, LibraryStub) = (world.get("r"), world.get("a"));
        let well = Well::new();
        if world.is_remote() {
            // Encoded twice.
            let encoded = reader.read(Doubled(well.numbers(3), true)).await;
            let error = match encoded {
                Err(CallError::Rpc(error)) => error,
                other => panic!("{other:?}"),
            };
            assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::Encode, false));
            assert!(error.message().contains("passed on before"), "{error}");
            // Decoded twice.
            let decoded = reader.read(Doubled(well.numbers(3), false)).await;
            let error = match decoded {
                Err(CallError::Rpc(error)) => error,
                other => panic!("{other:?}"),
            };
            assert_eq!(error.kind(), ErrorKind::Decode);
            // Over text a stream has no place by which it could be found again.
            assert!(error.message().contains("taken before") || world.is_text(), "{error}");
            well.gone().await;
            // Read to its end, and then passed on.
            let mut over = library.numbers(well.clone(), 0).await?;
            assert!(over.next().await.is_none());
            let (kind, _) = match library.read(over).await {
                Err(CallError::Rpc(error)) => (error.kind(), ()),
                other => panic!("{other:?}"),
            };
            assert_eq!(kind, ErrorKind::Encode);
        }
        // A sink that was closed.
        let (mut sink, stream) = opendo::pipe::<u64>();
        sink.close().await?;
        assert!(sink.send(1).await.is_err());
        assert!(all(stream).await?.is_empty());
        well.gone().await;
    }

    /// The writer is told as soon as its session has ended, though it has nothing to write.
    async fn a_silent_source_is_let_go_with_its_session(world: &World) {
        let well = Well::new();
        let client = world.dial().connect().await?;
        let mut silence = client.get::<LibraryStub>("a").silence(well.clone()).await?;
        assert!(silence.next().now_or_never().is_none());
        let_others_run().await;
        assert_eq!(well.live(), 1);
        // What is read keeps the client, as stubs do.
        let session = client.session().unwrap();
        drop(client);
        let_others_run().await;
        assert_eq!(well.live(), 1);
        session.close().await;
        well.gone().await;
        let error = silence.next().await.unwrap().unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Aborted | ErrorKind::Closed), "{error}");
    }

    async fn closing_a_session_cuts_its_streams(world: &World) {
        let well = Well::new();
        let client = world.dial().connect().await?;
        let mut numbers = client.get::<LibraryStub>("a").numbers(well.clone(), u64::MAX).await?;
        for number in 0..10 {
            assert_eq!(numbers.next().await.unwrap()?, number);
        }
        let mut held: RpcSink<u64> = client.get::<LibraryStub>("b").sink().await?;
        // What is under way must still be read: each value is a call that waits for its answer.
        let reading = async {
            let mut last = None;
            while let Some(next) = numbers.next().await {
                last = Some(next);
            }
            last
        };
        let (last, ()) = tokio::join!(reading, client.close());
        well.gone().await;
        assert!(last.unwrap().is_err()); // it does not look as if it had come to its end
        // The first value may be on its way before it is known that nobody takes it.
        assert!(held.send(1).await.is_err() || held.close().await.is_err());
        let end = world.get::<LibraryStub>("b").next().await;
        assert_eq!(end?, None);
        world.get::<LibraryStub>("b").forget().await?;
        assert_eq!(failure(client.get::<LibraryStub>("a").next().await).0, ErrorKind::Closed);
    }
}
