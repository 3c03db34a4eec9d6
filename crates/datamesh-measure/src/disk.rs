//! The disk under a folder, and its file system.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use datamesh_store::{ALIGNMENT, Directory, Disk};
use tempfile::TempDir;

use crate::{MIB, MeasureError, Rate, io, on_disk};

/// A folder of its own that goes when it is dropped.
pub(crate) fn own_folder(folder: &Path) -> Result<TempDir, MeasureError> {
    tempfile::Builder::new()
        .prefix("datamesh-measure-")
        .tempdir_in(folder)
        .map_err(io("making a folder to measure in"))
}

/// Writes blocks past the page cache into reserved space, each followed by a sync: the way packs are
/// written. `block` is a multiple of 4 KiB.
///
/// # Errors
/// [`MeasureError::Disk`] where the disk does not take it, for instance because it is full.
pub fn synced_writes(folder: &Path, block: usize, total: u64) -> Result<Rate, MeasureError> {
    let wrong = on_disk("writing blocks with a sync each");
    let folder = own_folder(folder)?;
    let disk: Arc<dyn Disk> = Arc::new(Directory::open(folder.path()).map_err(&wrong)?);
    let file = disk.create("blocks").map_err(&wrong)?;
    let memory = vec![0x5A; block + ALIGNMENT];
    let start = memory.as_ptr().align_offset(ALIGNMENT);
    let bytes = memory.get(start..start + block).ok_or(MeasureError::Broken("aligning"))?;
    let count = (total / block as u64).max(1);
    file.allocate(0, count * block as u64).map_err(&wrong)?;
    let began = Instant::now();
    for number in 0..count {
        file.write_at(number * block as u64, bytes).map_err(&wrong)?;
        file.sync_data().map_err(&wrong)?;
    }
    Ok(Rate { count, bytes: count * block as u64, time: began.elapsed() })
}

/// Writes a large file through the page cache, without a sync: what a get costs on top of everything else.
/// Where memory is lent to this machine by another, each fresh page may cost more than all else.
///
/// # Errors
/// [`MeasureError::Io`] where the file system does not take it.
pub fn cached_write(folder: &Path, total: u64) -> Result<Rate, MeasureError> {
    let wrong = io("writing through the page cache");
    let mut file = tempfile::tempfile_in(folder).map_err(&wrong)?;
    let block = vec![0x5A; MIB / 4];
    let count = (total / block.len() as u64).max(1);
    let began = Instant::now();
    for _ in 0..count {
        file.write_all(&block).map_err(&wrong)?;
    }
    Ok(Rate { count, bytes: count * block.len() as u64, time: began.elapsed() })
}

/// Makes small files under a temporary name and renames them, as a get does it.
///
/// # Errors
/// [`MeasureError::Io`] where the file system does not take it.
pub fn small_files(folder: &Path, count: u64, bytes: usize) -> Result<Rate, MeasureError> {
    let wrong = io("making small files");
    let folder = own_folder(folder)?;
    let block = vec![0x5A; bytes];
    let part = folder.path().join(".part");
    let began = Instant::now();
    for number in 0..count {
        std::fs::write(&part, &block).map_err(&wrong)?;
        std::fs::rename(&part, folder.path().join(number.to_string())).map_err(&wrong)?;
    }
    Ok(Rate { count, bytes: count * bytes as u64, time: began.elapsed() })
}
