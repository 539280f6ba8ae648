//! An in-memory network that can be cut at any byte.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opendo_transport::{ByteStream, Connection, Peer, TransportError, kind};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::client::{Client, ClientBuilder};
use crate::node::{Node, transport_limits};
use crate::rpc::limits::Limits;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the node.
    ToNode,
    /// From the node to the client.
    ToClient,
}

/// The way between clients and one node: bytes in memory, framed as on a socket, with faults on demand.
///
/// On a current-thread runtime with a paused clock, the same program sees the same in each run: nothing is left to
/// chance, also not the pauses after which its clients connect again.
///
/// Clones are the same network. See [the module](crate::testing) for an example.
#[derive(Clone)]
pub struct Network(Arc<Inner>);

struct Inner {
    node: Node,
    plan: Mutex<Plan>,
    to_node: AtomicU64,
    to_client: AtomicU64,
    connections: AtomicU64,
}

#[derive(Default)]
struct Plan {
    /// Cuts the connection that carries this byte: counted from its beginning.
    cut_to_node: Option<u64>,
    cut_to_client: Option<u64>,
    delay: Duration,
    pace: Option<(usize, Duration)>,
    half_open: bool,
    refuse: bool,
    /// Cuts every connection there is.
    cut: CancellationToken,
}

impl Network {
    /// A network that leads to `node`.
    pub fn new(node: &Node) -> Self {
        Self(Arc::new(Inner {
            node: node.clone(),
            plan: Mutex::default(),
            to_node: AtomicU64::new(0),
            to_client: AtomicU64::new(0),
            connections: AtomicU64::new(0),
        }))
    }

    /// A client of the node, over this network.
    pub fn client(&self) -> ClientBuilder {
        Client::builder(ADDRESS).over_network(self.clone())
    }

    /// A client of the node that hosts the objects of `host` for it: see [`Node::client`].
    pub fn client_of(&self, host: &Node) -> ClientBuilder {
        host.client(ADDRESS).over_network(self.clone())
    }

    /// One connection to the node, which serves it: for peers of one's own making.
    ///
    /// # Errors
    /// While the network [refuses](Self::refuse).
    pub fn connect(&self) -> Result<Connection<kind::Bytes>, TransportError> {
        let (near, far) = self.connect_bytes()?;
        let node = self.0.node.clone();
        tokio::spawn(async move { node.serve_connection(stream(far, node.limits())).await });
        Ok(stream(near, self.0.node.limits()))
    }

    /// One connection to the node as a raw stream of bytes: for peers that do not keep to the protocol.
    ///
    /// # Errors
    /// While the network [refuses](Self::refuse).
    pub fn connect_raw(&self) -> Result<DuplexStream, TransportError> {
        let (near, far) = self.connect_bytes()?;
        let node = self.0.node.clone();
        tokio::spawn(async move { node.serve_connection(stream(far, node.limits())).await });
        Ok(near)
    }

    fn connect_bytes(&self) -> Result<(DuplexStream, DuplexStream), TransportError> {
        let cut = {
            let plan = self.0.plan.lock();
            if plan.refuse {
                return Err(TransportError::NotFound { address: "the network".into() });
            }
            plan.cut.child_token()
        };
        self.0.connections.fetch_add(1, Ordering::Relaxed);
        let (client, client_side) = duplex(BUFFER);
        let (node_side, node) = duplex(BUFFER);
        let (from_client, to_client) = split(client_side);
        let (from_node, to_node) = split(node_side);
        let network = self.clone();
        tokio::spawn(async move {
            let there = network.carry(Direction::ToNode, from_client, to_node, &cut);
            let back = network.carry(Direction::ToClient, from_node, to_client, &cut);
            // The ends are dropped together: a cut is seen by both sides.
            tokio::join!(there, back);
        });
        Ok((client, node))
    }

    /// Cuts all connections now. The next ones work.
    pub fn cut(&self) {
        std::mem::take(&mut self.0.plan.lock().cut).cancel();
    }

    /// Cuts the first connection on which `bytes` bytes have gone in that direction, after exactly that many. Once.
    pub fn cut_after(&self, direction: Direction, bytes: u64) {
        *self.0.plan.lock().cut_at(direction) = Some(bytes);
    }

