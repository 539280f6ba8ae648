//! Streams: many values, in order, at the pace of their reader.

use futures::StreamExt;
use opendo::prelude::*;
use opendo::{ErrorKind, Limits, NodeBuilder, RpcStream};

use super::broker::{Ear, Springs, Trap, listener};
use super::by_name::{ByName, Gate};
use super::errors::failure;
use super::library::{self, LibraryStub, Shelf, State, Well, all};
use super::world::{World, let_others_run, until};

/// Little enough that a slow reader shows at once. Over text its writer is not told how little it is: more than that
/// ends the stream.
const BUFFER: usize = 16 * 1024;

/// The method unwraps the error of its stream.
const UNWRAPPED: (ErrorKind, bool) = (ErrorKind::Reset, true);

fn hosted() -> NodeBuilder {
    library::hosted().limits(Limits { max_stream_buffer: BUFFER, ..Limits::default() })
}

every_way! {
    async fn a_stream_is_an_argument_and_a_result_of_any_length(world: &World) {
        let library: LibraryStub = world.get("a");
        let well = Well::new();
        for count in [0, 1, 2, 100, 10_000] {
            let expected: Vec<_> = (0..count).collect();
            assert_eq!(library.read(well.numbers(count)).await.unwrap(), expected);
            assert_eq!(all(library.numbers(well.clone(), count).await?).await?, expected);
        }
        well.gone().await;
        assert_eq!(well.drawn(), 20_206);
    }

    async fn streams_nest_in_anything_and_are_read_in_any_order(world: &World) {
        let library: LibraryStub = world.get("a");
        let well = Well::new();
        let shelf = library.shelf(well.clone(), Springs::Never).await?;
        assert_eq!(shelf.rest.len(), 3);
        // What was not read here is read there.
        let (first, second, rest) = library.read_shelf(shelf).await?;
        assert_eq!((first, second.concat().as_str(), rest), ((0..10).collect(), "ab", 8));
        // Some of it is read, some dropped unread.
        let Shelf { mut first, second, .. } = library.shelf(well.clone(), Springs::Never).await?;
        drop(second);
        assert_eq!(first.next().await.unwrap()?, 0);
        drop(first);
        well.gone().await;
    }

    async fn streams_carry_stubs(world: &World) {
        let library: LibraryStub = world.get("a");
        let (target, ear) = listener();
        let listeners = RpcStream::from_iter(vec![target; 100]);
        assert_eq!(library.call_each(listeners).await?, 100);
        ear.gone().await;
        let there = Ear::new();
        let made = library.listeners(there.clone(), 50).await?;
        assert_eq!(library.call_each(made).await?, 50);
        for (at, made) in (0..).zip(all(library.listeners(there.clone(), 50).await?).await?) {
            assert_eq!(made.hear(at).await?, at + 1);
        }
        there.gone().await;
        assert_eq!((ear.heard().len(), there.heard().len()), (100, 100));
        // Some arrive, and nobody ever looks at them.
        let mut made = library.listeners(there.clone(), 50).await?;
        assert_eq!(made.next().await.unwrap()?.hear(7).await?, 8);
        let_others_run().await;
        drop(made);
        there.gone().await;
    }

    async fn streams_carry_streams(world: &World) {
        let library: LibraryStub = world.get("a");
        let well = Well::new();
        let streams: Vec<_> = (0..20).map(|count| well.numbers(count)).collect();
        let read = library.read_each(RpcStream::from_iter(streams)).await?;
        let expected: Vec<Vec<u64>> = (0..20).map(|count| (0..count).collect()).collect();
        assert_eq!(read, expected);
        // Through two pipes, over there and back.
        let streams: Vec<_> = (0..3).map(|_| well.numbers(3)).collect();
        let (mut sink, outer) = opendo::pipe();
        let reading = library.read_each(outer);
        let other: LibraryStub = world.get("b");
        for stream in streams {
            sink.send(other.echo(stream).await?).await?;
        }
        sink.close().await?;
        assert_eq!(reading.await?, vec![vec![0, 1, 2]; 3]);
        well.gone().await;
    }

    async fn an_error_of_the_source_ends_the_stream_after_what_came_before_it(world: &World) {
        let library: LibraryStub = world.get("a");
        let well = Well::new();
        let mut faulty = library.faulty(well.clone(), 3).await?;
        for number in 0..3 {
            assert_eq!(faulty.next().await.unwrap()?, number);
        }
        let error = faulty.next().await.unwrap().unwrap_err();
        assert_eq!((error.kind(), error.message()), (opendo::ErrorKind::Aborted, "the well is dry"));
        assert!(faulty.next().await.is_none());
        // There as here.
        let source = futures::stream::iter([Ok(1), Err("dry as well"), Ok(2)]);
        let error = library.read(RpcStream::try_from_stream(source)).await.unwrap_err();
        assert!(error.to_string().contains("dry as well"), "{error}");
        // Passed on once more.
        let faulty = library.faulty(well.clone(), 3).await?;
        let error = library.read(faulty).await.unwrap_err();
        assert!(error.to_string().contains("the well is dry"), "{error}");
        well.gone().await;
    }

    async fn a_value_that_cannot_be_encoded_ends_its_stream(world: &World) {
        let library: LibraryStub = world.get("a");
        let mut traps = library.traps(2).await?;
        assert_eq!((traps.next().await.unwrap()?, traps.next().await.unwrap()?), (Trap(Springs::Never), Trap(Springs::Never)));
        let last = traps.next().await.unwrap();
        if world.is_remote() {
            let error = last.unwrap_err();
            assert!(error.message().contains("a value of a stream"), "{error}");
        } else {
            assert_eq!(last?, Trap(Springs::Refuses)); // it moves
        }
        assert!(traps.next().await.is_none());
    }

    async fn a_reader_that_stops_stops_the_source(world: &World) {
        let library: LibraryStub = world.get("a");
        let well = Well::new();
        assert_eq!(library.take(well.numbers(u64::MAX), 3).await?, [0, 1, 2]);
        well.gone().await;
        let mut numbers = library.numbers(well.clone(), u64::MAX).await?;
        for number in 0..1_000 {
            assert_eq!(numbers.next().await.unwrap()?, number);
        }
        drop(numbers);
        well.gone().await;
        // One that was never looked at.
        drop(library.numbers(well.clone(), u64::MAX).await?);
        library.take(well.numbers(u64::MAX), 0).await?;
        well.gone().await;
    }

    async fn a_stream_that_nobody_takes_is_let_go(world: &World) {
        let library: LibraryStub = world.get("a");
        let (well, gate) = (Well::new(), Gate::new());
        let busy = library.read_later(well.numbers(0), gate.clone());
        gate.reached().await;
        drop(library.read(well.numbers(u64::MAX))); // it will not run
        drop(library.numbers(well.clone(), u64::MAX)); // nor will this
        world.get::<LibraryStub>("barrier").forget().await?;
        gate.open();
        busy.await?;
        Call::detach(library.numbers(well.clone(), u64::MAX)); // nobody gets it
        library.forget().await?;
        well.gone().await;
    }

    async fn a_slow_reader_bounds_what_is_drawn(world: &World) {
        let library: LibraryStub = world.get("a");
        let (well, gate) = (Well::new(), Gate::new());
        let reading = library.read_later(well.numbers(10_000), gate.clone());
        gate.reached().await;
        let_others_run().await;
        library_is_there(world).await?;
        if world.is_text() {
            gate.open();
            assert_eq!(failure(reading.await), UNWRAPPED);
            well.gone().await;
            let limits = Limits { max_stream_buffer: BUFFER, ..Limits::default() };
            let client = world.dial().limits(limits).connect().await?;
            let mut numbers = client.get::<LibraryStub>("a").numbers(well.clone(), 10_000).await?;
            library_is_there(world).await?;
            let mut read = 0;
            let error = loop {
                match numbers.next().await.expect("it does not look as if it had come to its end") {
                    Ok(number) => assert_eq!(number, std::mem::replace(&mut read, number + 1)),
                    Err(error) => break error,
                }
            };
            assert_eq!(error.kind(), ErrorKind::Overloaded);
            assert!(read <= 2 * BUFFER as u64 / 33, "{read}");
            well.gone().await;
            client.close().await;
            return Ok(());
        }
        // Each value counts as itself and 32 bytes around it.
        let most = BUFFER / 33 + 1;
        assert!(well.drawn() <= most, "{} and not {most}", well.drawn());
        assert_eq!(well.drawn() > 0, world.is_remote());
        gate.open();
        assert_eq!(reading.await?, 10_000);
        well.gone().await;
        // The other way round, the client's bounds count, and every value that is read lets one more come.
        let limits = Limits { max_stream_buffer: BUFFER, ..Limits::default() };
        let client = world.dial().limits(limits).connect().await?;
        let well = Well::new();
        let mut numbers = client.get::<LibraryStub>("a").numbers(well.clone(), 10_000).await?;
        for number in 0..5_000 {
            assert_eq!(numbers.next().await.unwrap()?, number);
            assert!(well.drawn() <= usize::try_from(number).unwrap() + most + 1);
        }
        drop(numbers);
        well.gone().await;
        client.close().await;
    }

    async fn of_a_state_the_newest_counts(world: &World) {
        let library: LibraryStub = world.get("a");
        let state = ByName::<State>::new();
        let mut states = library.states(state.clone()).await?;
        assert_eq!(states.next().await.unwrap()?, 0);
        let mut seen = Vec::new();
        for hundred in 1..=10 {
            for step in 1..=100 {
                state.0.send_replace((hundred - 1) * 100 + step);
            }
            let_others_run().await;
        }
        while seen.last() != Some(&1_000) {
            seen.push(states.next().await.unwrap()?);
        }
        // One may have been on its way, and one more behind it.
        assert!(seen.len() <= 3 && seen.is_sorted(), "{seen:?}");
        state.0.send_replace(1_001);
        assert_eq!(states.next().await.unwrap()?, 1_001);
        drop(states);
        // It is noticed by what is written next.
        let unwatched = || {
            state.0.send_modify(|state| *state += 1);
            state.0.receiver_count() == 0
        };
        until("nobody watches", unwatched).await;
    }

    async fn large_values_pass_although_each_is_more_than_may_wait(world: &World) {
        let library: LibraryStub = world.get("a");
        let large = RpcStream::from_iter((0..8).map(|_| vec![7_u8; 1 << 17]));
        let weighed = library.weigh(large).await;
        if world.is_text() {
            assert_eq!(failure(weighed), UNWRAPPED);
        } else {
            assert_eq!(weighed?, 8 << 17);
        }
    }

    async fn two_streams_in_one_message_do_not_wait_for_each_other(world: &World) {
        let library: LibraryStub = world.get("a");
        let well = Well::new();
        let shelf = Shelf {
            first: well.numbers(5_000),
            second: None,
            // Read before the first one, which is full long before.
            rest: vec![(0, Some(well.numbers(5_000)))],
            trap: Trap(Springs::Never),
        };
        let read = library.read_shelf(shelf).await;
        if world.is_text() {
            assert_eq!(failure(read), UNWRAPPED);
        } else {
            let (first, _, rest) = read?;
            assert_eq!((first.len(), rest), (5_000, 5_000 * 4_999 / 2));
        }
        well.gone().await;
    }

    async fn a_stream_that_was_kept_is_read_by_later_calls(world: &World) {
        let library: LibraryStub = world.get("a");
        let well = Well::new();
        library.keep(well.numbers(u64::MAX)).await?;
        for number in 0..100 {
            assert_eq!(library.next().await?, Some(number));
        }
        library.forget().await?;
        well.gone().await;
        assert_eq!(library.next().await?, None);
    }

    async fn a_stream_whose_message_fails_is_let_go(world: &World) {
        if !world.is_remote() {
            return Ok(()); // nothing is encoded
        }
        let library: LibraryStub = world.get("a");
        let well = Well::new();
        for springs in [Springs::Refuses, Springs::Panics] {
            let error = library.shelf(well.clone(), springs).await.unwrap_err();
            assert!(error.to_string().contains("the result"), "{error}");
            well.gone().await;
            let shelf = Shelf { first: well.numbers(9), second: None, rest: Vec::new(), trap: Trap(springs) };
            assert!(library.read_shelf(shelf).await.is_err());
            well.gone().await;
        }
        assert_eq!(well.drawn(), 0);
    }

    async fn a_stream_comes_home_and_goes_out_again(world: &World) {
        let library: LibraryStub = world.get("a");
        let well = Well::new();
        let mut numbers = well.numbers(2_000);
        for round in 0..10 {
            assert_eq!(numbers.next().await.unwrap()?, 3 * round);
            numbers = library.behead(numbers).await?;
            numbers = library.echo(numbers).await?;
            assert_eq!(numbers.next().await.unwrap()?, 3 * round + 2);
            // Another type of stream each time.
            numbers = RpcStream::try_from_stream(numbers);
        }
        assert_eq!(library.read(numbers).await.unwrap().len(), 2_000 - 30);
        well.gone().await;
    }
}

/// Everything sent so far has arrived.
async fn library_is_there(world: &World) -> opendo::Result<()> {
    world.get::<LibraryStub>("barrier").forget().await?;
    let_others_run().await;
    Ok(())
}
