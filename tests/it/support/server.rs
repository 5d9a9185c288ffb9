//! The PostgreSQL servers of the tests and throwaway databases on them. A missing server fails the test.
#![allow(clippy::expect_used, reason = "a helper that fails fails its test")]

use std::process::Command;

use super::rows::target;
use pgkeep::base::ids::random_hex;
use pgkeep::base::sql::ident;
use pgkeep::pg::catalog::kind::Context;
use pgkeep::pg::facts::drop_database;
use pgkeep::pg::version::Version;
use tokio_postgres::config::Host;
use tokio_postgres::{Client, Config, NoTls};

/// Majors that every test runs on, and those that `PGKEEP_TEST_WIDE=1` adds.
const MAJORS: &[u32] = &[15, 17, 18];
const WIDE_MAJORS: &[u32] = &[13, 14, 16];

/// Majors of the servers that tests run on, in ascending order.
pub(crate) fn majors() -> Vec<u32> {
    let wide = std::env::var("PGKEEP_TEST_WIDE").is_ok_and(|v| v == "1");
    let mut majors = MAJORS.to_vec();
    majors.extend(WIDE_MAJORS.iter().filter(|_| wide));
    majors.sort_unstable();
    majors
}

/// Majors with the label provider of `tests/label_provider`: those whose headers scripts/services can get.
pub(crate) const LABELLED_MAJORS: &[u32] = &[15, 18];

/// One server.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) major: u32,
    config: Config,
}

impl Server {
    /// The server of `major`, from `PGKEEP_TEST_PG<major>_URL`.
    pub(crate) fn of(major: u32) -> Self {
        let name = format!("PGKEEP_TEST_PG{major}_URL");
        let url = std::env::var(&name).unwrap_or_else(|_| panic!("{name} is not set: run scripts/services start"));
        Self { major, config: url.parse().expect("URL of the test server") }
    }

    /// All servers.
    pub(crate) fn all() -> Vec<Self> {
        majors().into_iter().map(Self::of).collect()
    }

    /// URL of `database`, password included.
    pub(crate) fn url(&self, database: &str) -> String {
        let name = format!("PGKEEP_TEST_PG{}_URL", self.major);
        let mut url = url::Url::parse(&std::env::var(name).expect("URL of the test server")).expect("URL of the test server");
        url.set_path(database);
        url.to_string()
    }

    /// URL of `database` over the server's Unix socket, password included.
    pub(crate) fn socket(&self, database: &str) -> String {
        let name = format!("PGKEEP_TEST_PG{}_SOCKET_DIR", self.major);
        let folder = std::env::var(&name).unwrap_or_else(|_| panic!("{name} is not set: run scripts/services start"));
        let url = url::Url::parse(&self.url(database)).expect("URL of the test server");
        let (port, password) = (url.port().expect("port"), url.password().expect("password"));
        format!("postgresql://{}:{password}@/{database}?host={folder}&port={port}", url.username())
    }

    /// A session in `database`.
    pub(crate) async fn connect(&self, database: &str) -> Client {
        let mut config = self.config.clone();
        config.dbname(database);
        let (client, connection) = config.connect(NoTls).await.expect("connect to the test server");
        tokio::spawn(connection);
        client
    }

    /// Runs statements in the maintenance database, each on its own.
    pub(crate) async fn admin(&self, statements: &[String]) {
        let client = self.connect("postgres").await;
        for statement in statements {
            client.batch_execute(statement).await.unwrap_or_else(|e| panic!("{statement}: {e:?}"));
        }
    }

    /// A new database from `template0`, dropped with the value.
    pub(crate) async fn database(&self, purpose: &str) -> Database {
        let name = format!("pgkeep_{purpose}_{}", random_hex(4));
        self.admin(&[format!("CREATE DATABASE {} TEMPLATE template0", ident(&name))]).await;
        Database { server: self.clone(), name }
    }

    /// `pg_dump` 18 of a database as text, without what differs from run to run.
    pub(crate) fn pg_dump(&self, database: &str, options: &[&str]) -> String {
        let mut arguments = options.to_vec();
        arguments.extend(["-d", database]);
        self.client_program("pg_dump", &arguments)
    }

    /// `pg_dumpall --globals-only` 18 as text, without what differs from run to run.
    pub(crate) fn pg_dumpall_globals(&self) -> String {
        self.client_program("pg_dumpall", &["--globals-only"])
    }

    fn client_program(&self, program: &str, arguments: &[&str]) -> String {
        let bin = std::env::var("PGKEEP_TEST_CLIENT_BIN").expect("PGKEEP_TEST_CLIENT_BIN is not set: run scripts/services start");
        let mut command = Command::new(format!("{bin}/{program}"));
        match self.config.get_hosts().first() {
            Some(Host::Tcp(host)) => command.arg("-h").arg(host),
            Some(Host::Unix(path)) => command.arg("-h").arg(path),
            None => command.arg("-h").arg("127.0.0.1"),
        };
        command.arg("-p").arg(self.config.get_ports().first().unwrap_or(&5432).to_string());
        command.arg("-U").arg(self.config.get_user().unwrap_or("postgres"));
        if let Some(password) = self.config.get_password() {
            command.env("PGPASSWORD", String::from_utf8_lossy(password).as_ref());
        }
        let output = command.args(arguments).output().unwrap_or_else(|e| panic!("run {program}: {e}"));
        assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        // `pg_dump` of a newer minor than the server's prints a counter of the server's own among the options of columns.
        let own = |l: &&str| l.starts_with("\\restrict ") || l.starts_with("\\unrestrict ") || l.contains(" SET (pg_attver=");
        text.lines().filter(|l| !own(l)).collect::<Vec<_>>().join("\n")
    }
}

/// A throwaway database.
pub(crate) struct Database {
    pub(crate) server: Server,
    pub(crate) name: String,
}

impl Database {
    /// Its URL, password included.
    pub(crate) fn url(&self) -> String {
        self.server.url(&self.name)
    }

    /// A session in it.
    pub(crate) async fn connect(&self) -> Client {
        self.server.connect(&self.name).await
    }

    /// What a kind may know of it.
    pub(crate) async fn context(&self) -> Context {
        let client = self.connect().await;
        let row = client.query_one("SELECT current_setting('server_version_num')::int4", &[]).await.expect("version");
        let version = u32::try_from(row.get::<_, i32>(0)).expect("version");
        Context { version: Version(version), database: self.name.clone(), reads_passwords: true, reads_connections: true }
    }

    /// Drops it.
    pub(crate) async fn remove(self) {
        drop_database(&target(&self.server.url("postgres")), &self.name).await.expect("drop the database");
    }
}
