use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use opendo_transport::socket::Listener;
use opendo_transport::{Peer, TransportError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::PATIENCE;

/// How long a listener that ran out of file descriptors waits for others to be closed.
const PAUSE_WHEN_EXHAUSTED: Duration = Duration::from_millis(100);

/// Serves HTTP/1.1 on `listener` until `closing`, at most `max_connections` at a time; then lets requests that have begun
/// come to their end. WebSockets do not count any more once they are open: their sessions do.
pub(crate) async fn serve(
    mut listener: Listener,
    router: Router,
    max_connections: usize,
    closing: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(max_connections));
    let connections = TaskTracker::new();
    loop {
        let next = async {
            let accepted = listener.accept().await;
            // After that, so that a listener that waits holds no place. Never closed.
            (places.clone().acquire_owned().await.ok(), accepted)
        };
        let Some((place, accepted)) = closing.run_until_cancelled(next).await else { break };
        match accepted {
            Ok(socket) => {
                let peer = socket.peer().clone();
                let connection = serve_one(socket, peer, router.clone(), closing.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(error @ TransportError::Exhausted { .. }) => {
                tracing::warn!(%error, "cannot accept for now");
                sleep(PAUSE_WHEN_EXHAUSTED).await;
            }
            Err(error) => {
                tracing::error!(%error, address = %listener.address(), "no longer listening");
                break;
            }
        }
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// Serves one connection.
pub(crate) async fn serve_one(
    socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    router: Router,
    closing: CancellationToken,
) {
    let router = router.layer(Extension(peer));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(socket), TowerToHyperService::new(router))
        .with_upgrades();
    let mut connection = pin!(connection);
    let ended = match closing.run_until_cancelled(connection.as_mut()).await {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an HTTP connection ended early");
    }
}
