//! `[store]`.

use super::super::model::StoreSettings;
use super::super::parse::Sheet;
use super::super::problem::Severity;
use super::super::urls;
use super::source::aws_region;
use super::{address, template};
use crate::base::limits;

pub(super) fn store(sheet: &mut Sheet) -> Option<StoreSettings> {
    let section = sheet.sections.store.clone()?;
    let url = section.url.as_deref().and_then(|text| template(sheet, "store.url", text, false));
    if let Some(url) = &url {
        address(sheet, "store.url", url, urls::store);
        if url.literal().is_none()
            && url.text().expose().find("${").is_some_and(|at| at > 0)
            && let Err(error) = urls::store_scheme(url.text().expose())
        {
            sheet.report_error("store.url", "address", &error);
        }
    }
    if let Some(region) = &section.region {
        aws_region(sheet, "store.region", region);
    }
    let folder = url.as_ref().is_some_and(|u| u.text().expose().starts_with("file:"));
    for (key, given) in [
        ("store.storage_class", section.storage_class.is_some()),
        ("store.sse_kms_key_id", section.sse_kms_key_id.is_some()),
        ("store.region", section.region.is_some()),
    ] {
        if folder && given {
            sheet.report(Severity::Error, key, "s3-only", "means something only with an s3:// store");
        }
    }
    if section.sse_kms_key_id.as_ref().is_some_and(|k| k.trim().is_empty()) {
        sheet.report(Severity::Error, "store.sse_kms_key_id", "empty-value", "is empty");
    }
    if section.encryption.is_some_and(|e| e.recipients.is_some_and(|r| !r.is_empty())) {
        sheet
            .report(
                Severity::Error,
                "store.encryption.recipients",
                "unsupported",
                "encryption on the client is not supported yet",
            )
            .help = Some(
            "pgkeep refuses rather than write backups in clear; encrypt on the server with sse_kms_key_id until then".to_owned(),
        );
    }
    Some(StoreSettings {
        url: url?,
        storage_class: section.storage_class,
        sse_kms_key_id: section.sse_kms_key_id,
        region: section.region,
        concurrency: section.concurrency.map_or(limits::STORE_CONCURRENCY, |n| n as usize),
    })
}