    /// Whether the plan to cut has been carried out, or there was none.
    pub fn has_cut(&self) -> bool {
        let plan = self.0.plan.lock();
        plan.cut_to_node.is_none() && plan.cut_to_client.is_none()
    }

    /// Delays each piece of data by that much, in both directions.
    pub fn delay(&self, delay: Duration) {
        self.0.plan.lock().delay = delay;
    }

    /// Carries at most so many bytes in that time, in each direction: a slow way, or a slow reader at its end.
    pub fn pace(&self, bytes: usize, per: Duration) {
        self.0.plan.lock().pace = Some((bytes.clamp(1, BUFFER), per));
    }

    /// Carries as fast as can be again: no delay, no pace.
    pub fn hurry(&self) {
        let mut plan = self.0.plan.lock();
        (plan.delay, plan.pace) = (Duration::ZERO, None);
    }

    /// Loses everything from now on, on all connections, without ending them: the peer is gone and nobody says so.
    pub fn half_open(&self, lost: bool) {
        self.0.plan.lock().half_open = lost;
    }

    /// Refuses new connections from now on, or no longer.
    pub fn refuse(&self, refuse: bool) {
        self.0.plan.lock().refuse = refuse;
    }

    /// How many bytes have gone in that direction, over all connections.
    pub fn bytes(&self, direction: Direction) -> u64 {
        self.counter(direction).load(Ordering::Relaxed)
    }

    /// How many connections were made.
    pub fn connections(&self) -> u64 {
        self.0.connections.load(Ordering::Relaxed)
    }

    fn counter(&self, direction: Direction) -> &AtomicU64 {
        match direction {
            Direction::ToNode => &self.0.to_node,
            Direction::ToClient => &self.0.to_client,
        }
    }

    /// Carries one direction until its source ends, or the connection is cut.
    async fn carry(
        &self,
        direction: Direction,
        mut from: ReadHalf<DuplexStream>,
        mut to: WriteHalf<DuplexStream>,
        cut: &CancellationToken,
    ) {
        let mut carried = 0_u64;
        let mut buffer = vec![0; BUFFER];
        let carrying = async {
            loop {
                let most = self.0.plan.lock().pace.map_or(BUFFER, |(bytes, _)| bytes);
                let Ok(count @ 1..) = from.read(&mut buffer[..most]).await else { break };
                let (delay, half_open) = {
                    let plan = self.0.plan.lock();
                    (plan.delay + plan.pace.map_or(Duration::ZERO, |(_, per)| per), plan.half_open)
                };
                if !delay.is_zero() {
                    sleep(delay).await;
                }
                if half_open {
                    continue;
                }
                let allowed = self.0.plan.lock().allow(direction, carried, count as u64);
                let piece = &buffer[..usize::try_from(allowed).unwrap_or(count).min(count)];
                if to.write_all(piece).await.is_err() {
                    break;
                }
                carried += piece.len() as u64;
                self.counter(direction).fetch_add(piece.len() as u64, Ordering::Relaxed);
                if piece.len() < count || allowed < count as u64 {
                    cut.cancel();
                    return; // what is read next must not pass
                }
            }
            // An end in order: the other direction goes on.
            let _ = to.shutdown().await;
        };
        cut.run_until_cancelled(carrying).await;
    }
}

impl Plan {
    fn cut_at(&mut self, direction: Direction) -> &mut Option<u64> {
        match direction {
            Direction::ToNode => &mut self.cut_to_node,
            Direction::ToClient => &mut self.cut_to_client,
        }
    }

    /// How many of `count` bytes may pass after `carried` ones; fewer carries out the planned cut.
    fn allow(&mut self, direction: Direction, carried: u64, count: u64) -> u64 {
        match self.cut_at(direction) {
            Some(at) if carried + count > *at => {
                let allowed = at.saturating_sub(carried);
                *self.cut_at(direction) = None;
                allowed
            }
            _ => count,
        }
    }
}

/// The connections are made by the network: nobody listens there.
const ADDRESS: &str = "memory:network";

/// Small enough that a conversation takes several pieces.
const BUFFER: usize = 8 * 1024;

fn stream(end: DuplexStream, limits: &Limits) -> Connection<kind::Bytes> {
    let (read, write) = split(end);
    let peer = Peer::local("test", "network");
    Connection::new(ByteStream::new(read, write, peer, &transport_limits(limits)))
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").field("connections", &self.connections()).finish_non_exhaustive()
    }
}
