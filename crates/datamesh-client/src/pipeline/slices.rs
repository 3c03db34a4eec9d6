//! From slices back to plaintext.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use datamesh_codec::Pool;
use datamesh_core::SegmentId;
use datamesh_crypto::Slice;
use datamesh_crypto::compress::Zstd;
use datamesh_crypto::frame::{Opener, TAG_BYTES};
use datamesh_crypto::manifest::Compression;
use datamesh_engine::{Engine, Fault, SegmentBytes, Urgency, block};
use tokio::sync::OnceCell;

use crate::client::Client;
use crate::error::ClientError;

/// Whole segments kept for the other slices in them.
const SEGMENTS_KEPT: usize = 8;

/// Up to so many bytes are opened where they arrive: handing them to a blocking thread and back
/// takes longer than opening them.
const INLINE_BYTES_MAX: usize = 128 * 1024;

/// Segments that several slices of one operation share, each fetched once.
#[derive(Default)]
pub(crate) struct Shared {
    kept: Mutex<Kept>,
}

/// Segments by their id, and the ids in the order in which they came.
#[derive(Default)]
struct Kept {
    asked: BTreeMap<SegmentId, Arc<Asked>>,
    order: VecDeque<SegmentId>,
}

/// A segment on its way, and whether anybody waits for it: whoever asked first need not be the first who
/// does.
#[derive(Default)]
struct Asked {
    cell: OnceCell<SegmentBytes>,
    urgent: Urgency,
}

impl Shared {
    fn asked(&self, segment: SegmentId) -> Arc<Asked> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(asked) = kept.asked.get(&segment) {
            return Arc::clone(asked);
        }
        let asked = Arc::<Asked>::default();
        kept.asked.insert(segment, Arc::clone(&asked));
        kept.order.push_back(segment);
        while kept.order.len() > SEGMENTS_KEPT {
            if let Some(oldest) = kept.order.pop_front() {
                kept.asked.remove(&oldest);
            }
        }
        asked
    }

    async fn segment(
        &self,
        engine: &Engine,
        segment: SegmentId,
        urgent: &Urgency,
    ) -> Result<SegmentBytes, ClientError> {
        let asked = self.asked(segment);
        let fetching = asked.cell.get_or_try_init(|| engine.read_segment(&segment, &asked.urgent));
        let hurrying = async {
            urgent.raised().await;
            asked.urgent.raise();
            std::future::pending::<Infallible>().await
        };
        tokio::select! {
            biased;
            bytes = fetching => Ok(bytes?.clone()),
            never = hurrying => match never {},
        }
    }
}

/// How a slice's ciphertext is fetched.
#[derive(Clone)]
pub(crate) enum Fetch {
    /// The segment has other slices that will be asked for as well.
    Shared(Arc<Shared>),
    /// Only this slice is wanted.
    Alone,
}

/// A slice's plaintext, and peers that failed on the way.
pub(crate) struct Opened {
    pub(crate) plain: Bytes,
    pub(crate) faults: Vec<Fault>,
}

/// Where slices are opened.
#[derive(Clone)]
pub(crate) struct Opening {
    pub(super) engine: Arc<Engine>,
    pub(super) pool: Pool,
    pub(super) zstd: Arc<Zstd>,
}

impl Opening {
    /// For whoever has no account.
    pub(super) fn over(engine: &Arc<Engine>) -> Self {
        let pool = Pool::new(crate::client::BUFFERS_KEPT);
        Self { engine: Arc::clone(engine), pool, zstd: Arc::default() }
    }

    pub(crate) fn of(client: &Client) -> Self {
        let (engine, zstd) = (Arc::clone(&client.engine), Arc::clone(&client.zstd));
        Self { engine, pool: client.pool.clone(), zstd }
    }

    /// Fetches and opens bytes `range` of a slice's content.
    pub(crate) async fn slice(
        &self,
        slice: &Slice,
        range: Range<usize>,
        fetch: &Fetch,
        urgent: &Urgency,
    ) -> Result<Opened, ClientError> {
        if range.is_empty() {
            return Ok(Opened { plain: Bytes::new(), faults: Vec::new() });
        }
        let (engine, pool, segment) = (&self.engine, &self.pool, slice.segment);
        if slice.compression == Compression::None {
            return open_part(engine, pool, slice, range, fetch, urgent).await;
        }
        let plain_length = slice.plain_length as usize;
        if range.end > plain_length {
            return Err(ClientError::Slice { segment });
        }
        let whole = 0..slice.opened_length();
        let opened = open_part(engine, pool, slice, whole, fetch, urgent).await?;
        let (zstd, pool) = (Arc::clone(&self.zstd), pool.clone());
        let expand = move || {
            let mut plain = pool.take(plain_length);
            let expanded = zstd.expand(&opened.plain, &mut plain);
            expanded.map_err(|source| ClientError::Compressed { segment, source })?;
            Ok(Opened { plain: plain.into_bytes().slice(range), faults: opened.faults })
        };
        if plain_length <= INLINE_BYTES_MAX {
            return expand();
        }
        block(&**self.engine.executor(), expand).await.ok_or(ClientError::Shutdown)?
    }
}

