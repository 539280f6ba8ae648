//! A WebSocket client, Tungstenite's, on a connection to the node in memory.

use std::time::{Duration, Instant};

use futures::{FutureExt, SinkExt, StreamExt};
use opendo::prelude::*;
use opendo::testing;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::task::yield_now;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

/// What takes longer hangs.
const HANGS: Duration = Duration::from_secs(300);

pub(crate) struct Peer<S = DuplexStream>(pub(crate) WebSocketStream<S>);

/// Asks for a WebSocket at a path of the node.
pub(crate) async fn ask(
    node: &Node,
    path: &str,
    headers: &[(&'static str, &str)],
) -> Result<(Peer, Response<Option<Vec<u8>>>), (u16, String)> {
    ask_over(testing::web(node), path, headers).await
}

pub(crate) async fn ask_over<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    path: &str,
    headers: &[(&'static str, &str)],
) -> Result<(Peer<S>, Response<Option<Vec<u8>>>), (u16, String)> {
    let mut request = format!("ws://localhost{path}").into_client_request().unwrap();
    for (name, value) in headers {
        let value = HeaderValue::from_str(value).unwrap();
        request.headers_mut().append(HeaderName::from_static(name), value);
    }
    match timeout(HANGS, client_async(request, stream)).await.expect("the handshake hangs") {
        Ok((socket, response)) => Ok((Peer(socket), response)),
        Err(Error::Http(response)) => {
            let body = response.body().clone().unwrap_or_default();
            Err((response.status().as_u16(), String::from_utf8(body).unwrap()))
        }
        Err(error) => panic!("no answer: {error}"),
    }
}

pub(crate) async fn connect(node: &Node, path: &str) -> Peer {
    ask(node, path, &[]).await.unwrap_or_else(|refused| panic!("refused: {refused:?}")).0
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    pub(crate) async fn say(&mut self, text: &str) {
        self.0.send(Message::from(text)).await.unwrap();
    }

    /// What comes next, pings and pongs aside.
    pub(crate) async fn hear(&mut self) -> Message {
        timeout(HANGS, self.next()).await.expect("nothing comes").expect("the connection has ended")
    }

    pub(crate) async fn hear_text(&mut self) -> String {
        match self.hear().await {
            Message::Text(text) => text.to_string(),
            other => panic!("{other:?} came"),
        }
    }

    /// The code and reason of the close frame that comes next, which is answered; 1006 if the connection ends without.
    pub(crate) async fn hear_close(&mut self) -> (u16, String) {
        let next = timeout(HANGS, self.next()).await.expect("nothing comes");
        let _ = self.0.flush().await;
        match next {
            Some(Message::Close(Some(CloseFrame { code, reason }))) => (code.into(), reason.to_string()),
            None => (1006, String::new()),
            other => panic!("{other:?} came"),
        }
    }

    /// Sees that nothing comes, although it had time to.
    pub(crate) async fn hears_nothing(&mut self) {
        let_others_run().await;
        assert_eq!(self.next().now_or_never(), None);
    }

    async fn next(&mut self) -> Option<Message> {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(message)) => return Some(message),
                Some(Err(_)) | None => return None,
            }
        }
    }

    pub(crate) async fn close(&mut self, code: u16, reason: &str) {
        let frame = CloseFrame { code: code.into(), reason: reason.to_owned().into() };
        self.0.close(Some(frame)).await.unwrap();
    }
}

/// Lets everything else run until nothing more can happen without us, near enough.
pub(crate) async fn let_others_run() {
    for _ in 0..500 {
        yield_now().await;
    }
}

/// Asks again until it is so. Not by Tokio's clock, which stands still meanwhile where it is paused.
pub(crate) async fn until<F: Future<Output = bool>>(is_so: impl Fn() -> F) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < Duration::from_secs(30), "it does not come to be so");
        yield_now().await;
    }
}
