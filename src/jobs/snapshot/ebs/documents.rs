//! What the contents of a backup say of volumes and their snapshots: `docs/FORMAT.md` has the fields.

use serde::{Deserialize, Serialize};

use crate::base::Result;
use crate::cloud::ebs::volumes::Volume;
use crate::repo::contents::Document;

const VOLUME: &str = "volume";
const COPY: &str = "copy";

/// A volume as it was, and its snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct VolumeDocument {
    /// The snapshot.
    pub(super) snapshot: String,
    /// Where it is.
    pub(super) region: String,
    /// The volume.
    #[serde(flatten)]
    pub(super) volume: Volume,
}

/// A copy of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CopyDocument {
    /// The copy.
    pub(super) snapshot: String,
    /// Where it is.
    pub(super) region: String,
    /// The original.
    pub(super) copy_of: String,
    /// The key that encrypts it, if the policy names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) kms_key_id: Option<String>,
}

impl VolumeDocument {
    pub(super) fn document(&self) -> Result<Document> {
        Document::new(VOLUME, self)
    }
}

impl CopyDocument {
    pub(super) fn document(&self) -> Result<Document> {
        Document::new(COPY, self)
    }
}

/// Volumes and copies among the documents of contents; those of unknown tags are left out.
pub(super) fn read(documents: &[Document]) -> Result<(Vec<VolumeDocument>, Vec<CopyDocument>)> {
    let volumes = documents.iter().filter(|d| d.tag == VOLUME).map(Document::parse).collect::<Result<_>>()?;
    let copies = documents.iter().filter(|d| d.tag == COPY).map(Document::parse).collect::<Result<_>>()?;
    Ok((volumes, copies))
}
