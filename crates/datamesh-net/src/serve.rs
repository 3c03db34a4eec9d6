//! The answering end: reads requests from inbound streams and writes the service's replies.
//!
//! Each stream is a task that serves one request after the other. What a stranger can make us hold
//! is bounded: streams by number; request bodies by the service, which judges the head before the
//! body is read, and by bytes; reply bodies by bytes that are set aside before the service is
//! asked; and time by a stall limit on each step, a least rate for each body, and a bucket for what
//! a peer may cause.

use std::sync::Arc;
use std::time::Duration;

use datamesh_core::seam::BODY_BYTES_MAX;
use datamesh_core::{Message, Service};
use libp2p::swarm::Stream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Limits;
use crate::body::Bodies;
use crate::budget::{Budget, Held};
use crate::frame::{self, FrameError, Lengths};
use crate::peers::{Peer, Usage, permits};
use crate::statistics::Counters;
use crate::throttle::{Throttle, UsedUp, sleep_if_any};

/// Everything inbound streams share.
pub(crate) struct Server {
    service: Arc<dyn Service>,
    limits: Limits,
    counters: Arc<Counters>,
    bodies: Arc<Bodies>,
    throttle: Arc<Throttle>,
    /// Request bodies of all peers, in [`permits`].
    request_bytes: Budget,
    /// Bodies of the replies to them, in [`permits`].
    served_bytes: Budget,
    streams: Budget,
    tasks: TaskTracker,
    /// No further request is read.
    closing: CancellationToken,
    /// Requests that still run are given up.
    abandon: CancellationToken,
}

/// Why a stream ended other than by its peer closing it.
#[derive(Debug, thiserror::Error)]
enum ServeError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("no memory for a body within {} ms", .0.as_millis())]
    Memory(Duration),
    #[error("{bytes} bytes of a body did not move within {} ms", .limit.as_millis())]
    Slow { bytes: usize, limit: Duration },
    #[error("the service answered with {length} bytes where it announced at most {reply_max}")]
    Unannounced { length: usize, reply_max: usize },
    #[error("the connection ended")]
    Gone,
    #[error("the service took longer than {} ms", .0.as_millis())]
    Service(Duration),
    #[error("the network shuts down")]
    Shutdown,
    #[error(transparent)]
    UsedUp(#[from] UsedUp),
}

/// What a [`Server`] is made of.
pub(crate) struct ServerParts {
    pub(crate) service: Arc<dyn Service>,
    pub(crate) limits: Limits,
    pub(crate) counters: Arc<Counters>,
    pub(crate) bodies: Arc<Bodies>,
    pub(crate) throttle: Arc<Throttle>,
    pub(crate) tasks: TaskTracker,
    /// No further request is read.
    pub(crate) closing: CancellationToken,
    /// Requests that still run are given up.
    pub(crate) abandon: CancellationToken,
}

impl Server {
    pub(crate) fn new(parts: ServerParts) -> Self {
        let ServerParts { service, limits, counters, bodies, throttle, .. } = parts;
        let ServerParts { tasks, closing, abandon, .. } = parts;
        let bytes = |max: usize| {
            let (count, least) = (permits(max.max(BODY_BYTES_MAX)), permits(BODY_BYTES_MAX));
            Budget::new(count as usize, least as usize)
        };
        Self {
            service,
            counters,
            bodies,
            throttle,
            request_bytes: bytes(limits.request_bytes_max),
            served_bytes: bytes(limits.served_bytes_max),
            streams: Budget::new(limits.inbound_streams_max, 1),
            limits,
            tasks,
            closing,
            abandon,
        }
    }

