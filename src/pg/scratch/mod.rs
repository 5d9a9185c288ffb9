//! Throwaway servers for drills: a process of our own on a Unix socket, a container, or a server that the policy names.
//!
//! A drill can never touch the source: the first two are born for it and die with it, and the third is refused when it is the
//! source's cluster.

mod binaries;
mod docker;
mod local;
mod memory;

use std::time::Duration;

use super::connect::Target;
use super::facts::{ServerFacts, server_facts};
use crate::base::clock::{SharedClock, Stopwatch};
use crate::base::secret::Secret;
use crate::base::shutdown::Shutdown;
use crate::base::sql::ident;
use crate::base::{Error, Kind, Result};

/// How long a new server may take until it answers.
const START_LIMIT: Duration = Duration::from_secs(90);
const START_POLL: Duration = Duration::from_millis(100);

/// Where a drill runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Local if the machine has a server of that major version, else a container.
    Auto,
    /// `initdb` and `postgres` of this machine.
    Local,
    /// A container of the image in `PGKEEP_SCRATCH_IMAGE`, or `postgres:<major>`.
    Docker,
    /// A server where a temporary database may be made.
    Url(Secret<String>),
}

/// What the throwaway server must be like.
#[derive(Debug, Clone)]
pub struct Needs {
    /// Major version of the source.
    pub major: u32,
    /// Name of the source's bootstrap superuser, who owns what comes with a server.
    pub superuser: String,
    /// The source's cluster, which a drill must not touch.
    pub system_identifier: Option<String>,
}

#[derive(Debug)]
enum Server {
    Local(Box<local::LocalServer>),
    Docker(docker::Container),
    Foreign,
}

/// A running throwaway server; [`Scratch::stop`] ends it, and so does dropping it.
#[derive(Debug)]
pub struct Scratch {
    target: Target,
    facts: ServerFacts,
    server: Server,
}

impl Scratch {
    /// Starts a server, or connects to the one that is named, and waits until it answers.
    pub async fn start(place: &Place, needs: &Needs, clock: &SharedClock, shutdown: &Shutdown) -> Result<Self> {
        let (target, server) = match place {
            Place::Url(url) => (Target::parse(url)?, Server::Foreign),
            Place::Local => start_local(needs).await?,
            Place::Docker => start_docker(needs).await?,
            Place::Auto => match start_local(needs).await {
                Err(local) if local.kind() == Kind::Unsupported => {
                    start_docker(needs).await.map_err(|docker| nowhere(needs.major, &local, &docker))?
                }
                other => other?,
            },
        };
        let facts = await_answer(&target, &server, clock, shutdown).await?;
        if matches!(server, Server::Foreign) && (facts.system_identifier.is_none() || needs.system_identifier.is_none()) {
            return Err(Error::denied(format!(
                "it cannot be told whether {} is the cluster that was backed up: a system identifier is unknown",
                target.describe()
            ))
            .hint(
                "use 'auto', 'local' or 'docker' under verify.scratch, or, on both servers, let the role run it: \
                 GRANT EXECUTE ON FUNCTION pg_control_system() TO …, and make a new backup",
            ));
        }
        if facts.system_identifier.is_some() && facts.system_identifier == needs.system_identifier {
            return Err(Error::conflict(format!(
                "{} is the cluster that was backed up; a drill never runs there",
                target.describe()
            ))
            .hint("name another server under verify.scratch, or use 'auto'"));
        }
        if facts.version.major() != needs.major {
            return Err(Error::unsupported(format!(
                "{} is PostgreSQL {}; a drill of this backup needs major version {}",
                target.describe(),
                facts.version,
                needs.major
            )));
        }
        Ok(Self { target, facts, server })
    }

    /// The server's maintenance database.
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// The server.
    pub const fn facts(&self) -> &ServerFacts {
        &self.facts
    }

    /// Whether the server is ours alone: any database name may be used, and nothing needs to be cleaned up.
    pub const fn is_own(&self) -> bool {
        !matches!(self.server, Server::Foreign)
    }

