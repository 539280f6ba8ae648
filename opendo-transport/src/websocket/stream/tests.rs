use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::*;

#[derive(Debug, Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn client(room: usize) -> (FrameStream<DuplexStream>, DuplexStream) {
    let (ours, theirs) = duplex(room);
    (FrameStream::new(ours, Role::Client, 1000, BytesMut::new()), theirs)
}

fn next(stream: &mut FrameStream<DuplexStream>) -> Poll<Option<Result<Frame, Error>>> {
    stream.poll_next(&mut Context::from_waker(Waker::noop()))
}

const TEXT: [u8; 4] = [0x81, 2, b'o', b'k'];

#[tokio::test]
async fn between_messages_nothing_is_held() {
    let (mut stream, mut server) = client(64 * 1024);
    server.write_all(&TEXT.repeat(1000)).await.unwrap();
    for _ in 0..1000 {
        assert!(matches!(next(&mut stream), Poll::Ready(Some(Ok(Frame::Text(text)))) if text == "ok"));
        stream.start_send(Data::Text, b"a message").unwrap();
    }
    assert!(next(&mut stream).is_pending());
    let flushed = stream.poll_flush(Half::Writer, &mut Context::from_waker(Waker::noop()));
    assert!(matches!(flushed, Poll::Ready(Ok(()))));
    assert_eq!((stream.rest.capacity(), stream.out.capacity()), (0, 0));
}

#[tokio::test]
async fn a_peer_that_asks_and_does_not_listen_is_not_answered_without_end() {
    let (mut stream, mut server) = client(1000);
    for _ in 0..5_000 {
        // With 125 bytes each.
        server.write_all(&[&[0x89, 125][..], &[7; 125]].concat()).await.unwrap();
        assert!(matches!(next(&mut stream), Poll::Ready(Some(Ok(Frame::Ping(_))))));
        assert!(next(&mut stream).is_pending());
    }
    assert!(stream.out.len() <= GATHERED + 200, "{}", stream.out.len());
}

#[tokio::test]
async fn whoever_waits_to_write_is_woken_whoever_asked_last() {
    for reader_first in [true, false] {
        let (mut stream, mut server) = client(16);
        let counts = [Arc::new(Count::default()), Arc::new(Count::default())];
        let wakers = counts.clone().map(Waker::from);
        let halves = [Half::Reader, Half::Writer];
        stream.start_send(Data::Text, &[b'x'; 100]).unwrap();
        for turn in if reader_first { [0, 1] } else { [1, 0] } {
            assert!(stream.poll_flush(halves[turn], &mut Context::from_waker(&wakers[turn])).is_pending());
        }
        server.read_exact(&mut [0; 16]).await.unwrap();
        assert!(counts.iter().all(|count| count.0.load(Ordering::Relaxed) > 0), "{counts:?}");
    }
}
