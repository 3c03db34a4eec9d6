//! Keeps freed buffers of frames in the process.
//!
//! Every frame of up to 256 KiB is allocated once by its sender and once by its receiver, inside
//! yamux. glibc returns freed memory at the end of its heap to the system above a threshold of
//! 128 KiB at first, and then each frame pays for fresh pages: two thirds of all processor time of
//! a transfer. The threshold follows the largest block that was mapped by itself and freed
//! (`M_TRIM_THRESHOLD` and `M_MMAP_THRESHOLD` in mallopt(3)), so one such block sets it. Other
//! allocators are not affected.

use std::hint::black_box;
use std::sync::Once;

/// glibc keeps up to twice this much free memory at the end of each of its arenas.
const BLOCK_BYTES: usize = 8 << 20;

/// Raises the threshold, once a process. The block is never touched, so it costs two system calls.
pub(crate) fn keep_freed_buffers() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| drop(black_box(Vec::<u8>::with_capacity(BLOCK_BYTES))));
}