    /// Serves `stream` in a task of its own until its connection is `gone`, or resets it if there
    /// are too many.
    pub(crate) fn accept(
        self: &Arc<Self>,
        peer: &Arc<Peer>,
        stream: Stream,
        usage: Arc<Usage>,
        gone: CancellationToken,
    ) {
        let is_known = self.service.knows(peer.id);
        let place = self.streams.try_take(&peer.inbound_streams, is_known, 1);
        let (Some(place), false) = (place, self.closing.is_cancelled()) else {
            self.counters.streams_refused.add(1);
            return;
        };
        let (server, peer) = (Arc::clone(self), Arc::clone(peer));
        self.tasks.spawn(async move {
            let ended = server.serve_stream(&peer, stream, &usage, &gone).await;
            if let Err(error) = ended {
                server.counters.serves_failed.add(1);
                tracing::debug!(peer = %peer.id, %error, "inbound stream ended");
            }
            drop(place);
        });
    }

    async fn serve_stream(
        &self,
        peer: &Peer,
        mut stream: Stream,
        usage: &Arc<Usage>,
        gone: &CancellationToken,
    ) -> Result<(), ServeError> {
        let mut patience = self.limits.stream_unused_timeout;
        loop {
            let next = frame::read_lengths(&mut stream, self.limits.stall_timeout);
            let lengths = tokio::select! {
                () = self.closing.cancelled() => return Ok(()),
                () = gone.cancelled() => return Ok(()),
                next = timeout(patience.min(self.limits.stream_idle_timeout), next) => match next {
                    Err(_) | Ok(Err(FrameError::Ended)) => return Ok(()),
                    Ok(lengths) => lengths?,
                },
            };
            patience = Duration::MAX;
            let _in_use = usage.begin();
            tokio::select! {
                () = self.abandon.cancelled() => return Err(ServeError::Shutdown),
                served = self.serve_one(peer, &mut stream, lengths, gone) => served?,
            }
            self.counters.served.add(1);
        }
    }

    async fn serve_one(
        &self,
        peer: &Peer,
        stream: &mut Stream,
        lengths: Lengths,
        gone: &CancellationToken,
    ) -> Result<(), ServeError> {
        let received = unless(gone, self.receive(peer, stream, lengths)).await??;
        let Admitted { request, _request_held, mut reply_held, reply_max } = match received {
            Received::Admitted(admitted) => admitted,
            Received::Refused(refusal) => {
                return unless(gone, self.refuse(peer, stream, lengths.body, &refusal)).await?;
            }
        };
        // Not given up when the connection is: what the service holds would no longer be counted.
        let limit = self.limits.serve_timeout;
        let reply = timeout(limit, self.service.serve(peer.id, request))
            .await
            .map_err(|_| ServeError::Service(limit))?;
        let length = Lengths::of(&reply)?.body;
        if length > reply_max {
            return Err(ServeError::Unannounced { length, reply_max });
        }
        if let Some(held) = &mut reply_held {
            held.shrink_to(permits(length));
        }
        unless(gone, self.send(peer, stream, &reply)).await?
    }

    /// Reads a request. Nothing is set aside for its body before the service has admitted it.
    async fn receive(
        &self,
        peer: &Peer,
        stream: &mut Stream,
        lengths: Lengths,
    ) -> Result<Received, ServeError> {
        let stall = self.limits.stall_timeout;
        sleep_if_any(peer.charge(1, lengths.without_body().total())).await;
        let head = frame::read_head(stream, lengths.head, stall).await?;
        let reply_max = match self.service.admit(peer.id, &head, lengths.body) {
            Ok(reply_max) => reply_max,
            Err(refusal) => return Ok(Received::Refused(refusal)),
        };
        let is_known = self.service.knows(peer.id);
        sleep_if_any(peer.charge(0, lengths.body as u64)).await;
        if let Err(used_up) = self.throttle.down(lengths.body).await {
            let busy = self.service.busy().ok_or(used_up)?;
            return Ok(Received::Refused(busy));
        }
        // Held until the reply is sent, so that bodies in the service's hands count too.
        let (budget, share) = (&self.request_bytes, &peer.request_bytes);
        let _request_held = self.reserve(budget, share, is_known, lengths.body).await?;
        let mut body = self.bodies.take(lengths.body);
        let read = frame::read_full(stream, body.as_mut(), stall);
        self.within_rate(lengths.body, read).await?;
        self.counters.bytes_in.add(lengths.total());
        let (budget, share) = (&self.served_bytes, &peer.served_bytes);
        let reply_held = self.reserve(budget, share, is_known, reply_max).await?;
        let request = Message { head, body: body.into_bytes() };
        Ok(Received::Admitted(Admitted { request, _request_held, reply_held, reply_max }))
    }

