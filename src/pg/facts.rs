//! What a server says about itself, and the few things that are done to whole databases.

use serde::{Deserialize, Serialize};

use super::connect::Target;
use super::session::{Session, column};
use super::version::Version;
use crate::base::sql::ident;
use crate::base::{Kind, Result};

/// A server, and one database of it, at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerFacts {
    /// Identifies the cluster for its whole life; a copy made by physical means shares it. Absent where it may not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_identifier: Option<String>,
    /// Version number.
    pub version: Version,
    /// Version as the server writes it: `15.18 (Debian 15.18-0+deb12u1)`.
    pub version_text: String,
    /// Timeline, where it may be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeline: Option<u32>,
    /// Position in the write-ahead log, `0/1A2B3C4`: whatever was committed before it is in the snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lsn: Option<String>,
    /// Whether the server is a standby.
    pub in_recovery: bool,
    /// Encoding of the database.
    pub encoding: String,
    /// `LC_COLLATE` of the database.
    pub collate: String,
    /// `LC_CTYPE` of the database.
    pub ctype: String,
    /// Role that we are.
    pub user: String,
    /// Whether that role is a superuser.
    pub superuser: bool,
    /// Name of the cluster's first superuser, who owns what comes with a server.
    pub bootstrap_superuser: String,
}

/// Facts of the server and database of `target`.
pub async fn server_facts(target: &Target) -> Result<ServerFacts> {
    target.connect().await?.facts().await
}

/// Names of all databases that accept connections and are no templates, sorted.
pub async fn databases(target: &Target) -> Result<Vec<String>> {
    let session = target.connect().await?;
    let rows = session
        .rows(
            "list databases",
            "SELECT datname::text FROM pg_database WHERE datallowconn AND NOT datistemplate ORDER BY datname COLLATE \"C\"",
        )
        .await?;
    rows.iter().map(|row| column(row, 0)).collect()
}

/// Creates the empty database `name` on the server of `target`, from `template0`.
pub async fn create_database(target: &Target, name: &str) -> Result<()> {
    let session = target.connect_maintenance().await?;
    session.run(&format!("create database {name}"), &format!("CREATE DATABASE {} TEMPLATE template0", ident(name))).await
}

/// Drops database `name` on the server of `target` if it exists, ending its sessions. Subscriptions in it go first, without a word to their
/// publishers; with them the database could not be dropped.
pub async fn drop_database(target: &Target, name: &str) -> Result<()> {
    match target.with_database(name).connect().await {
        Ok(session) => session.drop_subscriptions().await?,
        Err(error) if error.kind() == Kind::NotFound => return Ok(()),
        Err(error) => tracing::debug!(%error, "subscriptions of a database that is dropped cannot be looked at"),
    }
    let session = target.connect_maintenance().await?;
    session.run(&format!("drop database {name}"), &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", ident(name))).await
}

const FACTS: &str = "
SELECT current_setting('server_version'), pg_is_in_recovery(), pg_encoding_to_char(d.encoding)::text, d.datcollate::text, d.datctype::text,
       current_user::text, (SELECT rolsuper FROM pg_roles WHERE rolname = current_user),
       pg_get_userbyid(10)::text
  FROM pg_database d WHERE d.datname = current_database()";

const SIZE: &str = "SELECT CASE WHEN has_database_privilege(d.oid, 'CONNECT') THEN pg_database_size(d.oid) ELSE 0 END \
  FROM pg_database d WHERE d.datname = current_database()";

const POSITION: &str = "SELECT (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END)::text";

impl Session {
    async fn drop_subscriptions(&self) -> Result<()> {
        let text = "SELECT s.subname::text FROM pg_subscription s \
                     WHERE s.subdbid = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())";
        for row in self.rows("list subscriptions", text).await? {
            let name = ident(&column::<String>(&row, 0)?);
            let text = format!(
                "ALTER SUBSCRIPTION {name} DISABLE; ALTER SUBSCRIPTION {name} SET (slot_name = NONE); DROP SUBSCRIPTION {name}"
            );
            self.run(&format!("drop subscription {name}"), &text).await?;
        }
        Ok(())
    }

    /// Facts of the server and of the database that this session is in; not within a transaction.
    pub(crate) async fn facts(&self) -> Result<ServerFacts> {
        let row = self.row("read facts of the server", FACTS).await?;
        Ok(ServerFacts {
            system_identifier: self.optional("SELECT system_identifier::text FROM pg_control_system()").await,
            version: self.version(),
            version_text: column(&row, 0)?,
            timeline: self
                .optional("SELECT timeline_id::text FROM pg_control_checkpoint()")
                .await
                .and_then(|text| text.parse().ok()),
            lsn: self.optional(POSITION).await,
            in_recovery: column(&row, 1)?,
            encoding: column(&row, 2)?,
            collate: column(&row, 3)?,
            ctype: column(&row, 4)?,
            user: column(&row, 5)?,
            superuser: column::<Option<bool>>(&row, 6)?.unwrap_or(false),
            bootstrap_superuser: column(&row, 7)?,
        })
    }

    /// Bytes of the database that this session is in on the server's disk, 0 where they may not be read. The server looks at every file for it: with
    /// thirty thousand of them that takes longer than most queries of catalogs.
    pub(crate) async fn database_bytes(&self) -> Result<u64> {
        let row = self.row("read the size of the database", SIZE).await?;
        Ok(u64::try_from(column::<i64>(&row, 0)?).unwrap_or(0))
    }

    /// What managed services and lesser roles may refuse to tell.
    async fn optional(&self, sql: &str) -> Option<String> {
        match self.client().query_typed_one(sql, &[]).await {
            Ok(row) => row.try_get(0).ok().flatten(),
            Err(error) => {
                tracing::debug!(%error, "the server does not tell");
                None
            }
        }
    }
}
