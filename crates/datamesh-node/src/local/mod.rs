//! The socket in the home: how commands reach the daemon.
//!
//! One connection carries one operation. Frames are `type (1 byte) ‖ length (u32, little-endian) ‖
//! payload`; payloads are CBOR, but for file bytes, which are raw and at most 256 KiB. After the head
//! of a large file that it fetches, the command answers how many of its bytes it has already. The
//! socket is readable and writable by its owner only, and the command makes sure that its own user or
//! root listens there before it sends anything: that is all the authentication there is.

mod frame;
mod reach;
mod remote;
mod server;
#[cfg(test)]
mod tests;

pub(crate) use reach::reach_daemon;
pub(crate) use remote::Remote;
pub(crate) use server::LocalServer;

use datamesh_api::{
    Answer, Call, GetReply, GetRequest, OperationError, Progress, PutReply, PutRequest,
};
use datamesh_core::stream::EntryHead;
use serde::{Deserialize, Serialize};

/// Reads a frame's payload as whoever expects that frame, for the [fuzzer](crate::parsers).
pub(crate) fn reads(frame: u8, payload: &[u8]) -> bool {
    use frame::value;
    match frame {
        1 => value::<Operation>(payload).is_ok(),
        2 => value::<EntryHead>(payload).is_ok(),
        4 => value::<Option<String>>(payload).is_ok(),
        6 => value::<String>(payload).is_ok(),
        8 => value::<Progress>(payload).is_ok(),
        9 => value::<Result<Outcome, OperationError>>(payload).is_ok(),
        10 => value::<u64>(payload).is_ok(),
        _ => false,
    }
}

/// What a connection is for.
#[derive(Debug, Serialize, Deserialize)]
enum Operation {
    Call(Call),
    Put(PutRequest),
    Get(GetRequest),
}

impl Operation {
    /// Whether the account's keys are needed for it.
    fn needs_keys(&self) -> bool {
        match self {
            Self::Put(_) | Self::Get(_) => true,
            Self::Call(Call::Repair(request)) => request.name.is_some() || request.auto,
            Self::Call(call) => {
                matches!(call, Call::Info(_) | Call::Remove(_) | Call::Distribution(_))
            }
        }
    }
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
#[allow(clippy::large_enum_variant, reason = "one outcome exists at a time")]
enum Outcome {
    Call(Answer),
    Put(PutReply),
    Get(GetReply),
}
