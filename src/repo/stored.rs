//! The parts that the store lists, in a form that hundreds of thousands of them fit in: 36 bytes each.

use futures::{StreamExt, TryStreamExt};

use super::vault::Vault;
use crate::base::ids::PartId;
use crate::base::limits::{LISTING_CONCURRENCY, LISTING_PAGE};
use crate::base::{Error, Result, ResultExt};
use crate::store::StoreResult;

/// Pages that are worth a place of their own to list from.
const PAGES_PER_RANGE: u64 = 3;
/// Different first two bytes of an id.
const BUCKETS: usize = 1 << 16;

/// All stored parts, in order of id.
#[derive(Debug, Default)]
pub struct StoredParts {
    ids: Vec<PartId>,
    /// Bytes of the objects; of one larger than any part can be, the most that fits.
    sizes: Vec<u32>,
    /// Where the ids with each first two bytes begin, and the number of all: ids are hashes, so that few share them.
    starts: Vec<u32>,
}

impl StoredParts {
    /// Lists `parts/`: one request each thousand, a long listing from several places at once.
    pub async fn list(vault: &Vault) -> Result<Self> {
        let found = list(vault).await.map_err(Error::from).context(|| format!("list the parts of {}", vault.describe()))?;
        Self::new(found).ok_or_else(|| Error::internal(format!("{} lists its parts in no order", vault.describe())))
    }

    /// `None` unless the ids are in order and different.
    fn new(found: Vec<(PartId, u32)>) -> Option<Self> {
        if !found.is_sorted_by(|a, b| a.0 < b.0) || u32::try_from(found.len()).is_err() {
            return None;
        }
        let mut starts = vec![0; BUCKETS + 1];
        for (id, _) in &found {
            starts[bucket(id) + 1] += 1;
        }
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        let (ids, sizes) = found.into_iter().unzip();
        Some(Self { ids, sizes, starts })
    }

    /// The number of part `id` among all; `None` if it is not stored.
    pub fn position(&self, id: &PartId) -> Option<usize> {
        let first = *self.starts.get(bucket(id))? as usize;
        let end = *self.starts.get(bucket(id) + 1)? as usize;
        self.ids[first..end].binary_search(id).ok().map(|at| first + at)
    }

    /// Bytes of the object of part `id`; `None` if it is not stored.
    pub fn size(&self, id: &PartId) -> Option<u64> {
        self.position(id).map(|at| u64::from(self.sizes[at]))
    }

    /// All ids and the bytes of their objects, in order of id.
    pub fn iter(&self) -> impl Iterator<Item = (PartId, u64)> {
        self.ids.iter().zip(&self.sizes).map(|(id, size)| (*id, u64::from(*size)))
    }

