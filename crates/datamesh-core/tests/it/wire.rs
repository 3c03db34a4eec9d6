//! Requests and replies: one encoding each, all within the head of a message, no harm from
//! strangers.

use datamesh_core::advert::{ADDRESS_BYTES_MAX, ADDRESSES_MAX};
use datamesh_core::audit::{CELL_PROOF_MAX, CHALLENGES_MAX, Challenge, Proved};
use datamesh_core::certificate::{Delegation, Issuer, NodeClaim, OPERATOR_BYTES_MAX};
use datamesh_core::message::{
    ADVERTS_MAX, DIGEST_MAX, DigestEntry, Link, NodeRequest, PROBE_BYTES_MAX, PROOF_MAX, ReadSpan,
    Redeem, Refusal, Reply, Request, SEGMENTS_MAX, WANTED_MAX, WantedShards,
};
use datamesh_core::seam::HEAD_BYTES_MAX;
use datamesh_core::wire::{Encode, Reader, WireError, decode};
use datamesh_core::{
    Advert, Hash, MeshId, NodeCertificate, NodeId, PublicKey, Scheme, SegmentId, Signature,
};
use proptest::collection::vec as list;
use proptest::prelude::*;

use crate::descriptor::{any_descriptor, plain};
use crate::records::{
    any_advert, any_certificate, any_domain, any_genesis, any_grant, any_receipt, any_renewal,
    any_segment_pin, any_store_ticket,
};
use crate::vectors::{foreign, one_encoding};

fn any_bytes() -> impl Strategy<Value = [u8; 32]> {
    any::<[u8; 32]>()
}

fn any_request() -> impl Strategy<Value = Request> {
    let node = ("[ -~]{0,64}", any_domain(), any::<u64>())
        .prop_map(|(operator, domain, capacity)| NodeRequest { operator, domain, capacity });
    let redeem = (
        any_bytes(),
        any::<[u8; 16]>(),
        prop::option::of(node),
        prop::option::of(any_bytes().prop_map(PublicKey)),
    )
        .prop_map(|(secret, redeemer, node, account)| Redeem {
            secret,
            redeemer,
            node,
            account,
        });
    let entry = (any_bytes(), any::<u64>())
        .prop_map(|(node, sequence)| DigestEntry { node: NodeId(node), sequence });
    let span = prop_oneof![
        Just(ReadSpan::Whole),
        any::<[u32; 2]>().prop_map(|[first, end]| ReadSpan::Cells { first, end }),
    ];
    prop_oneof![
        any_bytes().prop_map(|mesh| Request::Hello { mesh: MeshId(mesh) }),
        redeem.prop_map(Request::Redeem),
        (any_bytes(), list(entry, 0..20), any::<bool>()).prop_map(|(after, known, complete)| {
            Request::Digest { after: NodeId(after), known, complete }
        }),
        list(any_advert(), 0..3).prop_map(Request::Announce),
        (
            any_descriptor(),
            any::<u8>(),
            any_store_ticket(),
            any_grant(),
            prop::option::of(any_renewal())
        )
            .prop_map(|(descriptor, shard, ticket, grant, renewal)| Request::Store {
                descriptor,
                shard,
                ticket,
                grant,
                renewal
            }),
        (any_bytes(), any::<u8>(), span, any::<bool>()).prop_map(
            |(segment, shard, span, describe)| Request::Read {
                segment: SegmentId(segment),
                shard,
                span,
                describe
            }
        ),
        any_bytes().prop_map(|segment| Request::Describe { segment: SegmentId(segment) }),
        list(any_bytes().prop_map(SegmentId), 0..20).prop_map(Request::Have),
        (any_bytes(), list(any_challenge(), 0..=CHALLENGES_MAX))
            .prop_map(|(nonce, challenges)| Request::Audit { nonce, challenges }),
        (any_bytes(), any::<u8>())
            .prop_map(|(segment, shard)| Request::Report { segment: SegmentId(segment), shard }),
        list((any_bytes(), any::<u32>()), 0..20).prop_map(|wanted| {
            let wanted = wanted.into_iter();
            let wanted = wanted.map(|(id, shards)| WantedShards { segment: SegmentId(id), shards });
            Request::TakeBack(wanted.collect())
        }),
        list(any_segment_pin(), 0..20).prop_map(Request::Pin),
        (0..=PROBE_BYTES_MAX as u32).prop_map(|reply_bytes| Request::Probe { reply_bytes }),
        Just(Request::Links),
    ]
}

