//! Makes the connection of a client again whenever it is lost.

use std::sync::{Arc, Weak};
use std::time::Duration;

use backon::ExponentialBackoff;
use tokio::time::{Instant, sleep, sleep_until};

use super::{Dial, Inner, Running};
use crate::rpc::any_core::{AnyCore, Status};
use crate::rpc::backoff::{self, LONGEST};
use crate::rpc::error::{ErrorKind, RpcError};

/// Keeps the client connected, until it is closed or nobody holds it.
pub(super) async fn supervise(client: Weak<Inner>, mut core: Arc<dyn AnyCore>, running: Running) {
    let Some(closing) = client.upgrade().map(|client| client.closing.clone()) else { return };
    tokio::spawn(running);
    let mut pauses = None;
    loop {
        let begun = Instant::now();
        // Also when it only drains: what runs is answered there, new calls go to a new one.
        let mut status = core.life().status();
        let over = status.wait_for(|status| !matches!(status, Status::Open));
        let why = match closing.run_until_cancelled(over).await {
            None => return,
            Some(Ok(status)) => match &*status {
                Status::Ended(error) => error.clone(),
                Status::Open | Status::Draining => {
                    RpcError::new(ErrorKind::Closed, "the node takes no new calls")
                }
            },
            Some(Err(_)) => return,
        };
        let Some((dial, patience)) = client.upgrade().map(|client| {
            client.down(&core, why);
            (client.dial.clone(), client.patience)
        }) else {
            return;
        };
        // A node that hangs up as soon as it is connected to is not there, whatever it says.
        if begun.elapsed() >= STABLE || core.is_one_of_many() {
            pauses = None;
        }
        let redial = redial(&client, &dial, patience, &mut pauses);
        let Some((next, running)) = closing.run_until_cancelled(redial).await else { return };
        core = next;
        // Before anything of the session is read.
        if let Some(client) = client.upgrade() {
            client.own(&*core);
        }
        tokio::spawn(running);
        match client.upgrade() {
            Some(client) => client.up(&core),
            None => core.drain(),
        }
    }
}

/// A session that lived as long was one: after it, the first attempt is made at once again.
const STABLE: Duration = Duration::from_secs(5);

async fn redial(
    client: &Weak<Inner>,
    dial: &Dial,
    patience: Duration,
    pauses: &mut Option<ExponentialBackoff>,
) -> (Arc<dyn AnyCore>, Running) {
    let dialing = async {
        loop {
            match &mut *pauses {
                Some(pauses) => sleep(pauses.next().unwrap_or(LONGEST)).await,
                at_once => *at_once = Some(backoff::pauses(dial.jitter)),
            }
            match dial.dial().await {
                Ok(connected) => return connected,
                Err(error) => {
                    tracing::debug!(%error, "not reconnected yet");
                    if let Some(client) = client.upgrade() {
                        client.still_down(error.into());
                    }
                }
            }
        }
    };
    let impatience = async {
        if let Some(end) = Instant::now().checked_add(patience) {
            sleep_until(end).await;
            if let Some(client) = client.upgrade() {
                client.lose_patience();
            }
        }
        std::future::pending().await
    };
    tokio::select! {
        // A connection that comes in the last moment counts.
        biased;
        connected = dialing => connected,
        never = impatience => never,
    }
}