    /// Number of parts.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether nothing is stored.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

fn bucket(id: &PartId) -> usize {
    let [first, second, ..] = *id.as_bytes();
    usize::from(u16::from_be_bytes([first, second]))
}

/// The first eight bytes as a number.
fn lead(id: &PartId) -> u64 {
    id.as_bytes().iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

async fn list(vault: &Vault) -> StoreResult<Vec<(PartId, u32)>> {
    let parts = vault.layout.parts();
    let mut page = vault.store.list(&parts).take(LISTING_PAGE);
    let (mut found, mut objects) = (Vec::new(), 0);
    while let Some(meta) = page.try_next().await? {
        objects += 1;
        found.extend(vault.layout.part_of(&meta.key).map(|id| (id, capped(meta.size))));
    }
    drop(page);
    // Without a part on a whole page nothing is known of the others.
    let Some(last) = found.last().map(|(id, _)| *id).filter(|_| objects == LISTING_PAGE) else {
        if objects == LISTING_PAGE {
            return list_range(vault, &parts, None).await;
        }
        return Ok(found);
    };
    let texts = bounds(vault, &last);
    let ranges = texts.iter().enumerate().map(|(n, after)| list_range(vault, after, texts.get(n + 1).map(String::as_str)));
    let mut ranges = futures::stream::iter(ranges).buffered(LISTING_CONCURRENCY);
    while let Some(range) = ranges.try_next().await? {
        found.extend(range);
    }
    Ok(found)
}

/// Texts after which the ranges of keys behind the first page begin: that page's last key, and others evenly spread, as hashes are.
fn bounds(vault: &Vault, last: &PartId) -> Vec<String> {
    let (from, parts) = (lead(last), vault.layout.parts());
    let pages = (u64::MAX / from.max(1)).saturating_sub(1);
    let count = pages.div_ceil(PAGES_PER_RANGE).clamp(1, LISTING_CONCURRENCY as u64);
    let step = (u64::MAX - from) / count;
    let others = (1..count).map(|n| {
        let hex = format!("{:016x}", from + n * step);
        format!("{parts}{}/{hex}", &hex[..2])
    });
    std::iter::once(vault.layout.part(last).as_str().to_owned()).chain(others).collect()
}

/// The parts whose keys come after `after`, up to the text `to`.
async fn list_range(vault: &Vault, after: &str, to: Option<&str>) -> StoreResult<Vec<(PartId, u32)>> {
    let mut found = Vec::new();
    let parts = vault.layout.parts();
    let mut listed = vault.store.list_after(&parts, after);
    while let Some(meta) = listed.try_next().await? {
        if to.is_some_and(|to| meta.key.as_str() > to) {
            break;
        }
        found.extend(vault.layout.part_of(&meta.key).map(|id| (id, capped(meta.size))));
    }
    Ok(found)
}

fn capped(size: u64) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::base::clock::SystemClock;
    use crate::repo::codec::part_id;
    use crate::store::memory::MemoryStore;
    use crate::store::metered::{Meter, MeteredStore};
    use crate::store::{PutMode, SharedStore, StoreExt as _};

    #[tokio::test]
    async fn long_listings_are_whole_and_take_few_requests() {
        // One object among them is no part.
        for (count, most) in [(0, 1), (998, 1), (999, 2), (1001, 2), (9_500, 13), (40_000, 60)] {
            let memory: SharedStore = Arc::new(MemoryStore::new());
            let vault = Vault::open_or_create(Arc::clone(&memory), "db", "", Arc::new(SystemClock)).await.expect("vault");
            let mut expected: Vec<(PartId, u64)> = (0..count).map(|n: u64| (part_id(&n.to_le_bytes()), n % 7)).collect();
            for (id, size) in &expected {
                let body = Bytes::from(vec![0; *size as usize]);
                memory.put(&vault.layout().part(id), body, PutMode::Create).await.expect("write");
            }
            memory.put(&"db/parts/zz/alien".parse().expect("key"), Bytes::new(), PutMode::Create).await.expect("write");
            expected.sort();
            let meter = Arc::new(Meter::default());
            let metered = Arc::new(MeteredStore::new(Arc::clone(&memory), Arc::clone(&meter)));
            let vault = Vault::open(metered, "db", Arc::new(SystemClock)).await.expect("vault");
            let found = StoredParts::list(&vault).await.expect("list");
            assert!(found.iter().eq(expected.iter().copied()), "{count} parts");
            let requests = meter.usage().list.requests;
            assert!(requests <= most, "{count} parts took {requests} requests");
            assert!(expected.iter().all(|(id, size)| found.size(id) == Some(*size)));
            assert_eq!(found.position(&part_id(b"absent")), None);
        }
    }

    #[test]
    fn parts_in_no_order_are_refused() {
        let (a, b) = (PartId::new([1; 32]), PartId::new([2; 32]));
        assert!(StoredParts::new(vec![(a, 0), (b, 0)]).is_some());
        assert!(StoredParts::new(vec![(b, 0), (a, 0)]).is_none());
        assert!(StoredParts::new(vec![(a, 0), (a, 0)]).is_none());
        assert_eq!(StoredParts::default().position(&a), None);
    }
}
