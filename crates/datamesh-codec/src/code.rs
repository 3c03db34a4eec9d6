//! The erasure code, behind a trait of two methods.
//!
//! The format fixes the generator matrix: GF(2⁸) with the polynomial 0x11D, a Vandermonde matrix
//! over 0, 1, 2, … made systematic by the inverse of its top square, as Backblaze published it
//! ("Erasure Coding", 2015) and most libraries use it. Any library of that family decodes our
//! shards; the tests compare two of them byte for byte.

use std::sync::OnceLock;

use datamesh_core::Scheme;

/// Shards that the code cannot work with: wrong in number or length, or too few.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("erasure code of {scheme}: {reason}")]
pub struct CodeError {
    /// The scheme.
    pub scheme: Scheme,
    /// What is wrong.
    pub reason: String,
}

/// Makes parity and rebuilds what is missing, for one scheme.
pub trait ErasureCode: Send + Sync {
    /// Fills `parity` (m slices) from `data` (k slices), all of one length.
    ///
    /// # Errors
    /// [`CodeError`] where numbers or lengths do not fit the scheme.
    fn encode(&self, data: &[&[u8]], parity: &mut [&mut [u8]]) -> Result<(), CodeError>;

    /// Fills `out` with the shards whose numbers `wanted` lists, from any k of `shards` (n places).
    ///
    /// # Errors
    /// [`CodeError`] where fewer than k shards are there, or numbers or lengths do not fit.
    fn rebuild(
        &self,
        shards: &[Option<&[u8]>],
        wanted: &[usize],
        out: &mut [&mut [u8]],
    ) -> Result<(), CodeError>;
}

/// The code of a scheme. Its tables are made once.
///
/// # Errors
/// [`CodeError`] where the library refuses the scheme, which the tests rule out for each scheme
/// that [`Scheme`] accepts.
pub fn erasure_code(scheme: Scheme) -> Result<&'static dyn ErasureCode, CodeError> {
    /// One place for each (k, m): k is at most 16 and so is m.
    static CODES: [OnceLock<Option<ReedSolomon>>; 17 * 17] = [const { OnceLock::new() }; 17 * 17];
    let refused = || CodeError { scheme, reason: "the library refuses this scheme".into() };
    let place = CODES.get(scheme.k() * 17 + scheme.m()).ok_or_else(refused)?;
    match place.get_or_init(|| ReedSolomon::of(scheme)) {
        Some(code) => Ok(code),
        None => Err(refused()),
    }
}

struct ReedSolomon {
    scheme: Scheme,
    coder: rusty_erasure::Coder,
}

impl ReedSolomon {
    fn of(scheme: Scheme) -> Option<Self> {
        let matrix =
            rusty_erasure::compat::reed_solomon_erasure_matrix(scheme.k(), scheme.m()).ok()?;
        let coder = rusty_erasure::coder(matrix).ok()?;
        Some(Self { scheme, coder })
    }

    fn error(&self, reason: impl ToString) -> CodeError {
        CodeError { scheme: self.scheme, reason: reason.to_string() }
    }
}

impl ErasureCode for ReedSolomon {
    fn encode(&self, data: &[&[u8]], parity: &mut [&mut [u8]]) -> Result<(), CodeError> {
        self.coder.encode(data, parity).map_err(|error| self.error(error))
    }

    fn rebuild(
        &self,
        shards: &[Option<&[u8]>],
        wanted: &[usize],
        out: &mut [&mut [u8]],
    ) -> Result<(), CodeError> {
        self.coder.recover(shards, wanted, out).map_err(|error| self.error(error))
    }
}