    async fn send(
        &self,
        peer: &Peer,
        stream: &mut Stream,
        reply: &Message,
    ) -> Result<(), ServeError> {
        let mut lengths = Lengths::of(reply)?;
        let busy;
        let mut reply = reply;
        if let Err(used_up) = self.throttle.up(lengths.body).await {
            busy = self.service.busy().ok_or(used_up)?;
            reply = &busy;
            lengths = Lengths::of(reply)?;
        }
        let written = frame::write(stream, reply, lengths, self.limits.stall_timeout);
        self.within_rate(lengths.body, written).await?;
        self.counters.bytes_out.add(lengths.total());
        // Replies are paid for afterwards: the debt delays the peer's next request.
        peer.charge(0, lengths.total());
        Ok(())
    }

    /// Sends `refusal` to a request of which `body` bytes have not been read.
    async fn refuse(
        &self,
        peer: &Peer,
        stream: &mut Stream,
        body: usize,
        refusal: &Message,
    ) -> Result<(), ServeError> {
        self.send(peer, stream, refusal).await?;
        if body == 0 {
            return Ok(());
        }
        // The peer reads the refusal only after it has sent the body, so that has to go somewhere.
        // The stream stays in step: closing it here would leave the peer with one that takes no
        // more and does not say so.
        peer.charge(0, body as u64);
        self.within_rate(body, frame::discard(stream, body)).await
    }

    /// Waits until `bytes` of a body may be held.
    async fn reserve(
        &self,
        budget: &Budget,
        of_peer: &Arc<Semaphore>,
        is_known: bool,
        bytes: usize,
    ) -> Result<Option<Held>, ServeError> {
        if bytes == 0 {
            return Ok(None);
        }
        let limit = self.limits.serve_timeout;
        let count = permits(bytes.min(BODY_BYTES_MAX));
        match timeout(limit, budget.take(of_peer, is_known, count)).await {
            Ok(Some(held)) => Ok(Some(held)),
            Ok(None) => Err(ServeError::Shutdown),
            Err(_) => Err(ServeError::Memory(limit)),
        }
    }

    /// Gives `bytes` of a body the time in which a peer must move them.
    async fn within_rate(
        &self,
        bytes: usize,
        moved: impl Future<Output = Result<(), FrameError>>,
    ) -> Result<(), ServeError> {
        let rate = self.limits.body_bytes_per_second_min.max(1);
        let share = Duration::from_secs_f64(bytes as f64 / rate as f64);
        let limit = self.limits.stall_timeout.saturating_add(share);
        let moved = timeout(limit, moved).await.map_err(|_| ServeError::Slow { bytes, limit })?;
        Ok(moved?)
    }
}

/// What came of a request that was read.
enum Received {
    Admitted(Admitted),
    /// The service does not want it, and its body was not read.
    Refused(Message),
}

/// A request that was read whole, and the memory set aside for it and its reply.
struct Admitted {
    request: Message,
    _request_held: Option<Held>,
    reply_held: Option<Held>,
    reply_max: usize,
}

/// Waits for `work`, or for the end of its connection.
async fn unless<T>(
    gone: &CancellationToken,
    work: impl Future<Output = T>,
) -> Result<T, ServeError> {
    tokio::select! {
        () = gone.cancelled() => Err(ServeError::Gone),
        done = work => Ok(done),
    }
}
