//! Plaintext of a part ↔ stored object: one zstd frame with content size and checksum, named by the SHA-256 of the plaintext.

use bytes::Bytes;
use memmap2::MmapMut;
use sha2::{Digest as _, Sha256};
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::{CParameter, get_frame_content_size};

use super::format::Checksum;
use crate::base::ids::PartId;
use crate::base::limits::{PLAIN_MAX_BYTES, ZSTD_LEVEL};
use crate::base::{Error, Result};

/// The id of a part with this plaintext.
pub fn part_id(plain: &[u8]) -> PartId {
    PartId::new(Sha256::digest(plain).into())
}

/// A part ready to be stored.
#[derive(Debug, Clone)]
pub struct Packed {
    /// The object.
    pub stored: Bytes,
    /// Its SHA-256.
    pub sha256: Checksum,
}

/// Less than this is left to the allocator: a process may have 65,530 mappings (`vm.max_map_count`), and there may be as many small parts.
const OWN_MEMORY: usize = 128 << 10;

/// Memory of its own from the system, of which only what is written to is ever there. Megabytes that one thread makes and another one frees would
/// leave an allocator with far more than is in use.
fn own_memory(size: usize) -> Result<MmapMut> {
    let no_memory = |e| Error::unavailable(format!("the system gives no memory for a part of {size} bytes")).source(e);
    let memory = MmapMut::map_anon(size).map_err(no_memory)?;
    // A huge page would be 2 MiB of memory for an object of a few hundred kilobytes. Where the system has none, it has nothing to be told.
    #[cfg(target_os = "linux")]
    let _ = memory.advise(memmap2::Advice::NoHugePage);
    Ok(memory)
}

/// Compresses a part.
pub fn pack(plain: &[u8]) -> Result<Packed> {
    let broken = |e| Error::internal("compress a part").source(e);
    let mut compressor = Compressor::new(ZSTD_LEVEL).map_err(broken)?;
    compressor.set_parameter(CParameter::ChecksumFlag(true)).map_err(broken)?;
    compressor.set_parameter(CParameter::ContentSizeFlag(true)).map_err(broken)?;
    let mut object = own_memory(zstd::zstd_safe::compress_bound(plain.len()))?;
    let size = compressor.compress_to_buffer(plain, object.as_mut()).map_err(broken)?;
    let stored =
        if size < OWN_MEMORY { Bytes::copy_from_slice(&object[..size]) } else { Bytes::from_owner(object).slice(..size) };
    Ok(Packed { sha256: Checksum::of(&stored), stored })
}

/// Decompresses the object of part `id` and proves that it is that part. `size` is the recorded size of the plaintext, where one is known: an
/// object that claims another is refused before anything is allocated for it.
pub fn unpack(id: &PartId, stored: &[u8], size: Option<u64>) -> Result<Bytes> {
    let damaged = |what: &str| Error::integrity(format!("part {id} is damaged: {what}"));
    let claimed =
        get_frame_content_size(stored).ok().flatten().ok_or_else(|| damaged("it is not a zstd frame with a content size"))?;
    if let Some(size) = size.filter(|size| *size != claimed) {
        return Err(damaged(&format!("it holds {claimed} bytes instead of {size}")));
    }
    if claimed > PLAIN_MAX_BYTES {
        return Err(damaged(&format!("it claims {claimed} bytes, more than any part has")));
    }
    let plain = decompress(stored, claimed as usize)?.ok_or_else(|| damaged("it does not decompress"))?;
    if plain.len() as u64 != claimed || part_id(&plain) != *id {
        return Err(damaged("its content is not what its name says"));
    }
    Ok(plain)
}

/// The content of a frame that claims `size` bytes; `None` of one that holds more, or is no frame.
fn decompress(stored: &[u8], size: usize) -> Result<Option<Bytes>> {
    let mut decompressor = Decompressor::new().map_err(|e| Error::internal("decompress a part").source(e))?;
    if size < OWN_MEMORY {
        return Ok(decompressor.decompress(stored, size).ok().map(Bytes::from));
    }
    let mut plain = own_memory(size)?;
    let Ok(written) = decompressor.decompress_to_buffer(stored, plain.as_mut()) else { return Ok(None) };
    Ok(Some(Bytes::from_owner(plain).slice(..written)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Kind;

    #[test]
    fn packing_round_trips_and_any_changed_byte_is_found() {
        let plain: Vec<u8> = (0..5000u32).flat_map(|i| format!("{}\n", i % 97).into_bytes()).collect();
        let id = part_id(&plain);
        let packed = pack(&plain).expect("pack");
        assert!(packed.stored.len() < plain.len() / 2);
        assert_eq!(pack(&plain).expect("pack").stored, packed.stored);
        assert_eq!(unpack(&id, &packed.stored, Some(plain.len() as u64)).expect("unpack"), plain);
        for at in 0..packed.stored.len() {
            let mut bad = packed.stored.to_vec();
            bad[at] ^= 0x10;
            match unpack(&id, &bad, None) {
                Err(e) => assert_eq!(e.kind(), Kind::Integrity),
                Ok(same) => assert_eq!(same, plain, "byte {at} carries nothing"),
            }
            assert!(unpack(&id, &packed.stored[..at], None).is_err(), "cut at {at}");
        }
        assert!(unpack(&id, &packed.stored, Some(3)).is_err());
        assert!(unpack(&part_id(b"other"), &packed.stored, None).is_err());
    }

    #[test]
    fn an_object_that_claims_too_much_is_refused_unread() {
        // A frame header that claims 2^62 bytes, with nothing behind it.
        let mut bomb = vec![0x28, 0xb5, 0x2f, 0xfd, 0xe0];
        bomb.extend_from_slice(&(1u64 << 62).to_le_bytes());
        let e = unpack(&part_id(b""), &bomb, None).expect_err("refused");
        assert!(e.message().contains("more than any part"), "{e}");
    }
}
