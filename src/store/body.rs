//! What is written: bytes, and their checksum once somebody has taken it.

use bytes::Bytes;

use super::sha256;

/// The content of an object to be written.
#[derive(Debug, Clone)]
pub struct Body {
    bytes: Bytes,
    sha256: Option<[u8; 32]>,
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self { bytes, sha256: None }
    }
}

impl Body {
    /// Bytes whose SHA-256 is known. A store that checks what it receives refuses them if they have changed since it was taken.
    pub fn hashed(bytes: Bytes, sha256: [u8; 32]) -> Self {
        Self { bytes, sha256: Some(sha256) }
    }

    /// The bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The bytes, to keep.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// Their SHA-256, if it is known without reading them.
    pub fn known_sha256(&self) -> Option<[u8; 32]> {
        self.sha256
    }

    /// Their SHA-256.
    pub fn sha256(&self) -> [u8; 32] {
        self.sha256.unwrap_or_else(|| sha256(&self.bytes))
    }
}
