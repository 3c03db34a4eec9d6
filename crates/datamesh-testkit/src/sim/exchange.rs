//! The transport of a simulated node: one request, one reply.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use datamesh_core::seam::{BODY_BYTES_MAX, HEAD_BYTES_MAX};
use datamesh_core::{BoxFuture, Message, NodeId, Transport, TransportError};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::World;
use super::connection::Connection;
use super::life::Life;
use super::trace::What;
use super::world::{Served, Turns};

/// [`Transport`] of one life of a node.
pub(crate) struct SimTransport {
    pub(crate) world: World,
    pub(crate) local: NodeId,
    pub(crate) life: Arc<Life>,
}

impl Transport for SimTransport {
    fn local(&self) -> NodeId {
        self.local
    }

    fn exchange(
        &self,
        peer: NodeId,
        request: Message,
        reply_max: usize,
        deadline: Duration,
    ) -> BoxFuture<'_, Result<Message, TransportError>> {
        Box::pin(async move {
            let mut under_way = UnderWay { transport: self, peer, ended: false };
            let result = tokio::select! {
                biased;
                () = self.life.ended() => Err(TransportError::Shutdown),
                result = timeout(deadline, self.carry(peer, request, reply_max)) => result
                    .unwrap_or(Err(TransportError::Timeout { peer, after: deadline })),
            };
            under_way.ended = true;
            self.event(
                peer,
                match &result {
                    Ok(_) => What::Finish,
                    Err(TransportError::Unreachable { .. } | TransportError::Resting { .. }) => {
                        What::Unreachable
                    }
                    Err(TransportError::Timeout { .. }) => What::Timeout,
                    Err(TransportError::Closed { .. }) => What::Closed,
                    Err(TransportError::TooLarge { .. }) => What::TooLarge,
                    Err(TransportError::Busy { .. }) => What::Busy,
                    Err(TransportError::Shutdown) => What::Shutdown,
                },
            );
            result
        })
    }

    fn learn(&self, peer: NodeId, addresses: &[String]) {
        if !self.life.has_ended() {
            self.world.learn(self.local, peer, addresses);
        }
    }

    fn connected(&self) -> Vec<NodeId> {
        if self.life.has_ended() { Vec::new() } else { self.world.connected(self.local) }
    }
}

/// Logs that the caller dropped a call.
struct UnderWay<'a> {
    transport: &'a SimTransport,
    peer: NodeId,
    ended: bool,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.transport.event(self.peer, What::Cancel);
        }
    }
}

/// What comes back from a peer's service.
enum Answer {
    Reply(Message),
    /// The service took too long.
    GivenUp(Duration),
    /// The service sent more than it had announced.
    Unannounced(usize),
}

impl SimTransport {
    fn event(&self, peer: NodeId, what: What) {
        self.world.exchange_event(self.local, peer, what);
    }

    async fn carry(
        &self,
        peer: NodeId,
        request: Message,
        reply_max: usize,
    ) -> Result<Message, TransportError> {
        check(peer, &request, BODY_BYTES_MAX)?;
        let turns = self.world.turns(self.local, peer);
        let _turn = turn(&turns, peer).await?;
        let connection = match self.world.connection(self.local, peer) {
            Some(connection) => connection,
            None => self.dial(peer).await?,
        };
        tokio::select! {
            biased;
            result = self.travel(peer, request, reply_max, &connection) => result,
            error = self.broken(peer, &connection) => Err(error),
        }
    }

    /// Waits for the end of the connection, and until this side hears of it.
    async fn broken(&self, peer: NodeId, connection: &Connection) -> TransportError {
        let reason = connection.closed().await;
        tokio::select! {
            biased;
            () = connection.noticed() => {}
            _ = self.world.signal(peer, self.local) => {}
        }
        TransportError::Closed { peer, reason }
    }

    async fn dial(&self, peer: NodeId) -> Result<Arc<Connection>, TransportError> {
        let unreachable =
            |reason: &str| TransportError::Unreachable { peer, reason: reason.to_owned() };
        if peer == self.local {
            return Err(unreachable("it is this node"));
        }
        if !self.world.can_dial(self.local, peer) {
            return Err(unreachable("no address is known"));
        }
        self.event(peer, What::Dial);
        match timeout(self.world.limits().dial_timeout, self.shake_hands(peer)).await {
            Ok(Some(connection)) => Ok(connection),
            Ok(None) => Err(unreachable("connection refused")),
            Err(_) => Err(unreachable("the dial took too long")),
        }
    }

    /// A round trip for the connection and one for its encryption.
    async fn shake_hands(&self, peer: NodeId) -> Option<Arc<Connection>> {
        for _ in 0..2 {
            for (from, to) in [(self.local, peer), (peer, self.local)] {
                if !self.world.signal(from, to).await {
                    pending::<()>().await;
                }
            }
            if !self.world.is_up(peer) {
                return None;
            }
        }
        self.world.connect(self.local, peer)
    }

