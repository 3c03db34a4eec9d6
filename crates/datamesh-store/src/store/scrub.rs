//! Re-reading one's own bytes for rot, pack by pack in the order of the disk.

use datamesh_core::wire::decode;
use datamesh_core::{GrantId, Hash, SegmentId};

use super::Store;
use crate::disk::{DiskError, DiskFile};
use crate::error::{Damage, StoreError};
use crate::index::{Place, ShardState};
use crate::pack::{Expected, name_of, number_of};
use crate::record::{HEADER_BYTES, Kind, Row, ShardMeta, root_of};
use crate::scan::scan;
use crate::table::read_table;

/// How far a scrub has come. It may be kept across restarts: a pass goes on where it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScrubCursor {
    /// The pack.
    pub pack: u32,
    /// Offset in it in bytes.
    pub offset: u64,
}

/// What one step of a scrub found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScrubReport {
    /// Where the next step begins; none when the pass is complete.
    pub next: Option<ScrubCursor>,
    /// Bytes read and verified.
    pub bytes: u64,
    /// Shards verified, the damaged ones included.
    pub shards: u64,
    /// Shards found damaged now. They are no longer held.
    pub damaged: Vec<(SegmentId, u8, Damage)>,
    /// Other records found damaged. What they say stays known until the store is opened again.
    pub damaged_records: u64,
    /// Packs other than the open one without a whole table; opening the store scans them.
    pub damaged_tables: Vec<u32>,
}

impl Store {
    /// How many bytes of packs lie before a cursor, and how many there are.
    ///
    /// # Errors
    /// [`StoreError::Disk`] where the directory or a pack cannot be opened.
    pub fn scrub_position(&self, cursor: ScrubCursor) -> Result<(u64, u64), StoreError> {
        let (mut before, mut all) = (0, 0);
        for pack in self.disk.list()?.iter().filter_map(|name| number_of(name)) {
            let open =
                self.writer().open.as_ref().filter(|open| open.number == pack).map(|o| o.end);
            let length = match open {
                Some(end) => end,
                None => match self.file(pack) {
                    Ok(file) => file.length()?,
                    Err(DiskError::Missing { .. }) => continue,
                    Err(error) => return Err(error.into()),
                },
            };
            all += length;
            before += match pack.cmp(&cursor.pack) {
                std::cmp::Ordering::Less => length,
                std::cmp::Ordering::Equal => cursor.offset.min(length),
                std::cmp::Ordering::Greater => 0,
            };
        }
        Ok((before, all))
    }

    /// Verifies records from `cursor` on until `budget` bytes are read, at least one record. Start
    /// with the default cursor and go on with [`ScrubReport::next`].
    ///
    /// # Errors
    /// [`StoreError::Disk`] where the directory or a pack cannot be opened.
    pub fn scrub_next(&self, cursor: ScrubCursor, budget: u64) -> Result<ScrubReport, StoreError> {
        let mut report = ScrubReport::default();
        let names = self.disk.list()?;
        let packs = names.iter().filter_map(|name| number_of(name)).filter(|n| *n >= cursor.pack);
        for pack in packs {
            let from = if pack == cursor.pack { cursor.offset } else { 0 };
            let file = match self.disk.open(&name_of(pack)) {
                Ok(file) => file,
                Err(DiskError::Missing { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            for row in self.rows(pack, &*file, &mut report)? {
                if row.offset() < from {
                    continue;
                }
                if report.bytes >= budget {
                    report.next = Some(ScrubCursor { pack, offset: row.offset() });
                    return Ok(report);
                }
                self.scrub_row(pack, &*file, &row, &mut report);
            }
        }
        Ok(report)
    }

    /// The records of a pack.
    fn rows(
        &self,
        pack: u32,
        file: &dyn DiskFile,
        report: &mut ScrubReport,
    ) -> Result<Vec<Row>, StoreError> {
        if let Some(open) = self.writer().open.as_ref().filter(|open| open.number == pack) {
            return Ok(open.rows.clone());
        }
        if let Some(rows) = read_table(file, &self.key, pack) {
            return Ok(rows);
        }
        report.damaged_tables.push(pack);
        // A pack whose last sync failed may have records in the cache that the disk never got and
        // nobody was told of.
        file.discard_cached(0, file.length()?);
        let mut rows = scan(file, &self.key, pack, &self.pool)?.rows;
        rows.sort_unstable_by_key(|row| row.at);
        // A shard whose header is damaged is not found by scanning; it is known all the same.
        let index = self.index();
        let known = index.after(None).filter(|(_, copy, _)| copy.record.place.pack == pack);
        let unmet: Vec<Row> = known
            .filter(|(_, copy, _)| {
                rows.binary_search_by_key(&copy.record.place.at, |row| row.at).is_err()
            })
            .map(|((segment, shard), copy, _)| copy.row(segment, shard))
            .collect();
        rows.extend(unmet);
        rows.sort_unstable_by_key(|row| row.at);
        Ok(rows)
    }

    fn scrub_row(&self, pack: u32, file: &dyn DiskFile, row: &Row, report: &mut ScrubReport) {
        let key = (SegmentId(row.key), row.shard);
        let place = Place { pack, at: row.at };
        let Some(kind) = row.known() else { return };
        if kind == Kind::Shard {
            let live = self.index().shard(key.0, key.1).is_some_and(|(copy, state)| {
                copy.record.place == place && state != ShardState::Damaged
            });
            if !live {
                return;
            }
        }
        file.discard_cached(row.offset(), row.record_bytes());
        report.bytes += row.record_bytes();
        let verified = self.verify(pack, file, row, kind);
        match (kind, verified) {
            (Kind::Shard, verified) => {
                report.shards += 1;
                if let Err(damage) = verified {
                    self.mark_damaged(key.0, key.1, place);
                    report.damaged.push((key.0, key.1, damage));
                }
            }
            (_, Ok(())) => {}
            (_, Err(_)) => {
                report.damaged_records += 1;
                match kind {
                    Kind::Receipt => self.index_mut().drop_receipt(key.0, key.1, place),
                    Kind::Grant => self.index_mut().drop_grant_record(&GrantId(row.key), place),
                    _ => {}
                }
            }
        }
    }

    fn verify(&self, pack: u32, file: &dyn DiskFile, row: &Row, kind: Kind) -> Result<(), Damage> {
        let record = Expected::of(pack, row).read_whole(file, &self.key, &self.pool)?;
        if kind != Kind::Shard {
            return Ok(());
        }
        let (hashed, cells) = record.as_ref()[HEADER_BYTES..].split_at(row.hashed as usize);
        let meta: ShardMeta = decode(hashed).map_err(|_| Damage::Record)?;
        if root_of(&meta) == Some(Hash::of(cells)) { Ok(()) } else { Err(Damage::Cells) }
    }
}
