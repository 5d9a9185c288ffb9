//! The checksums of an upload, each verified.

use axum::http::{HeaderMap, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::Md5;
use sha2::{Digest as _, Sha256};

use crate::answer::{Refusal, unknown};

/// Compares every checksum that the headers carry with the body; gives its SHA-256. At least one must be there.
pub(crate) fn verify(headers: &HeaderMap, body: &[u8]) -> Result<[u8; 32], Refusal> {
    let sum: [u8; 32] = Sha256::digest(body).into();
    let mut proven = false;
    for (name, value) in headers {
        let value = value.to_str().unwrap_or_default();
        let fits = match name.as_str() {
            "x-amz-content-sha256" if value == "UNSIGNED-PAYLOAD" => continue,
            "x-amz-content-sha256" if value.starts_with("STREAMING-") => return Err(unknown("a body in signed chunks")),
            "x-amz-content-sha256" if value != hexadecimal(&sum) => {
                return Err(wrong("XAmzContentSHA256Mismatch", "the signed digest is not the body's"));
            }
            "x-amz-content-sha256" => true,
            "x-amz-checksum-sha256" => value == base64(&sum),
            "x-amz-checksum-crc32" => value == base64(&crc32fast::hash(body).to_be_bytes()),
            "content-md5" => value == base64(&Md5::digest(body)),
            other if other.starts_with("x-amz-checksum-") || other == "x-amz-trailer" => return Err(unknown("this checksum")),
            _ => continue,
        };
        if !fits {
            return Err(wrong("BadDigest", "a checksum does not fit the body"));
        }
        proven = true;
    }
    if proven { Ok(sum) } else { Err(wrong("InvalidRequest", "the upload carries no checksum")) }
}

fn wrong(code: &'static str, message: &str) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, code, message.to_owned())
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
