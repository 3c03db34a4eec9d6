//! Signed records: golden vectors, signatures that hold for one purpose only, one encoding each
//! (`docs/specs/records.md`).

use datamesh_core::advert::{ADDRESS_BYTES_MAX, ADDRESSES_MAX};
use datamesh_core::certificate::{
    AdmissionError, Delegation, Issuer, NodeClaim, OPERATOR_BYTES_MAX,
};
use datamesh_core::invite::InvitePowers;
use datamesh_core::lease::{Listing, Release, Renewal, SegmentPin};
use datamesh_core::signature::signed_bytes;
use datamesh_core::wire::{Encode, WireError, decode};
use datamesh_core::{
    Advert, Context, Domain, Genesis, Grant, InviteTicket, MeshId, NodeCertificate, NodeId,
    PublicKey, Receipt, SegmentId, Signature, StoreTicket,
};
use ed25519_dalek::{Signer, SigningKey};
use proptest::prelude::*;

use crate::vectors::{foreign, golden, one_encoding};

/// A day in 2026, in milliseconds.
pub(crate) const NOW: u64 = 1_780_000_000_000;

/// The keys of the vectors: the secret is one byte, repeated.
fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

const AUTHORITY: u8 = 1;
const DELEGATE: u8 = 2;
const NODE: u8 = 3;
pub(crate) const GRANT: u8 = 4;
const LEASE: u8 = 5;

pub(crate) fn public(number: u8) -> PublicKey {
    PublicKey(key(number).verifying_key().to_bytes())
}

pub(crate) fn node() -> NodeId {
    NodeId(public(NODE).0)
}

fn sign(number: u8, context: Context, mesh: &MeshId, body: &[u8]) -> Signature {
    Signature(key(number).sign(&signed_bytes(context, mesh, body)).to_bytes())
}

