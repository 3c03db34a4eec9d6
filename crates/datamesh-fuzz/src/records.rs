//! Records of the wire and of the catalog.

use datamesh_core::catalog::{LogCertificate, Operation};
use datamesh_core::epochs::Epochs;
use datamesh_core::head::{Head, HeadBody, Page, PageIndex};
use datamesh_core::lease::{Release, Renewal, SegmentPin};
use datamesh_core::message::{Reply, Request};
use datamesh_core::wire::{Decode, Encode, decode};
use datamesh_core::{Advert, Descriptor, Genesis, Grant, NodeCertificate, Receipt, StoreTicket};

/// Reads one record; what can be read must be what is written again.
pub(crate) fn one<T: Encode + Decode>(bytes: &[u8]) {
    if let Ok(record) = decode::<T>(bytes) {
        assert!(record.to_bytes() == bytes, "a record with two encodings");
    }
}

pub(crate) fn messages(bytes: &[u8]) {
    one::<Request>(bytes);
    one::<Reply>(bytes);
}

pub(crate) fn records(bytes: &[u8]) {
    one::<Advert>(bytes);
    one::<Genesis>(bytes);
    one::<Grant>(bytes);
    one::<NodeCertificate>(bytes);
    one::<Receipt>(bytes);
    one::<Release>(bytes);
    one::<Renewal>(bytes);
    one::<SegmentPin>(bytes);
    one::<StoreTicket>(bytes);
    if let Ok(descriptor) = decode::<Descriptor>(bytes) {
        assert!(descriptor.to_bytes() == bytes, "a descriptor with two encodings");
        // What follows from a descriptor must follow from any that can be read.
        let layout = datamesh_codec::Layout::of(&descriptor);
        assert!(layout.shard_length() == descriptor.shard_length(), "two lengths of a shard");
        assert!(datamesh_codec::check_shard(&descriptor, 0, &[]).is_err(), "an empty shard holds");
    }
}

pub(crate) fn catalog(bytes: &[u8]) {
    one::<Epochs>(bytes);
    one::<Head>(bytes);
    one::<HeadBody>(bytes);
    one::<LogCertificate>(bytes);
    one::<Operation>(bytes);
    one::<Page>(bytes);
    one::<PageIndex>(bytes);
}
