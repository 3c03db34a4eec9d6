//! Signatures that a simulation checks once for all of its nodes.
//!
//! In a mesh each node checks on a machine of its own what another one signed. A simulation has all of
//! them in one thread, which would check the same signature for each: that was a quarter of all its
//! time. What comes of a check follows from key, bytes and signature alone, so the answer is found by
//! all three of them, and no node is told anything but what its own check would have said.
//!
//! Only simulations have this: the program is released without the feature, and a thread that does not
//! ask for it checks everything.

use std::cell::RefCell;
use std::collections::HashMap;
use std::marker::PhantomData;

use super::{PublicKey, Signature};
use crate::id::Hash;

/// Answers that are kept. What was signed last is checked most, so it does not matter much which are
/// let go; all are, where there would be more.
const KEPT_MAX: usize = 65_536;

thread_local! {
    static KEPT: RefCell<Option<HashMap<Hash, bool>>> = const { RefCell::new(None) };
}

/// As long as this lives, its thread checks each signature once.
#[derive(Debug)]
pub struct Once(PhantomData<*const ()>);

impl Once {
    /// From now on.
    pub fn begin() -> Self {
        KEPT.with_borrow_mut(|kept| *kept = Some(HashMap::new()));
        Self(PhantomData)
    }
}

/// How many signatures this thread has checked and knows the answer of; nothing where it does not
/// remember any.
pub fn count() -> Option<usize> {
    KEPT.with_borrow(|kept| kept.as_ref().map(HashMap::len))
}

impl Drop for Once {
    fn drop(&mut self) {
        KEPT.with_borrow_mut(|kept| *kept = None);
    }
}

/// What `check` says, or said when it was asked the same in this thread before.
pub(super) fn once(
    key: &PublicKey,
    signed: &[u8],
    signature: &Signature,
    check: impl FnOnce() -> bool,
) -> bool {
    KEPT.with_borrow_mut(|kept| {
        let Some(kept) = kept else { return check() };
        // The first two have one length each, so nothing else has the same bytes.
        let mut hasher = blake3::Hasher::new();
        hasher.update(&key.0).update(&signature.0).update(signed);
        let asked = Hash(*hasher.finalize().as_bytes());
        if let Some(answer) = kept.get(&asked) {
            return *answer;
        }
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        let answer = check();
        kept.insert(asked, answer);
        answer
    })
}
