//! Sums over rows: eight bytes of BLAKE3, enough against accident, nothing against malice.

/// Sums of one kind of row.
pub(crate) struct Sum(blake3::Hasher);

impl Sum {
    /// Sums that meet those of no other context.
    pub(crate) fn new(context: &str) -> Self {
        Self(blake3::Hasher::new_derive_key(context))
    }

    /// The sum over columns; their lengths count, so moving a byte from one to the next shows.
    pub(crate) fn of(&self, columns: &[&[u8]]) -> [u8; 8] {
        let mut hasher = self.0.clone();
        for column in columns {
            hasher.update(&(column.len() as u64).to_le_bytes()).update(column);
        }
        let mut sum = [0; 8];
        sum.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        sum
    }
}
