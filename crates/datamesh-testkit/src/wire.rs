//! A long wire between two TAP devices of a network namespace: every frame that comes out of one goes into
//! the other, and back, after a delay. The kernel's own way to do this (netem) is not everywhere.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test's program that lives in the real system and stops at the first surprise"
)]

use std::fs::File;
use std::io::{Read, Write};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::ioctl::{Setter, ioctl};

/// `TUNSETIFF` of `linux/if_tun.h`: `_IOW('T', 202, int)`.
const SET_INTERFACE: rustix::ioctl::Opcode = 0x4004_54ca;

/// `IFF_TAP | IFF_NO_PI`: whole Ethernet frames and nothing before them.
const TAP_FRAMES: u16 = 0x0002 | 0x1000;

/// Longest frame of a veth, with room.
const FRAME_MAX: usize = 64 * 1024;

/// Frames under way in one direction; beyond, frames are lost, as on any wire.
const FRAMES_MAX: usize = 4096;

/// `struct ifreq` of `linux/if.h`, as `TUNSETIFF` reads it.
#[repr(C)]
#[derive(Debug)]
struct Interface {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

/// Opens one end: a TAP device that is there already.
fn end(name: &str) -> File {
    let file = File::options().read(true).write(true).open("/dev/net/tun").unwrap();
    let mut interface = Interface { name: [0; 16], flags: TAP_FRAMES, rest: [0; 22] };
    interface.name[..name.len()].copy_from_slice(name.as_bytes());
    #[expect(unsafe_code, reason = "there is no safe call for it")]
    // SAFETY: the number is that of TUNSETIFF, which reads a `struct ifreq` of 40 bytes.
    unsafe {
        ioctl(&file, Setter::<SET_INTERFACE, Interface>::new(interface)).unwrap();
    }
    file
}

/// Carries frames in one direction.
fn carry_one_way(mut from: File, mut to: File, delay: Duration) {
    let (hand, taken) = mpsc::sync_channel::<(Instant, Vec<u8>)>(FRAMES_MAX);
    thread::spawn(move || {
        for (due, frame) in taken {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            // A device that is down takes nothing: the frame is lost.
            drop(to.write(&frame));
        }
    });
    let mut frame = vec![0; FRAME_MAX];
    loop {
        match from.read(&mut frame) {
            Ok(length) => drop(hand.try_send((Instant::now() + delay, frame[..length].to_vec()))),
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// Is the wire between two TAP devices of this process's namespace, until the process is ended.
///
/// # Panics
/// Where the devices are not there.
pub fn carry(one: &str, other: &str, delay: Duration) -> ! {
    let (one, other) = (end(one), end(other));
    let (one_too, other_too) = (one.try_clone().unwrap(), other.try_clone().unwrap());
    thread::spawn(move || carry_one_way(one, other, delay));
    carry_one_way(other_too, one_too, delay);
    unreachable!("it carries until the process is ended")
}
