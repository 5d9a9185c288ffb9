//! Where a server is and who we are there: connection strings as libpq reads them, and the way in.

use crate::base::Result;
use crate::base::secret::Secret;

/// A database on a server, with what is needed to log in.
#[derive(Debug, Clone)]
pub struct Target {
    hosts: Vec<String>,
    ports: Vec<u16>,
    user: String,
    database: String,
}

impl Target {
    /// Reads a `postgresql://` or `postgres://` URL or a `key=value` string; what it leaves out comes from `PG…` variables, `~/.pgpass` and
    /// libpq's defaults. An unknown parameter is an error that names it.
    pub fn parse(url: &Secret<String>) -> Result<Self> {
        let _ = url;
        Err(crate::base::Error::internal("not yet"))
    }

    /// Name of the database.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// The same server and role, another database.
    pub fn with_database(&self, name: &str) -> Self {
        Self { database: name.to_owned(), ..self.clone() }
    }

    /// Role that logs in.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// First host: a name, an address, or a socket directory.
    pub fn host(&self) -> &str {
        self.hosts.first().map_or("", String::as_str)
    }

    /// Port of the first host.
    pub fn port(&self) -> u16 {
        self.ports.first().copied().unwrap_or(5432)
    }

    /// `user@host:port/database`: no secret.
    pub fn describe(&self) -> String {
        format!("{}@{}:{}/{}", self.user, self.host(), self.port(), self.database)
    }
}