pub(crate) fn domain(text: &str) -> Domain {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn genesis() -> Genesis {
    let (authority, created, lease_days, nonce) = (public(AUTHORITY), NOW, 0, [9; 16]);
    let body = Genesis::signed_part(&authority, created, lease_days, &nonce);
    let signature = sign(AUTHORITY, Context::Genesis, &MeshId([0; 32]), &body);
    Genesis { authority, created, lease_days, nonce, signature }
}

pub(crate) fn mesh() -> MeshId {
    genesis().mesh_id()
}

pub(crate) fn delegation(expiry: u64) -> Delegation {
    let (delegate, serial) = (public(DELEGATE), 7);
    let body = Delegation::signed_part(&delegate, serial, expiry);
    let signature = sign(AUTHORITY, Context::Delegation, &mesh(), &body);
    Delegation { delegate, serial, expiry, signature }
}

pub(crate) fn certificate(issuer: Issuer, expiry: u64) -> NodeCertificate {
    let claim = NodeClaim {
        node: node(),
        operator: "Ada".into(),
        domain: domain("home/attic"),
        capacity_cap: 1 << 40,
        serial: 1,
        expiry,
    };
    let signer = if issuer == Issuer::Authority { AUTHORITY } else { DELEGATE };
    let signature = sign(signer, Context::NodeCertificate, &mesh(), &claim.to_bytes());
    NodeCertificate { claim, issuer, signature }
}

pub(crate) fn grant(issuer: Issuer, expiry: u64) -> Grant {
    let (key, bytes_per_node, serial) = (public(GRANT), 1 << 36, 12);
    let body = Grant::signed_part(&key, bytes_per_node, serial, expiry);
    let signer = if issuer == Issuer::Authority { AUTHORITY } else { DELEGATE };
    let signature = sign(signer, Context::Grant, &mesh(), &body);
    Grant { key, bytes_per_node, serial, expiry, issuer, signature }
}

pub(crate) fn store_ticket() -> StoreTicket {
    let (segment, shard_length, lease_end) = (SegmentId([0xAB; 32]), 1_048_576, NOW);
    let body = StoreTicket::signed_part(&segment, shard_length, lease_end);
    let signature = sign(GRANT, Context::StoreTicket, &mesh(), &body);
    StoreTicket { segment, shard_length, lease_end, signature }
}

pub(crate) fn receipt() -> Receipt {
    let (segment, shard, sequence, expiry) = (SegmentId([0xAB; 32]), 5, 1_000_001, 0);
    let body = Receipt::signed_part(&segment, shard, &node(), sequence, expiry);
    let signature = sign(NODE, Context::Receipt, &mesh(), &body);
    Receipt { segment, shard, node: node(), sequence, expiry, signature }
}

pub(crate) fn renewal() -> Renewal {
    let (segment, epoch, expiry) = (SegmentId([0xAB; 32]), 3, NOW + 31_536_000_000);
    let body = Renewal::signed_part(&segment, epoch, expiry);
    Renewal {
        segment,
        epoch,
        expiry,
        signature: sign(LEASE, Context::LeaseRenewal, &mesh(), &body),
    }
}

pub(crate) fn segment_pin() -> SegmentPin {
    let (segment, epoch, priority, until) = (SegmentId([0xAB; 32]), 5, 8, NOW + 86_400_000);
    let body = SegmentPin::signed_part(&segment, epoch, priority, until);
    let signature = sign(LEASE, Context::SegmentPin, &mesh(), &body);
    SegmentPin { segment, epoch, priority, until, signature }
}

pub(crate) fn release() -> Release {
    let (segment, epoch) = (SegmentId([0xAB; 32]), 4);
    let body = Release::signed_part(&segment, epoch);
    Release { segment, epoch, signature: sign(LEASE, Context::LeaseRelease, &mesh(), &body) }
}

pub(crate) fn listing() -> Listing {
    let (grant_key, after) = (public(GRANT), SegmentId([0xAB; 32]));
    let body = Listing::signed_part(&grant_key, &node(), &after, NOW);
    let signature = sign(GRANT, Context::GrantListing, &mesh(), &body);
    Listing { grant_key, node: node(), after, time: NOW, signature }
}

pub(crate) fn advert() -> Advert {
    let mut advert = Advert {
        certificate: certificate(Issuer::Delegate(delegation(0)), 0),
        addresses: vec!["/ip4/192.0.2.1/tcp/4001".into(), "/dns/node.example/tcp/4001".into()],
        capacity: 1 << 39,
        free_class: 11,
        draining: false,
        release: "0.1.0".into(),
        sequence: 42,
        expiry: NOW + 3_600_000,
        signature: Signature([0; 64]),
    };
    advert.signature = sign(NODE, Context::Advert, &mesh(), &advert.signed_part());
    advert
}

fn invite() -> InviteTicket {
    InviteTicket {
        mesh: mesh(),
        issuer: node(),
        addresses: vec!["/ip4/192.0.2.1/tcp/4001".into()],
        secret: [0x5E; 32],
        uses: 5,
        expiry: NOW,
        powers: InvitePowers { node: true, account: false },
    }
}

#[test]
fn vectors_hold() {
    let delegate = || Issuer::Delegate(delegation(0));
    golden("records", "genesis", &genesis().to_bytes());
    golden("records", "genesis.mesh-id", &mesh().0);
    golden("records", "delegation", &delegation(NOW).to_bytes());
    golden("records", "certificate-by-authority", &certificate(Issuer::Authority, 0).to_bytes());
    golden("records", "certificate-by-delegate", &certificate(delegate(), NOW).to_bytes());
    golden("records", "grant-by-authority", &grant(Issuer::Authority, 0).to_bytes());
    golden("records", "grant-by-delegate", &grant(delegate(), NOW).to_bytes());
    golden("records", "grant-by-delegate.id", &grant(delegate(), NOW).id().0);
    golden("records", "store-ticket", &store_ticket().to_bytes());
    golden("records", "receipt", &receipt().to_bytes());
    golden("records", "renewal", &renewal().to_bytes());
    golden("records", "release", &release().to_bytes());
    golden("records", "advert", &advert().to_bytes());
    golden("records", "invite", &invite().to_bytes());
    golden("records", "invite.text", invite().to_string().as_bytes());
    golden("records", "invite.secret-hash", &InviteTicket::secret_hash(&[0x5E; 32]).0);
}

#[test]
fn every_record_of_the_vectors_has_one_encoding() {
    one_encoding(&genesis());
    one_encoding(&delegation(NOW));
    one_encoding(&certificate(Issuer::Authority, 0));
    one_encoding(&certificate(Issuer::Delegate(delegation(0)), NOW));
    one_encoding(&grant(Issuer::Authority, 0));
    one_encoding(&grant(Issuer::Delegate(delegation(0)), NOW));
    one_encoding(&store_ticket());
    one_encoding(&receipt());
    one_encoding(&renewal());
    one_encoding(&release());
    one_encoding(&advert());
    one_encoding(&invite());
}

#[test]
fn signatures_hold_in_their_own_mesh_alone() {
    let other = MeshId([1; 32]);
    let authority = public(AUTHORITY);
    let by_delegate = || Issuer::Delegate(delegation(0));
    assert_eq!(genesis().verify(), Ok(()));
    type Check<'a> = Box<dyn Fn(&MeshId) -> bool + 'a>;
    let checks: [(&str, Check<'_>); 8] = [
        ("delegation", Box::new(|mesh| delegation(0).verify(&authority, mesh, NOW).is_ok())),
        (
            "certificate",
            Box::new(|mesh| certificate(by_delegate(), 0).verify(&authority, mesh, NOW).is_ok()),
        ),
        ("grant", Box::new(|mesh| grant(by_delegate(), 0).verify(&authority, mesh, NOW).is_ok())),
        ("ticket", Box::new(|mesh| store_ticket().verify(&public(GRANT), mesh).is_ok())),
        ("receipt", Box::new(|mesh| receipt().verify(mesh).is_ok())),
        ("renewal", Box::new(|mesh| renewal().verify(&public(LEASE), mesh).is_ok())),
        ("release", Box::new(|mesh| release().verify(&public(LEASE), mesh).is_ok())),
        ("advert", Box::new(|mesh| advert().verify(mesh).is_ok())),
    ];
    for (name, holds) in checks {
        assert!(holds(&mesh()), "{name}");
        assert!(!holds(&other), "{name} in another mesh");
    }
}

#[test]
fn a_signature_is_worth_nothing_for_another_purpose() {
    // A renewal that never ends and a release differ in length, a delegation and a ticket do not
    // name the same key: the context alone must keep them apart, so sign one body for each.
    let body = [7; 48];
    let contexts = [
        Context::Genesis,
        Context::Delegation,
        Context::NodeCertificate,
        Context::Grant,
        Context::StoreTicket,
        Context::Receipt,
        Context::Advert,
        Context::LeaseRenewal,
        Context::LeaseRelease,
        Context::LogCertificate,
        Context::Operation,
        Context::Head,
        Context::GrantListing,
        Context::Audit,
    ];
    for made_for in contexts {
        let signature = sign(NODE, made_for, &mesh(), &body);
        for shown_for in contexts {
            let holds = public(NODE).verify(shown_for, &mesh(), &body, &signature).is_ok();
            assert_eq!(holds, made_for == shown_for, "{made_for:?} shown for {shown_for:?}");
        }
    }
}

#[test]
fn a_changed_byte_of_a_signed_record_does_not_pass() {
    let authority = public(AUTHORITY);
    changed(&genesis(), |record| record.verify().is_ok());
    changed(&delegation(0), |record| record.verify(&authority, &mesh(), NOW).is_ok());
    let by_delegate = || Issuer::Delegate(delegation(0));
    changed(&certificate(by_delegate(), 0), |record| {
        record.verify(&authority, &mesh(), NOW).is_ok()
    });
    changed(&grant(by_delegate(), 0), |record| record.verify(&authority, &mesh(), NOW).is_ok());
    changed(&store_ticket(), |record| record.verify(&public(GRANT), &mesh()).is_ok());
    changed(&receipt(), |record| record.verify(&mesh()).is_ok());
    changed(&renewal(), |record| record.verify(&public(LEASE), &mesh()).is_ok());
    changed(&release(), |record| record.verify(&public(LEASE), &mesh()).is_ok());
    changed(&advert(), |record| {
        record.verify(&mesh()).is_ok()
            && record.certificate.verify(&authority, &mesh(), NOW).is_ok()
    });
}

/// Changes each byte of a record in turn: no change may pass `holds`.
fn changed<T: Encode + datamesh_core::wire::Decode>(record: &T, holds: impl Fn(&T) -> bool) {
    assert!(holds(record));
    let good = record.to_bytes();
    for at in 0..good.len() {
        for change in [1, 0x80] {
            let mut bytes = good.clone();
            bytes[at] ^= change;
            if let Ok(record) = decode::<T>(&bytes) {
                assert!(!holds(&record), "byte {at} changed by {change} passed");
            }
        }
    }
}

#[test]
fn expiry_counts_from_its_millisecond() {
    let authority = public(AUTHORITY);
    let at = |now| delegation(NOW).verify(&authority, &mesh(), now);
    assert_eq!(at(NOW - 1), Ok(()));
    let expired = AdmissionError::Expired { record: "delegation", expiry: NOW };
    assert_eq!(at(NOW), Err(expired.clone()));
    // A delegate's power ends what it signed.
    let by_delegate = || Issuer::Delegate(delegation(NOW));
    assert_eq!(
        certificate(by_delegate(), 0).verify(&authority, &mesh(), NOW),
        Err(expired.clone())
    );
    assert_eq!(grant(by_delegate(), 0).verify(&authority, &mesh(), NOW), Err(expired));
    assert_eq!(
        certificate(Issuer::Authority, NOW).verify(&authority, &mesh(), NOW),
        Err(AdmissionError::Expired { record: "node certificate", expiry: NOW })
    );
    assert_eq!(
        grant(Issuer::Authority, NOW).verify(&authority, &mesh(), NOW),
        Err(AdmissionError::Expired { record: "grant", expiry: NOW })
    );
    assert_eq!(grant(Issuer::Authority, 0).verify(&authority, &mesh(), u64::MAX), Ok(()));
}

#[test]
fn weak_keys_sign_nothing() {
    // The points of small order: with them one signature fits many messages. The first three are
    // the neutral element, the point of order two and one of order four.
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let mut order_two = [0xFF; 32];
    (order_two[0], order_two[31]) = (0xEC, 0x7F);
    for weak in [neutral, order_two, [0; 32]] {
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&neutral);
        for body in 0..=255u8 {
            let verdict =
                PublicKey(weak).verify(Context::Receipt, &mesh(), &[body], &Signature(signature));
            assert!(verdict.is_err(), "{weak:?} over {body}");
        }
    }
}

#[test]
fn a_signature_has_one_form() {
    // S + L is the same number modulo the group's order L (RFC 8032, 5.1.7: must be refused).
    const ORDER: [u8; 32] = [
        0xED, 0xD3, 0xF5, 0x5C, 0x1A, 0x63, 0x12, 0x58, 0xD6, 0x9C, 0xF7, 0xA2, 0xDE, 0xF9, 0xDE,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut record = receipt();
    let mut carry = 0;
    for (byte, order) in record.signature.0[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
    assert_eq!(carry, 0);
    assert!(record.verify(&mesh()).is_err());
}

#[test]
fn lists_and_texts_above_their_bounds_are_refused() {
    let mut record = advert();
    record.addresses = vec!["/a".into(); ADDRESSES_MAX + 1];
    assert!(matches!(
        decode::<Advert>(&record.to_bytes()),
        Err(WireError::Bound { field: "addresses", .. })
    ));
    record.addresses = vec!["a".repeat(ADDRESS_BYTES_MAX + 1)];
    assert!(matches!(
        decode::<Advert>(&record.to_bytes()),
        Err(WireError::Bound { field: "addresses", .. })
    ));
    let mut record = certificate(Issuer::Authority, 0);
    record.claim.operator = "x".repeat(OPERATOR_BYTES_MAX + 1);
    assert!(matches!(
        decode::<NodeCertificate>(&record.to_bytes()),
        Err(WireError::Bound { field: "operator", .. })
    ));
}

#[test]
fn texts_that_could_steer_a_terminal_or_forge_a_line_of_a_log_are_refused() {
    for bad in ["a\nb", "\u{1b}[2J", "tab\t", "\u{7f}", "\u{9b}31m", "\0"] {
        let mut record = certificate(Issuer::Authority, 0);
        record.claim.operator = bad.into();
        assert_eq!(
            decode::<NodeCertificate>(&record.to_bytes()),
            Err(WireError::Invalid { field: "operator" })
        );
        let mut record = advert();
        record.release = bad.into();
        assert_eq!(
            decode::<Advert>(&record.to_bytes()),
            Err(WireError::Invalid { field: "release" })
        );
        let mut record = advert();
        record.addresses.push(bad.into());
        assert_eq!(
            decode::<Advert>(&record.to_bytes()),
            Err(WireError::Invalid { field: "addresses" })
        );
    }
    let mut record = certificate(Issuer::Authority, 0);
    record.claim.operator = "Åse & søn \u{1f980}".into();
    assert_eq!(decode::<NodeCertificate>(&record.to_bytes()), Ok(record));
}

#[test]
fn parts_of_a_domain_are_names() {
    for text in ["..", ".", "a/..", "../a", "a/./b", "a//b", "/a", "a/", "", "a b", "a\n", "é"] {
        assert!(text.parse::<Domain>().is_err(), "{text:?}");
    }
    for text in ["...", "a..b", ".a", "zone-a/host_1.example", "a/b/c/d"] {
        assert_eq!(domain(text).as_str(), text);
    }
}

#[test]
fn an_advert_with_the_certificate_of_another_node_is_refused() {
    let mut bytes = advert().to_bytes();
    bytes[1] ^= 1;
    assert_eq!(decode::<Advert>(&bytes), Err(WireError::Invalid { field: "advert certificate" }));
}

fn any_key() -> impl Strategy<Value = PublicKey> {
    any::<[u8; 32]>().prop_map(PublicKey)
}

fn any_signature() -> impl Strategy<Value = Signature> {
    (any::<[u8; 32]>(), any::<[u8; 32]>()).prop_map(|(r, s)| {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&r);
        bytes[32..].copy_from_slice(&s);
        Signature(bytes)
    })
}

fn any_segment() -> impl Strategy<Value = SegmentId> {
    any::<[u8; 32]>().prop_map(SegmentId)
}

fn any_node() -> impl Strategy<Value = NodeId> {
    any::<[u8; 32]>().prop_map(NodeId)
}

/// A line of at most `bound` bytes, in characters of one to four bytes.
fn any_text(bound: usize) -> impl Strategy<Value = String> {
    let visible = any::<char>().prop_filter("no control character", |c| !c.is_control());
    proptest::collection::vec(visible, 0..=bound / 4).prop_map(String::from_iter)
}

pub(crate) fn any_domain() -> impl Strategy<Value = Domain> {
    "[a-zA-Z0-9._-]{1,31}(/[a-zA-Z0-9._-]{1,31}){0,3}"
        .prop_filter_map("a domain", |text| text.parse().ok())
}

fn any_delegation() -> impl Strategy<Value = Delegation> {
    (any_key(), any::<u64>(), any::<u64>(), any_signature()).prop_map(
        |(delegate, serial, expiry, signature)| Delegation { delegate, serial, expiry, signature },
    )
}

fn any_issuer() -> impl Strategy<Value = Issuer> {
    prop_oneof![Just(Issuer::Authority), any_delegation().prop_map(Issuer::Delegate)]
}

pub(crate) fn any_genesis() -> impl Strategy<Value = Genesis> {
    (any_key(), any::<u64>(), any::<u32>(), any::<[u8; 16]>(), any_signature()).prop_map(
        |(authority, created, lease_days, nonce, signature)| Genesis {
            authority,
            created,
            lease_days,
            nonce,
            signature,
        },
    )
}

pub(crate) fn any_certificate() -> impl Strategy<Value = NodeCertificate> {
    let claim = (any_node(), any_text(OPERATOR_BYTES_MAX), any_domain(), any::<[u64; 3]>())
        .prop_map(|(node, operator, domain, [capacity_cap, serial, expiry])| NodeClaim {
            node,
            operator,
            domain,
            capacity_cap,
            serial,
            expiry,
        });
    (claim, any_issuer(), any_signature()).prop_map(|(claim, issuer, signature)| NodeCertificate {
        claim,
        issuer,
        signature,
    })
}

pub(crate) fn any_grant() -> impl Strategy<Value = Grant> {
    (any_key(), any::<[u64; 3]>(), any_issuer(), any_signature()).prop_map(
        |(key, [bytes_per_node, serial, expiry], issuer, signature)| Grant {
            key,
            bytes_per_node,
            serial,
            expiry,
            issuer,
            signature,
        },
    )
}

pub(crate) fn any_store_ticket() -> impl Strategy<Value = StoreTicket> {
    (any_segment(), any::<u32>(), any::<u64>(), any_signature()).prop_map(
        |(segment, shard_length, lease_end, signature)| StoreTicket {
            segment,
            shard_length,
            lease_end,
            signature,
        },
    )
}

pub(crate) fn any_receipt() -> impl Strategy<Value = Receipt> {
    (any_segment(), any::<u8>(), any_node(), any::<[u64; 2]>(), any_signature()).prop_map(
        |(segment, shard, node, [sequence, expiry], signature)| Receipt {
            segment,
            shard,
            node,
            sequence,
            expiry,
            signature,
        },
    )
}

pub(crate) fn any_renewal() -> impl Strategy<Value = Renewal> {
    (any_segment(), any::<[u64; 2]>(), any_signature()).prop_map(
        |(segment, [epoch, expiry], signature)| Renewal { segment, epoch, expiry, signature },
    )
}

pub(crate) fn any_segment_pin() -> impl Strategy<Value = SegmentPin> {
    (any_segment(), any::<[u64; 2]>(), any::<u8>(), any_signature()).prop_map(
        |(segment, [epoch, until], priority, signature)| SegmentPin {
            segment,
            epoch,
            priority,
            until,
            signature,
        },
    )
}

fn any_release() -> impl Strategy<Value = Release> {
    (any_segment(), any::<u64>(), any_signature()).prop_map(|(segment, epoch, signature)| Release {
        segment,
        epoch,
        signature,
    })
}

fn any_addresses() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec(any_text(ADDRESS_BYTES_MAX), 0..=ADDRESSES_MAX)
}

pub(crate) fn any_advert() -> impl Strategy<Value = Advert> {
    let said = (any::<[u64; 3]>(), any::<u8>(), any::<bool>(), any_text(32));
    (any_certificate(), any_addresses(), said, any_signature()).prop_map(
        |(certificate, addresses, said, signature)| {
            let ([capacity, sequence, expiry], free_class, draining, release) = said;
            Advert {
                certificate,
                addresses,
                capacity,
                free_class,
                draining,
                release,
                sequence,
                expiry,
                signature,
            }
        },
    )
}

fn any_invite() -> impl Strategy<Value = InviteTicket> {
    let rest = (any::<[u8; 32]>(), any::<u32>(), any::<u64>(), any::<bool>(), any::<bool>());
    (any::<[u8; 32]>(), any_node(), any_addresses(), rest).prop_map(
        |(mesh, issuer, addresses, (secret, uses, expiry, node, account))| InviteTicket {
            mesh: MeshId(mesh),
            issuer,
            addresses,
            secret,
            uses,
            expiry,
            powers: InvitePowers { node, account },
        },
    )
}

/// For each record: one encoding, and foreign or damaged bytes do no harm.
macro_rules! properties {
    ($($module:ident $strategy:ident $type:ty),* $(,)?) => {$(
        mod $module {
            use super::*;

            proptest! {
                #![proptest_config(ProptestConfig::with_cases(64))]

                #[test]
                fn has_one_encoding(record in $strategy()) {
                    one_encoding(&record);
                }

                #[test]
                fn foreign_bytes_are_read_without_harm(
                    bytes in proptest::collection::vec(any::<u8>(), 0..600),
                    version in 0u8..3,
                ) {
                    foreign::<$type>(&bytes);
                    // Most records begin with a version: get past it.
                    foreign::<$type>(&[&[version], bytes.as_slice()].concat());
                }

                #[test]
                fn damaged_bytes_are_read_without_harm(
                    record in $strategy(),
                    damage in proptest::collection::vec(
                        (any::<prop::sample::Index>(), any::<u8>()), 1..8,
                    ),
                ) {
                    let mut bytes = record.to_bytes();
                    for (at, byte) in damage {
                        let at = at.index(bytes.len());
                        bytes[at] = byte;
                    }
                    foreign::<$type>(&bytes);
                }
            }
        }
    )*};
}
properties! {
    a_genesis any_genesis Genesis,
    a_delegation any_delegation Delegation,
    a_certificate any_certificate NodeCertificate,
    a_grant any_grant Grant,
    a_store_ticket any_store_ticket StoreTicket,
    a_receipt any_receipt Receipt,
    a_renewal any_renewal Renewal,
    a_release any_release Release,
    an_advert any_advert Advert,
    an_invite any_invite InviteTicket,
}

proptest! {
    #[test]
    fn an_invite_reads_back_from_its_text(ticket in any_invite()) {
        prop_assert_eq!(ticket.to_string().parse(), Ok(ticket));
    }
}