    /// Carries the request there and the reply back.
    async fn travel(
        &self,
        peer: NodeId,
        request: Message,
        reply_max: usize,
        connection: &Arc<Connection>,
    ) -> Result<Message, TransportError> {
        self.world.message_event(self.local, peer, What::Request, &request);
        let passage = self.world.carry(self.local, peer, length(&request)).await;
        if passage.lost {
            self.event(peer, What::Lose);
            pending::<()>().await;
        }
        if passage.reset {
            self.event(peer, What::Reset);
            self.world.reset(connection);
            pending::<()>().await;
        }
        let Some(Served { life, service, places }) = self.world.served(peer) else {
            // It died, which closed the connection.
            return pending().await;
        };
        let Some(service) = service else {
            self.world.signal(peer, self.local).await;
            let reason = "it answers no requests".to_owned();
            return Err(TransportError::Closed { peer, reason });
        };
        let (answer, answered) = oneshot::channel();
        let first = Serving {
            world: self.world.clone(),
            service,
            places,
            from: self.local,
            to: peer,
            request,
        };
        let second = passage.duplicate.map(|later| (later, first.clone()));
        let failure = self.world.failure();
        life.spawn(&failure, Box::pin(first.serve(answer)));
        if let Some((later, second)) = second {
            life.spawn(&failure, Box::pin(second.serve_again(later)));
        }
        match answered.await {
            Ok(Answer::Reply(reply)) => self.take(peer, reply, reply_max, connection).await,
            Ok(Answer::GivenUp(after)) => {
                self.world.signal(peer, self.local).await;
                let reason = format!("it gave up after {} s", after.as_secs());
                Err(TransportError::Closed { peer, reason })
            }
            Ok(Answer::Unannounced(length)) => {
                self.world.signal(peer, self.local).await;
                let reason = format!("its reply of {length} bytes was longer than announced");
                Err(TransportError::Closed { peer, reason })
            }
            // It died while it served, which closed the connection.
            Err(_) => pending().await,
        }
    }

    async fn take(
        &self,
        peer: NodeId,
        reply: Message,
        reply_max: usize,
        connection: &Arc<Connection>,
    ) -> Result<Message, TransportError> {
        self.world.message_event(peer, self.local, What::Reply, &reply);
        if let Err(error) = check(peer, &reply, reply_max) {
            // The lengths come first, so nobody waits for the rest.
            self.world.signal(peer, self.local).await;
            return Err(error);
        }
        let passage = self.world.carry(peer, self.local, length(&reply)).await;
        if passage.lost {
            self.world.exchange_event(peer, self.local, What::Lose);
            pending::<()>().await;
        }
        if passage.reset {
            self.world.exchange_event(peer, self.local, What::Reset);
            self.world.reset(connection);
            pending::<()>().await;
        }
        Ok(reply)
    }
}

/// Waits for one of the peer's places; few may wait.
async fn turn(
    turns: &Turns,
    peer: NodeId,
) -> Result<tokio::sync::SemaphorePermit<'_>, TransportError> {
    if let Ok(place) = turns.places.try_acquire() {
        return Ok(place);
    }
    let _waiting = turns.waiting.try_acquire().map_err(|_| TransportError::Busy { peer })?;
    turns.places.acquire().await.map_err(|_| TransportError::Shutdown)
}

/// A request in the hands of the peer's process.
#[derive(Clone)]
struct Serving {
    world: World,
    service: Arc<dyn datamesh_core::Service>,
    places: Arc<tokio::sync::Semaphore>,
    from: NodeId,
    to: NodeId,
    request: Message,
}

impl Serving {
    async fn serve(self, answer: oneshot::Sender<Answer>) {
        let Ok(_place) = self.places.acquire().await else { return };
        // Whoever gave up while waiting took the rest of its request along.
        if answer.is_closed() {
            return;
        }
        self.world.exchange_event(self.from, self.to, What::Serve);
        // The caller may have given up; then the reply goes nowhere.
        drop(answer.send(self.answer().await));
    }

    async fn serve_again(self, later: Duration) {
        sleep(later).await;
        let Ok(_place) = self.places.acquire().await else { return };
        self.world.exchange_event(self.from, self.to, What::ServeAgain);
        drop(self.answer().await);
    }

    /// What the service makes of the request, which it judges by its head first.
    async fn answer(&self) -> Answer {
        let Message { head, body } = &self.request;
        let reply_max = match self.service.admit(self.from, head, body.len()) {
            Ok(reply_max) => reply_max,
            Err(refusal) => return Answer::Reply(refusal),
        };
        let limit = self.world.limits().serve_timeout;
        match timeout(limit, self.service.serve(self.from, self.request.clone())).await {
            // Above the bound of the protocol it is the receiver that objects.
            Ok(reply) if (reply_max + 1..=BODY_BYTES_MAX).contains(&reply.body.len()) => {
                Answer::Unannounced(reply.body.len())
            }
            Ok(reply) => Answer::Reply(reply),
            Err(_) => Answer::GivenUp(limit),
        }
    }
}

fn length(message: &Message) -> usize {
    message.head.len() + message.body.len()
}

/// Checks a message against the bounds of the protocol.
fn check(peer: NodeId, message: &Message, body_max: usize) -> Result<(), TransportError> {
    for (length, bound) in [(message.head.len(), HEAD_BYTES_MAX), (message.body.len(), body_max)] {
        if length > bound {
            return Err(TransportError::TooLarge { peer, length, bound });
        }
    }
    Ok(())
}
