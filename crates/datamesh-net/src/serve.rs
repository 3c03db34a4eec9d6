//! The answering end: reads requests from inbound streams and writes the service's replies.
//!
//! Each stream is a task that serves one request after the other. What a stranger can make us hold
//! is bounded three times: streams by number, request bodies by bytes that are reserved before the
//! body is read, and time by a stall limit on each step and a bucket for what a peer may cause.

use std::sync::Arc;
use std::time::Duration;

use datamesh_core::{Message, Service};
use libp2p::swarm::Stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Limits;
use crate::body::Bodies;
use crate::frame::{self, FrameError, Lengths};
use crate::peers::{Peer, Usage, permits};
use crate::statistics::Counters;

/// Everything inbound streams share.
pub(crate) struct Server {
    service: Arc<dyn Service>,
    limits: Limits,
    counters: Arc<Counters>,
    bodies: Arc<Bodies>,
    /// Request bodies of all peers, in [`permits`].
    request_bytes: Arc<Semaphore>,
    streams: Arc<Semaphore>,
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
    #[error("no memory for the request's body within {} ms", .0.as_millis())]
    Memory(Duration),
    #[error("the service took longer than {} ms", .0.as_millis())]
    Service(Duration),
    #[error("the network shuts down")]
    Shutdown,
}

impl Server {
    pub(crate) fn new(
        service: Arc<dyn Service>,
        limits: Limits,
        counters: Arc<Counters>,
        bodies: Arc<Bodies>,
        tasks: TaskTracker,
        closing: CancellationToken,
        abandon: CancellationToken,
    ) -> Self {
        let request_bytes_max = limits.request_bytes_max.max(datamesh_core::seam::BODY_BYTES_MAX);
        Self {
            service,
            counters,
            bodies,
            request_bytes: Arc::new(Semaphore::new(permits(request_bytes_max) as usize)),
            streams: Arc::new(Semaphore::new(limits.inbound_streams_max)),
            limits,
            tasks,
            closing,
            abandon,
        }
    }

    /// Serves `stream` in a task of its own, or resets it if there are too many.
    pub(crate) fn accept(self: &Arc<Self>, peer: &Arc<Peer>, stream: Stream, usage: Arc<Usage>) {
        let of_peer = Arc::clone(&peer.inbound_streams).try_acquire_owned();
        let of_all = Arc::clone(&self.streams).try_acquire_owned();
        let (Ok(of_peer), Ok(of_all), false) = (of_peer, of_all, self.closing.is_cancelled())
        else {
            self.counters.streams_refused.add(1);
            return;
        };
        let (server, peer) = (Arc::clone(self), Arc::clone(peer));
        self.tasks.spawn(async move {
            let ended = server.serve_stream(&peer, stream, &usage).await;
            if let Err(error) = ended {
                server.counters.serves_failed.add(1);
                tracing::debug!(peer = %peer.id, %error, "inbound stream ended");
            }
            drop((of_peer, of_all));
        });
    }

    async fn serve_stream(
        &self,
        peer: &Peer,
        mut stream: Stream,
        usage: &Arc<Usage>,
    ) -> Result<(), ServeError> {
        loop {
            let next = frame::read_lengths(&mut stream, self.limits.stall_timeout);
            let lengths = tokio::select! {
                () = self.closing.cancelled() => return Ok(()),
                next = timeout(self.limits.stream_idle_timeout, next) => match next {
                    Err(_) | Ok(Err(FrameError::Ended)) => return Ok(()),
                    Ok(lengths) => lengths?,
                },
            };
            let _in_use = usage.begin();
            tokio::select! {
                () = self.abandon.cancelled() => return Err(ServeError::Shutdown),
                served = self.serve_one(peer, &mut stream, lengths) => served?,
            }
            self.counters.served.add(1);
        }
    }

    async fn serve_one(
        &self,
        peer: &Peer,
        stream: &mut Stream,
        lengths: Lengths,
    ) -> Result<(), ServeError> {
        let stall = self.limits.stall_timeout;
        sleep_if_any(peer.charge(1, lengths.total())).await;
        let head = frame::read_head(stream, lengths.head, stall).await?;
        // Held until the reply is on its way, so that bodies in the service's hands count too.
        let _reserved = self.reserve(peer, lengths.body).await?;
        let mut body = self.bodies.take(lengths.body);
        frame::read_full(stream, body.as_mut(), stall).await?;
        self.counters.bytes_in.add(lengths.total());

        let request = Message { head, body: body.into_bytes() };
        let limit = self.limits.serve_timeout;
        let reply = timeout(limit, self.service.serve(peer.id, request))
            .await
            .map_err(|_| ServeError::Service(limit))?;
        let lengths = Lengths::of(&reply)?;
        frame::write(stream, &reply, lengths, stall).await?;
        self.counters.bytes_out.add(lengths.total());
        // Replies are paid for afterwards: the debt delays the peer's next request.
        peer.charge(0, lengths.total());
        Ok(())
    }

    /// Waits until `bytes` of a body may be held.
    async fn reserve(&self, peer: &Peer, bytes: usize) -> Result<Reserved, ServeError> {
        if bytes == 0 {
            return Ok(Reserved(None));
        }
        let limit = self.limits.serve_timeout;
        let count = permits(bytes);
        let both = async {
            // The peer's own share first: who waits for that must not hold what others wait for.
            let of_peer = Arc::clone(&peer.request_bytes).acquire_many_owned(count).await.ok()?;
            let of_all = Arc::clone(&self.request_bytes).acquire_many_owned(count).await.ok()?;
            Some([of_peer, of_all])
        };
        match timeout(limit, both).await {
            Ok(Some(held)) => Ok(Reserved(Some(held))),
            Ok(None) => Err(ServeError::Shutdown),
            Err(_) => Err(ServeError::Memory(limit)),
        }
    }
}

/// Bytes set aside for one body.
struct Reserved(
    #[expect(dead_code, reason = "held for its drop")] Option<[OwnedSemaphorePermit; 2]>,
);

async fn sleep_if_any(wait: Duration) {
    if !wait.is_zero() {
        sleep(wait).await;
    }
}
