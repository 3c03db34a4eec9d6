//! What a damaged disk or somebody else's folder brings, as functions of bytes: for the fuzzer.

use crate::{base, rules};

/// A base's file, as it is and with the hash that it ought to have. Returns whether what was read is written and
/// read again as the same.
pub fn base(bytes: &[u8]) -> bool {
    base::reads_again(bytes) && base::reads_again(&base::hashed(bytes.to_vec()))
}

/// A file with rules of what is left out. Returns how many of its lines are no patterns.
pub fn rules(bytes: &[u8]) -> usize {
    let (rules, wrong) = rules::rules_of(&String::from_utf8_lossy(bytes));
    for name in ["a", "a/b.txt", "target/debug", "ä ö"] {
        rules.matched(name, false);
        rules.matched(name, true);
    }
    wrong.len()
}
