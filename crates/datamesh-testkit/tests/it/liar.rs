//! Each lie is what it says, and a test can tell that it was told.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use datamesh_core::message::{ReadSpan, Refusal, Reply, Request};
use datamesh_core::seam::BODY_BYTES_MAX;
use datamesh_core::{
    Descriptor, Hash, Message, PublicKey, Receipt, Scheme, SegmentId, Service, Signature,
    TransportError, wire,
};
use datamesh_testkit::sim::{self, Liar, Lie, World};

use crate::peers::{Canned, MINUTE, message, node};

fn descriptor(length: u32) -> Descriptor {
    Descriptor {
        suite: 1,
        scheme: Scheme::FOUR_TWO,
        cell: 1024,
        length,
        roots: vec![Hash([1; 32]); 6],
        lease_key: PublicKey([2; 32]),
    }
}

fn shard() -> Message {
    let reply = Reply::Shard { descriptor: Some(descriptor(9)), proof: vec![Hash([3; 32]); 4] };
    Message { head: reply.to_head(), body: vec![5; 4096].into() }
}

fn stored() -> Message {
    let receipt = Receipt {
        segment: SegmentId([1; 32]),
        shard: 2,
        node: node(2),
        sequence: 3,
        expiry: 4,
        signature: Signature([6; 64]),
    };
    reply(&Reply::Stored(receipt))
}

fn reply(reply: &Reply) -> Message {
    Message { head: reply.to_head(), body: Bytes::new() }
}

fn read() -> Message {
    let request = Request::Read {
        segment: SegmentId([1; 32]),
        shard: 0,
        span: ReadSpan::Whole,
        describe: true,
    };
    Message { head: request.to_head(), body: Bytes::new() }
}

async fn ask(world: &World, lie: Lie, honest: Message) -> (Result<Message, TransportError>, u64) {
    let liar = Arc::new(Liar::new(Arc::new(Canned(Some(honest))), lie, world.seed()));
    let caller = world.attach(node(1));
    world.join(node(2), liar.clone());
    let result = caller.call(node(2), read(), MINUTE).await;
    world.kill(node(1));
    world.kill(node(2));
    (result, liar.told())
}

/// What a lie makes of an honest reply; it must count as told.
async fn lied(world: &World, lie: Lie, honest: &Message) -> Message {
    let (result, told) = ask(world, lie, honest.clone()).await;
    let answer = result.unwrap();
    assert_ne!(answer, *honest, "{lie:?}");
    assert_eq!(told, 1, "{lie:?}");
    answer
}

fn decoded(message: &Message) -> Reply {
    wire::decode(&message.head).unwrap()
}

#[test]
fn an_honest_one_changes_nothing() {
    sim::run(1, |world| async move {
        let (answer, told) = ask(&world, Lie::None, shard()).await;
        assert_eq!((answer.unwrap(), told), (shard(), 0));
    });
}

#[test]
fn bodies_are_damaged_cut_and_lengthened() {
    sim::run(1, |world| async move {
        let honest = shard();
        let answer = lied(&world, Lie::FlipBodyBit, &honest).await;
        assert_eq!(answer.head, honest.head);
        let differ =
            answer.body.iter().zip(&honest.body).map(|(one, other)| (one ^ other).count_ones());
        assert_eq!(differ.sum::<u32>(), 1);
        assert_eq!(answer.body.len(), honest.body.len());

        let answer = lied(&world, Lie::TruncateBody, &honest).await;
        assert!(answer.body.len() < honest.body.len());
        assert_eq!(answer.body, honest.body[..answer.body.len()]);

        let answer = lied(&world, Lie::ExtendBody, &honest).await;
        assert_eq!(answer.body.len(), honest.body.len() + 1);
    });
}

#[test]
fn heads_are_garbage_empty_or_old() {
    sim::run(1, |world| async move {
        let honest = shard();
        let answer = lied(&world, Lie::GarbageHead, &honest).await;
        assert!(wire::decode::<Reply>(&answer.head).is_err());
        assert_eq!(lied(&world, Lie::Empty, &honest).await, Message::default());
        let answer = lied(&world, Lie::Stale, &honest).await;
        assert!(matches!(decoded(&answer), Reply::Refused { .. }));
    });
}

#[test]
fn a_stale_reply_answers_the_request_before() {
    sim::run(1, |world| async move {
        let echo = crate::peers::Echo::at_once();
        let liar = Arc::new(Liar::new(echo, Lie::None, 1));
        let caller = world.attach(node(1));
        world.join(node(2), liar.clone());
        let call = |head| caller.call(node(2), message(head, 3), MINUTE);
        assert_eq!(call("one").await.unwrap(), message("one", 3));
        liar.set(Lie::Stale);
        assert_eq!(call("two").await.unwrap(), message("one", 3));
        assert_eq!(call("three").await.unwrap(), message("two", 3));
        assert_eq!(liar.told(), 2);
    });
}

