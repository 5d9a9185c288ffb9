//! The one mapping from what a server or the connection says to [`Error`].
//!
//! DETAIL and CONTEXT lines may quote rows and are left out where they do; so is what follows the colon in messages about bad values.

use std::io;

use tokio_postgres::error::{DbError, SqlState};

use crate::base::{Error, Kind};

/// What the server said, without data of rows: `relation "x" does not exist (SQLSTATE 42P01)`.
pub(crate) fn sentence(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => format!("{} (SQLSTATE {})", message(db), db.code().code()),
        None => cause(error),
    }
}

/// SQLSTATE, where the server gave one.
pub(crate) fn sqlstate(error: &tokio_postgres::Error) -> Option<String> {
    error.code().map(|c| c.code().to_owned())
}

/// An error of a statement; `what` is "verb object".
pub(crate) fn statement(what: &str, error: &tokio_postgres::Error) -> Error {
    let Some(db) = error.as_db_error() else {
        return Error::unavailable(format!("{what}: the connection to the server failed: {}", cause(error)));
    };
    let found = Error::new(kind(db.code()), format!("{what}: {}", sentence(error)));
    match hint(db) {
        Some(hint) => found.hint(hint),
        None => found,
    }
}

fn message(db: &DbError) -> String {
    let class = &db.code().code()[..2];
    let mut text = db.message().to_owned();
    if class == "22" {
        // `invalid input syntax for type integer: "…"` quotes the value.
        if let Some(at) = text.find(": \"") {
            text.truncate(at);
        }
    }
    let tells_rows = matches!(class, "22" | "23" | "44");
    if let Some(detail) = db.detail().filter(|_| !tells_rows) {
        text.push_str(": ");
        text.push_str(detail);
    }
    text
}

fn cause(error: &tokio_postgres::Error) -> String {
    use std::error::Error as _;
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(inner) = next {
        let part = inner.to_string();
        if !text.contains(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        next = inner.source();
    }
    text
}

/// What a SQLSTATE asks of the person at the other end.
pub(crate) fn kind(code: &SqlState) -> Kind {
    match code.code() {
        "42501" | "53100" | "53200" | "25006" | "2F002" | "2F003" | "2F004" => Kind::Denied,
        "55P03" | "55006" | "57014" | "25P03" | "25P04" | "40001" | "40P01" => Kind::Unavailable,
        "57P04" | "3D000" => Kind::NotFound,
        "42P04" | "42P06" | "42P07" | "42710" | "42723" | "42712" | "2BP01" => Kind::Conflict,
        "XX001" | "XX002" => Kind::Integrity,
        "22021" | "22P05" => Kind::Unsupported,
        other => match &other[..2] {
            "08" | "57" | "58" | "53" | "40" => Kind::Unavailable,
            "0A" | "54" => Kind::Unsupported,
            "22" | "23" | "44" => Kind::Integrity,
            "28" | "P0" | "F0" => Kind::Denied,
            _ => Kind::Internal,
        },
    }
}

fn hint(db: &DbError) -> Option<String> {
    let text = match db.code().code() {
        "53200" if db.message().contains("shared memory") => {
            "raise max_locks_per_transaction on the server (it needs a restart): there are more tables than its lock table holds"
        }
        "53100" => "free space on the server's disk",
        "53300" => "wait until connections are free, lower jobs, or raise max_connections",
        "57014" | "25P03" | "25P04" => {
            "the statement was cancelled on the server, by somebody or by a time limit (statement_timeout and the like, of a role or database)"
        }
        "22021" | "22P05" => {
            "a name, a comment or another definition of the database is no text in its encoding (as SQL_ASCII allows); rows may hold any bytes, definitions must be UTF-8: rename or change it"
        }
        _ => return db.hint().map(str::to_owned),
    };
    Some(text.to_owned())
}

/// An error of logging in at `target` (described without secrets).
pub(super) fn connect(target: &str, error: &tokio_postgres::Error) -> Error {
    if let Some(db) = error.as_db_error() {
        return refused(target, db);
    }
    let found = cause(error);
    if error.to_string().starts_with("error performing TLS") {
        return tls(target, &found);
    }
    if error.to_string().starts_with("authentication error") || error.to_string().starts_with("invalid configuration") {
        return Error::denied(format!("cannot log in to {target}: {found}"))
            .hint("give the password in the URL, in PGPASSWORD, or in ~/.pgpass");
    }
    unreachable(target, &found, io_kind(error))
}

/// An error of reaching `target` at all.
pub(super) fn unreachable(target: &str, found: &str, kind: Option<io::ErrorKind>) -> Error {
    let hint = match kind {
        Some(io::ErrorKind::ConnectionRefused) => "is the server running, and does it listen on this address and port?",
        Some(io::ErrorKind::NotFound) => "there is no such socket: is the server running, and is the directory right?",
        Some(io::ErrorKind::PermissionDenied) => "may this user open the server's socket?",
        Some(io::ErrorKind::TimedOut) => "nothing answered: check the address, the security group and the firewall",
        Some(io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) => {
            "the server closed the connection: is something else than PostgreSQL listening there?"
        }
        _ => "check the host name and the network",
    };
    Error::unavailable(format!("cannot reach {target}: {found}")).hint(hint)
}

fn refused(target: &str, db: &DbError) -> Error {
    let text = message(db);
    let code = db.code().code();
    match code {
        "28P01" => Error::denied(format!("the server refused the password: cannot log in to {target}"))
            .hint("check user and password of the URL, PGPASSWORD, or ~/.pgpass"),
        "28000" => Error::denied(format!("the server refused to let us in at {target}: {text}"))
            .hint("check the role's name, its LOGIN attribute, and the server's pg_hba.conf"),
        "3D000" => Error::not_found(format!("cannot connect to {target}: {text}")).hint("check the database's name"),
        "53300" => Error::unavailable(format!("cannot connect to {target}: {text}"))
            .hint("all connections are taken: wait, lower jobs, or raise max_connections"),
        _ => Error::new(kind(db.code()), format!("cannot connect to {target}: {text} (SQLSTATE {code})")),
    }
}

const NO_TLS: &str = "does not support TLS";

/// Whether the error is that the server has no TLS.
pub(super) fn lacks_tls(error: &Error) -> bool {
    error.message().contains(NO_TLS)
}

fn tls(target: &str, found: &str) -> Error {
    let hint = if found.contains(NO_TLS) {
        "the server has no TLS: set it up there, or use sslmode=prefer on a network that you trust"
    } else if found.contains("UnknownIssuer") || found.contains("unknown issuer") {
        "point sslrootcert to the certificate of the authority that signed the server's (for RDS: the regional bundle)"
    } else if found.contains("not valid for name") {
        "use the host name that the server's certificate is for, or sslmode=verify-ca"
    } else {
        "check sslmode, sslrootcert, sslcert and sslkey"
    };
    Error::denied(format!("cannot secure the connection to {target}: {found}")).hint(hint)
}

fn io_kind(error: &tokio_postgres::Error) -> Option<io::ErrorKind> {
    use std::error::Error as _;
    let mut next: Option<&(dyn std::error::Error + 'static)> = error.source();
    while let Some(inner) = next {
        if let Some(found) = inner.downcast_ref::<io::Error>() {
            return Some(found.kind());
        }
        next = inner.source();
    }
    None
}
