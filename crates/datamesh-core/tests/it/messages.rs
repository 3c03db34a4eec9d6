//! Heads of requests and replies that are written as ever (`docs/specs/protocol.md`).

use datamesh_core::audit::{Challenge, Proved};
use datamesh_core::certificate::Issuer;
use datamesh_core::lease::{LeaseAnswer, Listed};
use datamesh_core::message::{
    DigestEntry, KnownHead, Link, NodeRequest, ReadSpan, Redeem, Refusal, Reply, Request,
    WantedShards,
};
use datamesh_core::wire::Encode;
use datamesh_core::{Hash, LogId, NodeId, Scheme, SegmentId, Signature};

use crate::descriptor::plain;
use crate::head::head;
use crate::records::{
    GRANT, NOW, advert, certificate, delegation, domain, genesis, grant, listing, mesh, node,
    public, receipt, release, renewal, segment_pin, store_ticket,
};
use crate::vectors::{golden, one_encoding};

const SEGMENT: SegmentId = SegmentId([0xAB; 32]);

fn issuer() -> Issuer {
    Issuer::Delegate(delegation(0))
}

fn requests() -> Vec<(&'static str, Request)> {
    let request =
        NodeRequest { operator: "Ada".into(), domain: domain("home/attic"), capacity: 1 << 40 };
    let redeem = Redeem {
        secret: [0x51; 32],
        redeemer: [0x52; 16],
        node: Some(request),
        account: Some(public(GRANT)),
    };
    let descriptor = plain(Scheme::FOUR_TWO, 65_536, 4_194_304);
    let cells = ReadSpan::Cells { first: 3, end: 7 };
    vec![
        ("hello", Request::Hello { mesh: mesh() }),
        ("redeem", Request::Redeem(redeem)),
        (
            "digest",
            Request::Digest {
                after: NodeId([0; 32]),
                known: vec![DigestEntry { node: node(), sequence: 42 }],
                complete: true,
            },
        ),
        ("announce", Request::Announce(vec![advert()])),
        (
            "store",
            Request::Store {
                descriptor: descriptor.clone(),
                shard: 5,
                ticket: store_ticket(),
                grant: grant(issuer(), 0),
                renewal: None,
            },
        ),
        (
            "read-whole",
            Request::Read { segment: SEGMENT, shard: 5, span: ReadSpan::Whole, describe: true },
        ),
        ("read-cells", Request::Read { segment: SEGMENT, shard: 5, span: cells, describe: false }),
        ("describe", Request::Describe { segment: SEGMENT }),
        ("have", Request::Have(vec![SEGMENT, SegmentId([0xAC; 32])])),
        ("permit", Request::Permit { segment: SEGMENT }),
        (
            "restore",
            Request::Restore {
                descriptor,
                shard: 5,
                ticket: store_ticket(),
                grant: grant(issuer(), 0),
                alone: true,
                renewal: Some(renewal()),
            },
        ),
        ("put-head", Request::PutHead(head())),
        (
            "heads",
            Request::Heads {
                account: head().account,
                after: LogId([0; 16]),
                known: vec![KnownHead { log: LogId([0xd1; 16]), revision: 7 }],
            },
        ),
        ("release", Request::Release(vec![release()])),
        ("renew", Request::Renew(vec![renewal()])),
        ("releases", Request::Releases(vec![SEGMENT])),
        ("segments", Request::Segments(listing())),
        (
            "audit",
            Request::Audit {
                nonce: [0x5A; 32],
                challenges: vec![Challenge { segment: SEGMENT, shard: 5, cell: 3 }],
            },
        ),
        ("report", Request::Report { segment: SEGMENT, shard: 5 }),
        (
            "take-back",
            Request::TakeBack(vec![WantedShards { segment: SEGMENT, shards: 0b10_0001 }]),
        ),
        ("pin", Request::Pin(vec![segment_pin()])),
        ("probe", Request::Probe { reply_bytes: 65_536 }),
        ("links", Request::Links),
    ]
}

fn replies() -> Vec<(&'static str, Reply)> {
    let descriptor = plain(Scheme::FOUR_TWO, 65_536, 4_194_304);
    vec![
        (
            "welcome",
            Reply::Welcome {
                genesis: genesis(),
                certificate: Some(certificate(issuer(), 0)),
                time: NOW,
            },
        ),
        (
            "redeemed",
            Reply::Redeemed {
                genesis: genesis(),
                certificate: None,
                grant: Some(grant(issuer(), 0)),
            },
        ),
        (
            "adverts",
            Reply::Adverts { fresh: vec![advert()], wanted: vec![NodeId([0xCD; 32])], more: true },
        ),
        ("done", Reply::Done),
        ("stored", Reply::Stored(receipt())),
        ("shard-whole", Reply::Shard { descriptor: Some(descriptor.clone()), proof: Vec::new() }),
        (
            "shard-cells",
            Reply::Shard { descriptor: None, proof: vec![Hash([1; 32]), Hash([2; 32])] },
        ),
        ("described", Reply::Described(descriptor)),
        ("holding", Reply::Holding(vec![0b10_0001, 0])),
        (
            "permitted",
            Reply::Permitted {
                ticket: store_ticket(),
                grant: grant(issuer(), 0),
                renewal: Some(renewal()),
            },
        ),
        ("head-kept", Reply::HeadKept(head())),
        ("heads", Reply::Heads { more: true }),
        (
            "audited",
            Reply::Audited {
                answers: vec![Proved::Cell(vec![Hash([1; 32])]), Proved::Missing, Proved::Busy],
                signature: Signature([0x77; 64]),
            },
        ),
        ("examined", Reply::Examined { damaged: true }),
        (
            "leases",
            Reply::Leases(vec![
                LeaseAnswer::Taken { shards: 0b10_0001 },
                LeaseAnswer::NotHeld,
                LeaseAnswer::Behind { epoch: 7 },
                LeaseAnswer::NotSigned,
                LeaseAnswer::TooLong { until: NOW },
            ]),
        ),
        ("releases", Reply::Releases(vec![release()])),
        (
            "segments",
            Reply::Segments {
                listed: vec![Listed {
                    segment: SEGMENT,
                    shards: 0b10,
                    shard_bytes: 1 << 20,
                    stored: NOW,
                    lease_end: NOW,
                }],
                more: true,
            },
        ),
        ("refused", Reply::Refused { refusal: Refusal::GrantUsedUp, detail: "no room".into() }),
        ("probed", Reply::Probed),
        (
            "links",
            Reply::Links {
                links: vec![
                    Link { peer: NodeId([1; 32]), round_trip_us: Some(1_250), relayed: false },
                    Link { peer: NodeId([2; 32]), round_trip_us: None, relayed: true },
                ],
                count: 7,
            },
        ),
    ]
}

#[test]
fn requests_are_written_as_ever() {
    for (name, request) in requests() {
        golden("protocol", &format!("request-{name}"), &request.to_bytes());
        one_encoding(&request);
    }
}

#[test]
fn replies_are_written_as_ever() {
    for (name, reply) in replies() {
        golden("protocol", &format!("reply-{name}"), &reply.to_bytes());
        one_encoding(&reply);
    }
}