fn any_challenge() -> impl Strategy<Value = Challenge> {
    (any_bytes(), any::<u8>(), any::<u32>()).prop_map(|(segment, shard, cell)| Challenge {
        segment: SegmentId(segment),
        shard,
        cell,
    })
}

fn any_proved() -> impl Strategy<Value = Proved> {
    prop_oneof![
        list(any_bytes().prop_map(Hash), 0..=CELL_PROOF_MAX).prop_map(Proved::Cell),
        Just(Proved::Missing),
        Just(Proved::Busy),
    ]
}

const REFUSALS: [Refusal; 16] = [
    Refusal::Malformed,
    Refusal::OtherMesh,
    Refusal::NotAdmitted,
    Refusal::NotFound,
    Refusal::Damaged,
    Refusal::Mismatch,
    Refusal::NotPermitted,
    Refusal::GrantUsedUp,
    Refusal::Full,
    Refusal::ReadOnly,
    Refusal::Busy,
    Refusal::InviteUnknown,
    Refusal::InviteExpired,
    Refusal::InviteUsedUp,
    Refusal::NotIssuer,
    Refusal::Internal,
];

fn any_reply() -> impl Strategy<Value = Reply> {
    let some_certificate = || prop::option::of(any_certificate());
    prop_oneof![
        (any_genesis(), some_certificate(), any::<u64>())
            .prop_map(|(genesis, certificate, time)| Reply::Welcome { genesis, certificate, time }),
        (any_genesis(), some_certificate(), prop::option::of(any_grant())).prop_map(
            |(genesis, certificate, grant)| Reply::Redeemed { genesis, certificate, grant }
        ),
        (list(any_advert(), 0..3), list(any_bytes().prop_map(NodeId), 0..20), any::<bool>())
            .prop_map(|(fresh, wanted, more)| Reply::Adverts { fresh, wanted, more }),
        Just(Reply::Done),
        any_receipt().prop_map(Reply::Stored),
        (prop::option::of(any_descriptor()), list(any_bytes().prop_map(Hash), 0..=PROOF_MAX))
            .prop_map(|(descriptor, proof)| Reply::Shard { descriptor, proof }),
        any_descriptor().prop_map(Reply::Described),
        list(any::<u32>(), 0..20).prop_map(Reply::Holding),
        (list(any_proved(), 0..=CHALLENGES_MAX), any::<[u8; 32]>()).prop_map(|(answers, half)| {
            let mut signature = [0; 64];
            signature[..32].copy_from_slice(&half);
            Reply::Audited { answers, signature: Signature(signature) }
        }),
        any::<bool>().prop_map(|damaged| Reply::Examined { damaged }),
        Just(Reply::Probed),
        (list((any_bytes(), prop::option::of(any::<u32>()), any::<bool>()), 0..20), any::<u32>())
            .prop_map(|(links, count)| {
                let link = |(peer, round_trip_us, relayed)| Link {
                    peer: NodeId(peer),
                    round_trip_us,
                    relayed,
                };
                Reply::Links { links: links.into_iter().map(link).collect(), count }
            }),
        (prop::sample::select(REFUSALS.as_slice()), "\\PC{0,128}")
            .prop_map(|(refusal, detail)| Reply::Refused { refusal, detail }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_request_has_one_encoding(request in any_request()) {
        one_encoding(&request);
    }

    #[test]
    fn every_reply_has_one_encoding(reply in any_reply()) {
        one_encoding(&reply);
    }

    #[test]
    fn foreign_bytes_are_read_without_harm(
        kind in 0u8..28,
        bytes in list(any::<u8>(), 0..1000),
    ) {
        let bytes = [&[kind], bytes.as_slice()].concat();
        foreign::<Request>(&bytes);
        foreign::<Reply>(&bytes);
    }

    #[test]
    fn damaged_messages_are_read_without_harm(
        request in any_request(),
        reply in any_reply(),
        damage in list((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let (mut asked, mut told) = (request.to_bytes(), reply.to_bytes());
        for (at, byte) in damage {
            let (ask, tell) = (at.index(asked.len()), at.index(told.len()));
            asked[ask] = byte;
            told[tell] = byte;
        }
        foreign::<Request>(&asked);
        foreign::<Reply>(&told);
    }
}

/// The largest advert that a reader takes.
fn largest_advert() -> Advert {
    let signature = Signature([0; 64]);
    let delegation = Delegation { delegate: PublicKey([0; 32]), serial: 0, expiry: 0, signature };
    let part = "d".repeat(31);
    let domain = format!("{part}/{part}/{part}/{part}d");
    let claim = NodeClaim {
        node: NodeId([0; 32]),
        operator: "o".repeat(OPERATOR_BYTES_MAX),
        domain: domain.parse().unwrap_or_else(|error| panic!("{error}")),
        capacity_cap: 0,
        serial: 0,
        expiry: 0,
    };
    Advert {
        certificate: NodeCertificate { claim, issuer: Issuer::Delegate(delegation), signature },
        addresses: vec!["a".repeat(ADDRESS_BYTES_MAX); ADDRESSES_MAX],
        capacity: 0,
        free_class: 0,
        draining: false,
        release: "r".repeat(32),
        sequence: 0,
        expiry: 0,
        signature,
    }
}

#[test]
fn the_largest_lists_fit_the_head_of_a_message() {
    let adverts = vec![largest_advert(); ADVERTS_MAX];
    let entry = DigestEntry { node: NodeId([0; 32]), sequence: 0 };
    let requests = [
        Request::Announce(adverts.clone()),
        Request::Have(vec![SegmentId([0; 32]); SEGMENTS_MAX]),
        Request::Digest { after: NodeId([0; 32]), known: vec![entry; DIGEST_MAX], complete: true },
    ];
    for request in requests {
        let head = request.to_head();
        assert_eq!(decode::<Request>(&head), Ok(request));
        assert!(head.len() <= HEAD_BYTES_MAX, "{}", head.len());
    }
    let replies = [
        Reply::Adverts { fresh: adverts, wanted: vec![NodeId([0; 32]); WANTED_MAX], more: true },
        Reply::Shard {
            descriptor: Some(plain(Scheme::SIXTEEN_EIGHT, 65_536, 4_194_304)),
            proof: vec![Hash([0; 32]); PROOF_MAX],
        },
        Reply::Holding(vec![0; SEGMENTS_MAX]),
        Reply::Audited {
            answers: vec![Proved::Cell(vec![Hash([0; 32]); CELL_PROOF_MAX]); CHALLENGES_MAX],
            signature: Signature([0; 64]),
        },
    ];
    for reply in replies {
        let head = reply.to_head();
        assert_eq!(decode::<Reply>(&head), Ok(reply));
        assert!(head.len() <= HEAD_BYTES_MAX, "{}", head.len());
    }
}

#[test]
fn refusals_keep_their_numbers() {
    for (at, refusal) in REFUSALS.into_iter().enumerate() {
        let reply = Reply::Refused { refusal, detail: String::new() };
        assert_eq!(reply.to_bytes(), [255, at as u8 + 1, 0, 0, 0, 0]);
    }
    for number in [0, 17, 255] {
        assert_eq!(
            decode::<Reply>(&[255, number, 0, 0, 0, 0]),
            Err(WireError::Invalid { field: "refusal" })
        );
    }
}

#[test]
fn a_long_detail_is_cut_between_characters() {
    let told = Reply::Refused { refusal: Refusal::Busy, detail: format!("x{}", "é".repeat(400)) };
    let cut = Reply::Refused { refusal: Refusal::Busy, detail: format!("x{}", "é".repeat(255)) };
    assert_eq!(decode::<Reply>(&told.to_bytes()), Ok(cut));
}

#[test]
fn a_count_reserves_nothing() {
    // Each of these announces the most that its list may have, and brings nothing.
    for (kind, count) in [(3, DIGEST_MAX), (4, ADVERTS_MAX), (8, SEGMENTS_MAX)] {
        let mut bytes = vec![kind];
        if kind == 3 {
            bytes.extend([0; 32]);
        }
        bytes.extend((count as u16).to_le_bytes());
        assert!(matches!(decode::<Request>(&bytes), Err(WireError::Short { .. })), "{kind}");
        bytes.truncate(bytes.len() - 2);
        bytes.extend((count as u16 + 1).to_le_bytes());
        assert!(matches!(decode::<Request>(&bytes), Err(WireError::Bound { .. })), "{kind}");
    }
    let mut from = Reader::new(&[255, 255, 255, 255]);
    assert!(from.bytes("text", 512).is_err());
}
