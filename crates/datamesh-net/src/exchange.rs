//! The asking end: finds or opens a stream to a peer, sends a request and reads the reply.
//!
//! Streams are kept and used again, so that a small exchange costs one round trip. A kept stream
//! may have been closed by the peer in the meantime. If it turns out so before a byte of the reply
//! was read, the request is sent once more on a fresh stream; every request of the protocol may be
//! served twice, so nothing is lost by that.
//!
//! Dropping the future drops the stream it holds, which resets it: a stream goes back to the kept
//! ones only after its reply was read to the last byte.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use datamesh_core::seam::BODY_BYTES_MAX;
use datamesh_core::{Message, NodeId, TransportError};
use libp2p::Multiaddr;
use libp2p::swarm::Stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit, mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::Limits;
use crate::actor::Command;
use crate::body::Bodies;
use crate::book::{Book, DialPlan};
use crate::frame::{self, FrameError, Lengths};
use crate::patience::Patience;
use crate::peers::{ExchangeStream, Lease, Peer, Peers, permits};
use crate::statistics::Counters;
use crate::throttle::{Throttle, sleep_if_any};

/// What calls and the actor share.
pub(crate) struct Caller {
    pub(crate) limits: Limits,
    pub(crate) peers: Arc<Peers>,
    pub(crate) book: Arc<Book>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) bodies: Arc<Bodies>,
    pub(crate) reply_bytes: Arc<Semaphore>,
    pub(crate) throttle: Arc<Throttle>,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) closing: CancellationToken,
}

/// A request, the most bytes of its reply's body, and how long it may take.
#[derive(Clone, Copy)]
struct Asked<'a> {
    request: &'a Message,
    reply_max: usize,
    patience: &'a Patience,
}

/// How one try on one stream failed.
struct Failed {
    error: FrameError,
    /// Whether any byte of the reply had been read.
    reply_begun: bool,
}

/// Counts a waiting exchange until it is dropped.
struct Waiting<'a>(&'a Peer);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Caller {
    /// One exchange, given up after `deadline` and the time that its bodies may take.
    pub(crate) async fn call(
        &self,
        id: NodeId,
        request: Message,
        reply_max: usize,
        deadline: Duration,
    ) -> Result<Message, TransportError> {
        let peer = self.peers.lease(id);
        let begun = Instant::now();
        let entered = peer.breaker().enter(begun);
        let result = match entered {
            Err(left) => Err(TransportError::Resting { peer: id, left }),
            Ok(()) => tokio::select! {
                () = self.closing.cancelled() => Err(TransportError::Shutdown),
                result = self.exchange_in_turn(&peer, &request, reply_max, deadline) => result,
            },
        };
        match &result {
            Ok(_) => {
                self.counters.calls.add(1);
                peer.breaker().succeeded();
            }
            Err(error) => {
                self.counters.calls_failed.add(1);
                if matches!(error, TransportError::Timeout { .. }) {
                    peer.prefer_next();
                }
                if matches!(error, TransportError::Timeout { .. } | TransportError::Closed { .. }) {
                    peer.breaker().failed(begun, Instant::now());
                }
            }
        }
        result
    }

    /// An exchange once there is a place for it. Whoever waits for that says nothing of the peer: the time
    /// for its answer begins afterwards.
    async fn exchange_in_turn(
        &self,
        peer: &Lease,
        request: &Message,
        reply_max: usize,
        deadline: Duration,
    ) -> Result<Message, TransportError> {
        let turn = timeout(deadline, self.turn(peer)).await;
        let _turn = turn.unwrap_or(Err(TransportError::Busy { peer: peer.id }))?;
        let patience = Patience::new(deadline, self.limits.body_bytes_per_second_min);
        let asked = Asked { request, reply_max, patience: &patience };
        let exchanged = patience.bound(self.exchange(peer, asked)).await;
        exchanged.unwrap_or_else(|after| Err(TransportError::Timeout { peer: peer.id, after }))
    }