#[test]
fn a_descriptor_is_another_valid_one() {
    sim::run(1, |world| async move {
        let answer = lied(&world, Lie::SwapDescriptor, &shard()).await;
        let Reply::Shard { descriptor: Some(shown), proof } = decoded(&answer) else {
            panic!("{answer:?}")
        };
        assert_ne!(shown.id(), descriptor(9).id());
        assert_eq!(proof.len(), 4);
        assert_eq!(answer.body, shard().body);
        lied(&world, Lie::SwapDescriptor, &reply(&Reply::Described(descriptor(9)))).await;
    });
}

#[test]
fn a_descriptor_that_went_through_before_is_shown_for_another() {
    sim::run(1, |_| async move {
        struct Describes;
        impl Service for Describes {
            fn serve(
                &self,
                _: datamesh_core::NodeId,
                request: Message,
            ) -> datamesh_core::BoxFuture<'_, Message> {
                let length = u32::from(request.head[0]);
                Box::pin(async move { reply(&Reply::Described(descriptor(length))) })
            }
        }
        let liar = Liar::new(Arc::new(Describes), Lie::SwapDescriptor, 1);
        let ask = |length: u8| {
            let request = Message { head: vec![length].into(), body: Bytes::new() };
            liar.serve(node(1), request)
        };
        assert_ne!(decoded(&ask(20).await), Reply::Described(descriptor(20)));
        assert_eq!(decoded(&ask(30).await), Reply::Described(descriptor(20)));
        assert_ne!(decoded(&ask(20).await), Reply::Described(descriptor(20)));
    });
}

#[test]
fn proofs_and_receipts_are_forged() {
    sim::run(1, |world| async move {
        let answer = lied(&world, Lie::FalsifyProof, &shard()).await;
        let Reply::Shard { proof, .. } = decoded(&answer) else { panic!("{answer:?}") };
        assert_eq!(proof.iter().filter(|hash| **hash != Hash([3; 32])).count(), 1);
        let whole = reply(&Reply::Shard { descriptor: None, proof: Vec::new() });
        lied(&world, Lie::FalsifyProof, &whole).await;

        let answer = lied(&world, Lie::ForgeReceipt, &stored()).await;
        let (Reply::Stored(forged), Reply::Stored(honest)) = (decoded(&answer), decoded(&stored()))
        else {
            panic!("{answer:?}")
        };
        assert_ne!(forged.signature, honest.signature);
        assert_eq!(Receipt { signature: honest.signature, ..forged }, honest);
    });
}

#[test]
fn holdings_are_claimed_and_denied() {
    sim::run(1, |world| async move {
        let honest = reply(&Reply::Holding(vec![1, 0, 2]));
        let claimed = lied(&world, Lie::ClaimAll, &honest).await;
        assert_eq!(decoded(&claimed), Reply::Holding(vec![u32::MAX; 3]));
        let refused = lied(&world, Lie::DenyAll, &shard()).await;
        assert!(matches!(decoded(&refused), Reply::Refused { refusal: Refusal::NotFound, .. }));
        let liar = Liar::new(Arc::new(Canned(Some(honest))), Lie::DenyAll, 1);
        let have = Request::Have(vec![SegmentId([1; 32]); 3]);
        let denied = liar.serve(node(1), Message { head: have.to_head(), ..Message::default() });
        assert_eq!(decoded(&denied.await), Reply::Holding(vec![0; 3]));
    });
}

#[test]
fn some_answer_with_silence_refusal_or_too_much() {
    sim::run(1, |world| async move {
        let (result, told) = ask(&world, Lie::Stall, shard()).await;
        assert!(matches!(result, Err(TransportError::Timeout { .. })), "{result:?}");
        assert_eq!(told, 1);
        let answer = lied(&world, Lie::Refuse(Refusal::Full), &shard()).await;
        assert!(matches!(decoded(&answer), Reply::Refused { refusal: Refusal::Full, .. }));
        let (result, told) = ask(&world, Lie::Oversize, shard()).await;
        let too_large = TransportError::TooLarge {
            peer: node(2),
            length: BODY_BYTES_MAX + 1,
            bound: BODY_BYTES_MAX,
        };
        assert_eq!((result, told), (Err(too_large), 1));
    });
}

#[test]
fn who_refuses_does_nothing() {
    sim::run(1, |_| async {
        let echo = crate::peers::Echo::after(Duration::ZERO);
        let liar = Liar::new(echo.clone(), Lie::Refuse(Refusal::Busy), 1);
        liar.serve(node(1), read()).await;
        assert_eq!(echo.begun(), 0);
    });
}

#[test]
fn a_lie_that_finds_nothing_to_falsify_is_not_counted() {
    sim::run(1, |world| async move {
        for lie in [
            Lie::FlipBodyBit,
            Lie::TruncateBody,
            Lie::SwapDescriptor,
            Lie::FalsifyProof,
            Lie::ForgeReceipt,
            Lie::ClaimAll,
        ] {
            let (answer, told) = ask(&world, lie, reply(&Reply::Done)).await;
            assert_eq!((answer.unwrap(), told), (reply(&Reply::Done), 0), "{lie:?}");
        }
    });
}
