//! `~/.pgpass`: lines of `host:port:database:user:password`, `*` for any, backslash before `:` and `\`.

use std::path::Path;

use crate::base::secret::Secret;

/// The password of the first line that matches. A file that others may read is passed over, as libpq does, with a warning in the log.
pub(super) fn find(file: &Path, host: &str, port: u16, database: &str, user: &str) -> Option<Secret<String>> {
    let metadata = std::fs::metadata(file).ok().filter(std::fs::Metadata::is_file)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        if metadata.permissions().mode() & 0o077 != 0 {
            tracing::warn!(file = %file.display(), "password file is passed over: others may read it; set its mode to 0600");
            return None;
        }
    }
    #[cfg(not(unix))]
    let _ = metadata;
    // Sockets in the default directory go by the name localhost in this file.
    let host = if host.starts_with('/') { "localhost" } else { host };
    let text = std::fs::read_to_string(file).ok()?;
    lookup(&text, &[host, &port.to_string(), database, user])
}

fn lookup(text: &str, wanted: &[&str; 4]) -> Option<Secret<String>> {
    text.lines().filter(|l| !l.starts_with('#')).find_map(|line| {
        let fields = split(line);
        let matches = fields.len() == 5 && wanted.iter().zip(&fields).all(|(w, f)| f.raw == "*" || f.value == *w);
        matches.then(|| Secret::new(fields[4].value.clone()))
    })
}

#[derive(Default)]
struct Field {
    raw: String,
    value: String,
}

fn split(line: &str) -> Vec<Field> {
    let mut fields = vec![Field::default()];
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        let last = fields.len() == 5;
        if c == ':' && !last {
            fields.push(Field::default());
            continue;
        }
        let Some(field) = fields.last_mut() else { break };
        field.raw.push(c);
        match c {
            '\\' => {
                if let Some(next) = chars.next() {
                    field.raw.push(next);
                    field.value.push(next);
                }
            }
            c => field.value.push(c),
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_matching_line_wins() {
        let text = "# comment\ndb:5432:*:app:one\n*:*:*:*:t\\:w\\\\o\n";
        let of = |host: &str, user: &str| lookup(text, &[host, "5432", "d", user]).map(|s| s.expose().clone());
        assert_eq!(of("db", "app").as_deref(), Some("one"));
        assert_eq!(of("db", "other").as_deref(), Some("t:w\\o"));
    }
}