/// Fetches and opens bytes `range` of what was sealed in a slice.
async fn open_part(
    engine: &Arc<Engine>,
    pool: &Pool,
    slice: &Slice,
    range: Range<usize>,
    fetch: &Fetch,
    urgent: &Urgency,
) -> Result<Opened, ClientError> {
    let segment = slice.segment;
    if range.end > slice.opened_length() {
        return Err(ClientError::Slice { segment });
    }
    let frame = slice.frame as usize;
    let payload = frame - TAG_BYTES;
    let first = range.start / payload;
    let end = range.end.div_ceil(payload);
    // The frames that hold the range, as bytes of the segment.
    let start = slice.offset as usize + first * frame;
    let stop = slice.offset as usize + (end * frame).min(slice.length as usize);
    let (source, faults) = match fetch {
        Fetch::Shared(shared) => {
            let segment = shared.segment(engine, slice.segment, urgent).await?;
            let faults = segment.faults.clone();
            (Ciphertext::Segment(segment, start), faults)
        }
        Fetch::Alone => {
            let whole = slice.offset == 0 && stop - start >= slice.length as usize;
            if whole {
                let segment = engine.read_segment(&slice.segment, urgent).await?;
                let faults = segment.faults.clone();
                (Ciphertext::Segment(segment, start), faults)
            } else {
                let (bytes, faults) =
                    engine.read_range(&slice.segment, start..stop, urgent).await?;
                (Ciphertext::Bytes(bytes), faults)
            }
        }
    };
    let opened = if stop - start <= INLINE_BYTES_MAX {
        open_frames(slice, &source, first..end, stop - start, pool)?
    } else {
        let (slice, pool) = (slice.clone(), pool.clone());
        block(&**engine.executor(), move || {
            open_frames(&slice, &source, first..end, stop - start, &pool)
        })
        .await
        .ok_or(ClientError::Shutdown)??
    };
    let from = range.start - first * payload;
    Ok(Opened { plain: opened.slice(from..from + range.len()), faults })
}

/// Where frames are opened from.
enum Ciphertext {
    /// A verified segment, and where in it the frames begin.
    Segment(SegmentBytes, usize),
    /// The frames behind one another.
    Bytes(Vec<u8>),
}

fn open_frames(
    slice: &Slice,
    source: &Ciphertext,
    frames: Range<usize>,
    length: usize,
    pool: &Pool,
) -> Result<Bytes, ClientError> {
    let segment = slice.segment;
    let frame = slice.frame as usize;
    let plain_length = length - TAG_BYTES * frames.len();
    if let Ciphertext::Segment(bytes, start) = source
        && start + length > bytes.descriptor.length as usize
    {
        return Err(ClientError::Slice { segment });
    }
    let opener = Opener::new(&slice.key);
    let mut out = pool.take(plain_length);
    let (mut at, mut filled) = (0, 0);
    for number in frames {
        let size = frame.min(length - at);
        let room = &mut out[filled..filled + size - TAG_BYTES];
        let last = number + 1 == slice.frames();
        let opened = match source {
            Ciphertext::Bytes(bytes) => {
                opener.open(number as u32, last, &bytes[at..at + size], room)
            }
            Ciphertext::Segment(bytes, start) => {
                let range = start + at..start + at + size;
                let mut runs = bytes.layout().runs(range.clone());
                match (runs.next(), runs.next()) {
                    // A frame in one cell is opened where it lies.
                    (Some(run), None) => {
                        let cells = &bytes.data[run.shard][run.offset..run.offset + size];
                        opener.open(number as u32, last, cells, room)
                    }
                    _ => opener.open(number as u32, last, &bytes.gather(range), room),
                }
            }
        };
        opened.map_err(|source| ClientError::Frame { segment, source })?;
        at += size;
        filled += size - TAG_BYTES;
    }
    Ok(out.into_bytes())
}
