//! The one envelope of everything that goes out as JSON: the command line's `--json` and the HTTP interface.

use serde_json::{Value, json};

use crate::base::Error;

/// Version of the documents in `docs/JSON.md`.
pub const JSON_VERSION: u32 = 1;

/// `{"pgkeep", "command", "ok", "result", "error"}`: a result, what makes the command fail, or both.
pub fn envelope(command: &str, result: Option<Value>, failure: Option<&Error>) -> Value {
    let mut all = json!({ "pgkeep": JSON_VERSION, "command": command, "ok": failure.is_none() });
    if let Some(result) = result {
        all["result"] = result;
    }
    if let Some(error) = failure {
        all["error"] = error_document(error);
    }
    all
}

/// `{"kind", "message", "hint", "exit_code"}`.
pub fn error_document(error: &Error) -> Value {
    json!({
        "kind": error.kind().name(),
        "message": error.full_message(),
        "hint": error.hint_text(),
        "exit_code": error.kind().exit_code(),
    })
}
