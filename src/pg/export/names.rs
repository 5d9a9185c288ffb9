//! Names of streams and groups, and patterns of tables.

/// Name of the stream of a table, or of its range that begins at block `from`.
pub(super) fn stream(schema: &str, table: &str, from: Option<u64>) -> String {
    let name = format!("data/{}.{}", encode(schema), encode(table));
    match from {
        Some(block) => format!("{name}/{block}"),
        None => name,
    }
}

/// Percent-encodes all but letters, digits, `_` and `-`, so that dots and slashes only separate.
fn encode(name: &str) -> String {
    use std::fmt::Write as _;
    name.bytes().fold(String::with_capacity(name.len()), |mut out, b| {
        if b.is_ascii_alphanumeric() || b == b'_' || b == b'-' {
            out.push(char::from(b));
        } else {
            let _ = write!(out, "%{b:02X}");
        }
        out
    })
}

/// Whether a small table begins a new group: one in 64 does, chosen by its name alone, so that a table that comes or goes moves no other
/// table's neighbours.
pub(super) fn begins_group(schema: &str, table: &str) -> bool {
    xxhash_rust::xxh3::xxh3_64(stream(schema, table, None).as_bytes()).is_multiple_of(64)
}

/// `schema.table` with `*` for any characters; without a dot, a table of any schema.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    text: String,
}

impl Pattern {
    /// Takes a pattern as written.
    pub(crate) fn new(text: &str) -> Self {
        Self { text: text.to_owned() }
    }

    /// As written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether a table is meant. A name with a dot in it matches too: the pattern is compared with `schema.table` as a whole.
    pub(crate) fn matches(&self, schema: &str, table: &str) -> bool {
        if self.text.contains('.') { glob(&self.text, &format!("{schema}.{table}")) } else { glob(&self.text, table) }
    }

    /// Whether a schema is meant.
    pub(crate) fn matches_schema(&self, schema: &str) -> bool {
        glob(&self.text, schema)
    }
}

fn glob(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut pieces: Vec<&str> = pieces.collect();
    let Some(last) = pieces.pop() else { return rest.is_empty() };
    for piece in pieces {
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_names_are_unambiguous() {
        assert_eq!(stream("public", "accounts", None), "data/public.accounts");
        assert_eq!(stream("a.b", "c/d e", Some(16384)), "data/a%2Eb.c%2Fd%20e/16384");
        assert_ne!(stream("a", "b.c", None), stream("a.b", "c", None));
    }

    #[test]
    fn patterns_match_whole_names() {
        let matches = |p: &str| Pattern::new(p).matches("public", "sessions_2026");
        assert!(matches("public.sessions_2026") && matches("public.*") && matches("sessions*") && matches("*.ses*_20*6"));
        assert!(!matches("public.sessions") && !matches("sessions") && !matches("public.*_2025") && !matches("private.*"));
        assert!(!Pattern::new("a*a").matches("s", "a"));
    }
}
