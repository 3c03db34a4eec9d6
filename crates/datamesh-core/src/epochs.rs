//! The epochs record: which catalog epoch counts, for whom, and what no longer does.
//!
//! It lies on the mesh as the head of a log of its own, [`EPOCHS_LOG`], in a slot that only the
//! account's words can write: its account is the identity's key, blinded for the mesh. So a device
//! that was lost can neither replace the record nor take it back, and nodes cannot tell whose it is.
//! The revision of its head is the epoch. What is sealed in it is an [`Epochs`]. Layout:
//! `docs/specs/epochs.md`.

use bytes::Bytes;

use crate::id::{DeviceId, Hash, LogId};
use crate::record;
use crate::seam::Timestamp;
use crate::signature::PublicKey;
use crate::wire::{Decode, Encode, Reader, WireError, Writer};

/// The log id of the record's head.
pub const EPOCHS_LOG: LogId = LogId(*b"datamesh epochs ");

/// Highest epoch.
pub const EPOCH_MAX: u32 = 256;

/// Most devices that an epoch's key is wrapped to.
pub const DEVICES_MAX: usize = 32;

/// Most logs of revoked devices.
pub const REVOKED_MAX: usize = 96;

/// Bytes of a key wrapped by HPKE with X-Wing: 1120 encapsulated, 32 of the key, 16 of the tag.
pub const WRAP_BYTES: usize = 1168;

/// Bytes of the sealed list of earlier keys, at most: nonce, tag, and 32 for each.
pub const EARLIER_BYTES_MAX: usize = 12 + 16 + 32 * EPOCH_MAX as usize;

/// The key of an epoch for one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceWrap {
    /// The device.
    pub device: DeviceId,
    /// The epoch's catalog key, wrapped to the key in the device's certificate.
    pub wrapped: Box<[u8; WRAP_BYTES]>,
}

impl Encode for DeviceWrap {
    fn encode(&self, out: &mut Writer) {
        self.device.encode(out);
        out.raw(&*self.wrapped);
    }
}

impl Decode for DeviceWrap {
    fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self { device: DeviceId::decode(from)?, wrapped: Box::new(from.array()?) })
    }
}

record! {
    /// A log of a revoked device, and how far it counts.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct RevokedLog {
        /// The device.
        pub device: DeviceId,
        /// The key that signs its operations.
        pub log_key: PublicKey,
        /// Its log.
        pub log: LogId,
        /// The last operation that counts; 0 where none does.
        pub sequence: u64,
        /// That operation's hash; zero where none counts.
        pub hash: Hash,
        /// The epoch that began with the revocation.
        pub epoch: u32,
    }
}

/// What is sealed in the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epochs {
    /// The epoch that counts, from 1 to [`EPOCH_MAX`]; the same as the head's revision.
    pub epoch: u32,
    /// When it began, by the clock of the device that began it.
    pub began: Timestamp,
    /// Hash of the record's head before; zero for the first.
    pub previous: Hash,
    /// The keys of all epochs before, in order from 0, sealed under this epoch's.
    pub earlier: Bytes,
    /// The epoch's key for each device that goes on, in the order of their ids.
    pub devices: Vec<DeviceWrap>,
    /// Logs of all devices that were ever revoked, in the order of device and log.
    pub revoked: Vec<RevokedLog>,
}

impl Epochs {
    /// Newest version of the layout.
    pub const VERSION: u8 = 1;

    /// Whether a device was revoked.
    pub fn is_revoked(&self, device: &DeviceId) -> bool {
        self.revoked.iter().any(|entry| entry.device == *device)
    }

    /// How far a log that `log_key` signs counts; nothing where that has no bound. A log that a
    /// revoked device began afterwards does not count at all.
    pub fn bound(&self, log_key: &PublicKey, log: &LogId) -> Option<u64> {
        if let Some(entry) = self.revoked.iter().find(|entry| entry.log == *log) {
            return Some(entry.sequence);
        }
        self.revoked.iter().any(|entry| entry.log_key == *log_key).then_some(0)
    }
}

impl Encode for Epochs {
    fn encode(&self, out: &mut Writer) {
        out.u8(Self::VERSION).u32(self.epoch).u64(self.began).raw(&self.previous.0);
        out.bytes(&self.earlier).list(&self.devices).list(&self.revoked);
    }
}

impl Decode for Epochs {
    fn decode(from: &mut Reader<'_>) -> Result<Self, WireError> {
        from.version("epochs record", Self::VERSION)?;
        let epoch = from.u32()?;
        if epoch == 0 || epoch > EPOCH_MAX {
            return Err(WireError::Invalid { field: "epoch" });
        }
        let (began, previous) = (from.u64()?, Hash::decode(from)?);
        let earlier = Bytes::copy_from_slice(from.bytes("earlier keys", EARLIER_BYTES_MAX)?);
        let devices: Vec<DeviceWrap> = from.list("devices", DEVICES_MAX)?;
        let revoked: Vec<RevokedLog> = from.list("revoked logs", REVOKED_MAX)?;
        let in_order = devices.windows(2).all(|pair| pair[0].device < pair[1].device)
            && revoked
                .windows(2)
                .all(|pair| (pair[0].device, pair[0].log) < (pair[1].device, pair[1].log));
        if !in_order {
            return Err(WireError::Invalid { field: "order of devices" });
        }
        Ok(Self { epoch, began, previous, earlier, devices, revoked })
    }
}