    /// `local`, `docker` or `server`.
    pub const fn place(&self) -> &'static str {
        match self.server {
            Server::Local(_) => "local",
            Server::Docker(_) => "docker",
            Server::Foreign => "server",
        }
    }

    /// Drops these roles on a server that is not ours alone, and returns those that stay, with the reason. Their databases must be gone.
    pub async fn drop_roles(&self, roles: &[String]) -> Vec<(String, Error)> {
        let mut left = Vec::new();
        for role in roles {
            let dropped = async {
                let session = self.target.connect_maintenance().await?;
                session.run(&format!("drop role {role}"), &format!("DROP ROLE IF EXISTS {}", ident(role))).await
            };
            if let Err(error) = dropped.await {
                left.push((role.clone(), error));
            }
        }
        left
    }

    /// Ends the server and removes its files.
    pub async fn stop(self) -> Result<()> {
        match self.server {
            Server::Local(server) => server.stop().await,
            Server::Docker(container) => container.stop().await,
            Server::Foreign => Ok(()),
        }
    }
}

/// Whether a drill for `major` could start in `place`, without starting one; says where it would run.
pub async fn available(place: &Place, major: u32) -> Result<String> {
    let local = async || binaries::find(major).await.map(|folder| format!("a server of their own, from {}", folder.display()));
    let docker = async || docker::available().await.map(|version| format!("a container (docker {version})"));
    match place {
        Place::Local => local().await,
        Place::Docker => docker().await,
        Place::Auto => match local().await {
            Ok(found) => Ok(found),
            Err(no_local) => match docker().await {
                Ok(found) => Ok(found),
                Err(no_docker) => Err(nowhere(major, &no_local, &no_docker)),
            },
        },
        Place::Url(url) => {
            let target = Target::parse(url)?;
            let facts = server_facts(&target).await?;
            Ok(format!("{} (PostgreSQL {})", target.describe(), facts.version))
        }
    }
}

async fn start_local(needs: &Needs) -> Result<(Target, Server)> {
    let (target, server) = local::LocalServer::start(needs).await?;
    Ok((target, Server::Local(Box::new(server))))
}

async fn start_docker(needs: &Needs) -> Result<(Target, Server)> {
    let (target, container) = docker::Container::start(needs).await?;
    Ok((target, Server::Docker(container)))
}

fn nowhere(major: u32, local: &Error, docker: &Error) -> Error {
    Error::unsupported(format!(
        "no throwaway server of PostgreSQL {major} for the drill: {}; {}",
        local.full_message(),
        docker.full_message()
    ))
    .hint(format!(
        "install the server package of PostgreSQL {major} (no running service is needed), name its bin folder in PGKEEP_PG_BIN, \
         start Docker, or name a server under verify.scratch"
    ))
}

async fn await_answer(target: &Target, server: &Server, clock: &SharedClock, shutdown: &Shutdown) -> Result<ServerFacts> {
    let watch = Stopwatch::start();
    loop {
        shutdown.check()?;
        match server_facts(target).await {
            Ok(facts) => return Ok(facts),
            Err(error) if matches!(server, Server::Foreign) => return Err(error.context("connect to the scratch server")),
            Err(error) if watch.elapsed() > START_LIMIT => return Err(error.context("wait for the throwaway server")),
            Err(_) => {}
        }
        if let Server::Local(server) = server {
            server.check_alive()?;
        }
        clock.sleep(START_POLL).await;
    }
}

/// `key='value'` connection string.
fn connection(host: &str, port: u16, user: &str, password: &str) -> Secret<String> {
    let quote = |v: &str| format!("'{}'", v.replace('\\', "\\\\").replace('\'', "\\'"));
    Secret::new(format!(
        "host={} port={port} user={} password={} dbname=postgres sslmode=disable",
        quote(host),
        quote(user),
        quote(password)
    ))
}