    async fn exchange(&self, peer: &Lease, asked: Asked<'_>) -> Result<Message, TransportError> {
        let id = peer.id;
        let lengths = Lengths::of(asked.request).map_err(|error| self.failure(id, error))?;
        hold_back(self.throttle.own_up(lengths.body), asked.patience).await;

        if let Some(kept) = peer.take_idle() {
            match self.attempt(peer, kept, asked).await {
                Ok(reply) => return Ok(reply),
                Err(Failed {
                    error: FrameError::Ended | FrameError::Io(_),
                    reply_begun: false,
                }) => {
                    self.counters.calls_repeated.add(1);
                }
                Err(Failed { error, .. }) => return Err(self.failure(id, error)),
            }
        }
        let fresh = self.open(peer).await?;
        self.attempt(peer, fresh, asked).await.map_err(|failed| self.failure(id, failed.error))
    }

    /// Waits for one of the peer's places.
    async fn turn<'a>(&self, peer: &'a Peer) -> Result<SemaphorePermit<'a>, TransportError> {
        if let Ok(permit) = peer.exchanges.try_acquire() {
            return Ok(permit);
        }
        let waiting = peer.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(peer);
        if waiting >= self.limits.peer_exchanges_waiting_max {
            return Err(TransportError::Busy { peer: peer.id });
        }
        peer.exchanges.acquire().await.map_err(|_| TransportError::Shutdown)
    }

    /// One try. The stream is kept if the reply came whole.
    async fn attempt(
        &self,
        peer: &Peer,
        mut stream: ExchangeStream,
        asked: Asked<'_>,
    ) -> Result<Message, Failed> {
        let Asked { request, patience, .. } = asked;
        let _in_use = stream.usage.begin();
        // The patience with the whole call bounds what is small.
        let never = Duration::MAX;
        let before = |error| Failed { error, reply_begun: false };
        let after = |error| Failed { error, reply_begun: true };
        let lengths = Lengths::of(request).map_err(before)?;
        patience.moves(lengths.body);
        frame::write(&mut stream.stream, request, lengths, patience.step())
            .await
            .map_err(before)?;
        self.counters.bytes_out.add(lengths.total());
        let lengths = match frame::read_lengths(&mut stream.stream, never).await {
            Ok(lengths) => lengths,
            Err(error @ FrameError::Ended) => return Err(before(error)),
            Err(error) => return Err(after(error)),
        };
        let reply = self.read_reply(&mut stream.stream, lengths, asked).await.map_err(after)?;
        self.counters.bytes_in.add(lengths.total());
        peer.put_idle(stream);
        Ok(reply)
    }

    async fn read_reply(
        &self,
        from: &mut Stream,
        lengths: Lengths,
        asked: Asked<'_>,
    ) -> Result<Message, FrameError> {
        let Asked { reply_max, patience, .. } = asked;
        if lengths.body > reply_max {
            return Err(FrameError::TooLarge { length: lengths.body, bound: reply_max });
        }
        let head = frame::read_head(from, lengths.head, Duration::MAX).await?;
        patience.moves(lengths.body);
        // The bytes are on their way already; whoever asks for more of them waits.
        hold_back(self.throttle.own_down(lengths.body), patience).await;
        // Given back when the body is read: from then on it is the caller's to account for.
        let _reserved = self.reserve(lengths.body).await;
        let mut body = self.bodies.take(lengths.body);
        frame::read_full(from, body.as_mut(), patience.step()).await?;
        Ok(Message { head, body: body.into_bytes() })
    }

    async fn reserve(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        if bytes == 0 {
            return None;
        }
        Arc::clone(&self.reply_bytes).acquire_many_owned(permits(bytes)).await.ok()
    }

    /// Opens a stream, dialling first if there is no connection. A connection that turns out dead
    /// is dialled anew once.
    async fn open(&self, peer: &Lease) -> Result<ExchangeStream, TransportError> {
        let mut reason = String::new();
        for _ in 0..2 {
            let (connection, streams, usage) = match peer.opener() {
                Some(opener) => opener,
                None => {
                    self.dial(peer.id).await?;
                    match peer.opener() {
                        Some(opener) => opener,
                        None => {
                            reason = "the connection ended at once".to_owned();
                            continue;
                        }
                    }
                }
            };
            let _in_use = usage.begin();
            let (answer, opened) = oneshot::channel();
            let sent = streams.send(answer).await.is_ok();
            match opened.await {
                Ok(Ok(stream)) => {
                    return Ok(ExchangeStream { stream, connection, usage: Arc::clone(&usage) });
                }
                Ok(Err(why)) => reason = why,
                Err(_) if sent => reason = "the connection ended".to_owned(),
                Err(_) => reason = "the connection is closing".to_owned(),
            }
        }
        Err(TransportError::Closed { peer: peer.id, reason })
    }

    /// Dials a peer by its known addresses, or joins a dial that is under way.
    async fn dial(&self, id: NodeId) -> Result<(), TransportError> {
        let unreachable = |reason| TransportError::Unreachable { peer: id, reason };
        let addresses = match self.book.plan(&id, Instant::now()) {
            DialPlan::Dial(addresses) => addresses,
            DialPlan::Unknown => return Err(unreachable("no address is known".to_owned())),
            DialPlan::Wait { pause, last_error } => {
                let pause = pause.as_millis();
                return Err(unreachable(format!("next dial in {pause} ms, since {last_error}")));
            }
        };
        let (done, dialled) = oneshot::channel();
        let command = Command::Dial { node: id, addresses, done };
        self.commands.send(command).await.map_err(|_| TransportError::Shutdown)?;
        dialled.await.map_err(|_| TransportError::Shutdown)?.map_err(unreachable)
    }

    /// Connects to whoever answers at an address.
    pub(crate) async fn meet(
        &self,
        address: Multiaddr,
        named: Option<NodeId>,
    ) -> Result<NodeId, String> {
        let closing = || "the network is closing".to_owned();
        let (done, met) = oneshot::channel();
        self.commands.send(Command::Meet { address, named, done }).await.map_err(|_| closing())?;
        met.await.map_err(|_| closing())?
    }

    /// Connects to a peer, waiting out pauses between dials, until `deadline` has passed.
    pub(crate) async fn connect(
        &self,
        id: NodeId,
        deadline: Duration,
    ) -> Result<(), TransportError> {
        let give_up = Instant::now() + deadline;
        let mut last = TransportError::Timeout { peer: id, after: deadline };
        loop {
            if self.peers.is_connected(&id) {
                return Ok(());
            }
            if self.closing.is_cancelled() {
                return Err(TransportError::Shutdown);
            }
            let left = give_up.saturating_duration_since(Instant::now());
            match timeout(left, self.dial(id)).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => last = error,
                Err(_) => return Err(last),
            }
            let Some(pause) = self.book.pause(&id, Instant::now()) else { return Err(last) };
            if Instant::now() + pause >= give_up {
                return Err(last);
            }
            sleep(pause).await;
        }
    }

    fn failure(&self, peer: NodeId, error: FrameError) -> TransportError {
        match error {
            FrameError::TooLarge { length, bound } => {
                TransportError::TooLarge { peer, length, bound }
            }
            FrameError::Stalled(after) => TransportError::Timeout { peer, after },
            error @ (FrameError::Ended | FrameError::Io(_)) => {
                TransportError::Closed { peer, reason: error.to_string() }
            }
        }
    }
}

async fn hold_back(wait: Duration, patience: &Patience) {
    patience.held_back(wait);
    sleep_if_any(wait).await;
}

/// Permits for the replies that are being received.
pub(crate) fn reply_budget(limits: &Limits) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(permits(limits.reply_bytes_max.max(BODY_BYTES_MAX)) as usize))
}
