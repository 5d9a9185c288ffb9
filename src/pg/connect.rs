//! Where a server is and who we are there: connection strings as libpq reads them, and the way in.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_postgres::config::{ChannelBinding, LoadBalanceHosts, SslMode, SslNegotiation, TargetSessionAttrs};
use tokio_postgres::{Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::conninfo::{Conninfo, Env};
use super::error;
use super::passfile;
use super::session::Session;
use super::tls::{self, Check, Files};
use super::wire::{Apart, Driver, Wire};
use crate::base::limits::CONNECT_TIMEOUT;
use crate::base::secret::Secret;
use crate::base::{Error, Result};

/// A database on a server, with what is needed to log in.
#[derive(Debug, Clone)]
pub struct Target {
    hosts: Vec<HostPort>,
    user: String,
    database: String,
    password: Option<Secret<String>>,
    mode: Mode,
    files: Files,
    check: Check,
    settings: Settings,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct HostPort {
    host: String,
    address: Option<std::net::IpAddr>,
    port: u16,
}

impl HostPort {
    fn is_socket(&self) -> bool {
        self.host.starts_with('/') || self.host.starts_with('@')
    }

    /// The server's socket in this directory. An `@` stands for the zero byte of Linux's abstract names, as in libpq.
    fn socket(&self) -> Option<PathBuf> {
        let name = |directory: &str| PathBuf::from(format!("{directory}/.s.PGSQL.{}", self.port));
        self.is_socket().then(|| self.host.strip_prefix('@').map_or_else(|| name(&self.host), |rest| name(&format!("\0{rest}"))))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Disable,
    Allow,
    Prefer,
    Require,
}

/// The rest of what a connection string may say.
#[derive(Debug, Clone)]
struct Settings {
    connect_timeout: Duration,
    options: Option<String>,
    negotiation: SslNegotiation,
    channel_binding: ChannelBinding,
    attributes: TargetSessionAttrs,
    balance: LoadBalanceHosts,
    keepalives: bool,
    keepalives_idle: Duration,
    keepalives_interval: Duration,
    keepalives_count: u32,
    tcp_user_timeout: Option<Duration>,
}

impl Target {
    /// Reads a `postgresql://` or `postgres://` URL or a `key=value` string; what it leaves out comes from `PG…` variables, `~/.pgpass` and
    /// libpq's defaults. An unknown parameter is an error that names it.
    pub fn parse(url: &Secret<String>) -> Result<Self> {
        Self::parse_with(url.expose(), &|name| std::env::var(name).ok())
    }

    fn parse_with(text: &str, env: Env<'_>) -> Result<Self> {
        let info = Conninfo::parse(text.trim(), env)?;
        let home = env("HOME").map(PathBuf::from);
        let hosts = hosts(&info)?;
        let user = info.get("user").map(str::to_owned).or_else(|| env("USER")).or_else(|| env("LOGNAME")).ok_or_else(|| {
            Error::usage("the connection string names no user").hint("write postgresql://user@host/database, or set PGUSER")
        })?;
        let database = info.get("dbname").map_or_else(|| user.clone(), str::to_owned);
        let (mode, check, files) = security(&info, home.as_deref())?;
        let settings = Settings::read(&info)?;
        let mut target = Self { hosts, user, database, password: None, mode, files, check, settings };
        target.password = if let Some(given) = info.get("password") {
            Some(Secret::new(given.to_owned()))
        } else {
            let file = info.get("passfile").map(PathBuf::from).or_else(|| home.map(|h| h.join(".pgpass")));
            file.and_then(|f| passfile::find(&f, target.host(), target.port(), &target.database, &target.user))
        };
        Ok(target)
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
        self.hosts.first().map_or("", |h| h.host.as_str())
    }

    /// Port of the first host.
    pub fn port(&self) -> u16 {
        self.hosts.first().map_or(5432, |h| h.port)
    }

    /// `user@host:port/database`: no secret.
    pub fn describe(&self) -> String {
        let hosts: Vec<String> = self.hosts.iter().map(|h| format!("{}:{}", h.host, h.port)).collect();
        format!("{}@{}/{}", self.user, hosts.join(","), self.database)
    }

    /// Logs in and pins the session, so that no setting of the role, the database or the server colours what it reads or writes.
    pub(crate) async fn connect(&self) -> Result<Session> {
        let tls = tls::connector(self.check, &self.files)?;
        let mut last = Error::usage("the connection string names no host");
        for host in &self.hosts {
            match self.connect_host(host, &tls).await {
                Ok((wire, (client, driver))) => {
                    let session = Session::start(client, driver, wire, self.describe()).await?;
                    match self.unfit(host, &session).await? {
                        None => return Ok(session),
                        Some(error) => last = error,
                    }
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Why a server at a socket is not the one that is wanted; over the network the driver has looked. Whether transactions write unless told otherwise does
    /// not matter: ours are told.
    async fn unfit(&self, host: &HostPort, session: &Session) -> Result<Option<Error>> {
        let wants_standby = match self.settings.attributes {
            TargetSessionAttrs::ReadWrite => false,
            TargetSessionAttrs::ReadOnly => true,
            _ => return Ok(None),
        };
        if !host.is_socket() || session.is_standby().await? == wants_standby {
            return Ok(None);
        }
        let is = if wants_standby { "takes writes" } else { "takes no writes" };
        Ok(Some(
            Error::unavailable(format!("the server at {} {is}, and the connection string wants another one", host.host))
                .hint("see its target_session_attrs"),
        ))
    }

    /// The same, for a session that reads many rows: its connection has a thread of its own.
    pub(crate) async fn connect_apart(&self) -> Result<Session> {
        let (thread, target) = (Apart::start()?, self.clone());
        let session = thread.run(async move { target.connect().await }).await?;
        Ok(session.with_thread(thread))
    }

    /// Logs in to a database that every server has, for what concerns the server or cannot be done from within the target.
    pub(crate) async fn connect_maintenance(&self) -> Result<Session> {
        match self.with_database("postgres").connect().await {
            Err(error) if error.kind() == crate::base::Kind::NotFound => self.with_database("template1").connect().await,
            other => other,
        }
    }

    async fn connect_host(&self, host: &HostPort, tls: &MakeRustlsConnect) -> Result<(Wire, Established)> {
        let ways: &[bool] = match self.mode {
            _ if host.is_socket() => &[false],
            Mode::Disable => &[false],
            Mode::Allow => &[false, true],
            Mode::Prefer => &[true, false],
            Mode::Require => &[true],
        };
        let mut first: Option<Error> = None;
        for encrypted in ways {
            let wire = host.socket().map_or_else(|| Wire::network(encrypted.then(|| tls.clone())), Wire::socket);
            match self.attempt(host, &wire, *encrypted).await {
                Ok(established) => return Ok((wire, established)),
                // Only what the other way in could cure: no entry of pg_hba.conf for this way, or a failed handshake.
                Err(error) => {
                    let again = error.kind() == crate::base::Kind::Denied && !error.message().contains("refused the password");
                    // That there is no TLS is nothing to report where it is only preferred.
                    if !again || first.as_ref().is_none_or(error::lacks_tls) {
                        first = Some(error);
                    }
                    if !again {
                        break;
                    }
                }
            }
        }
        Err(first.unwrap_or_else(|| Error::internal("no way to connect was tried")))
    }

    async fn attempt(&self, host: &HostPort, wire: &Wire, encrypted: bool) -> Result<Established> {
        let shown = format!("{}@{}:{}/{}", self.user, host.host, host.port, self.database);
        let config = self.config(host, encrypted);
        match self.log_in(&config, wire, &shown).await? {
            Ok(established) => Ok(established),
            Err(error) => match self.without_event_triggers(config, wire, &shown, &error).await {
                Some(established) => Ok(established),
                None => Err(error::connect(&shown, &error)),
            },
        }
    }

    /// One login; the inner error is for the caller to look at. The limit covers login too: a server that accepts connections and then says nothing would
    /// otherwise hold us for ever.
    async fn log_in(&self, config: &Config, wire: &Wire, shown: &str) -> Result<Result<Established, tokio_postgres::Error>> {
        match tokio::time::timeout(self.settings.connect_timeout, wire.connect(config)).await {
            Ok(Ok(outcome)) => Ok(outcome),
            Ok(Err(nobody)) => Err(error::unreachable(shown, &nobody.to_string(), Some(nobody.kind()))),
            Err(_) => Err(Error::unavailable(format!(
                "cannot reach {shown}: no answer within {} seconds",
                self.settings.connect_timeout.as_secs()
            ))
            .hint("check the address, the security group and the firewall")),
        }
    }

    /// Another try where it was not the server itself that refused: an event trigger on login (17) may have. Only a superuser can do without them; a backup
    /// that nobody could verify because of its own trigger would be none.
    async fn without_event_triggers(
        &self,
        mut config: Config,
        wire: &Wire,
        shown: &str,
        refusal: &tokio_postgres::Error,
    ) -> Option<Established> {
        let class = refusal.code().map(|code| &code.code()[..2])?;
        if ["08", "28", "3D", "53", "55", "57", "58"].contains(&class) {
            return None;
        }
        let given = self.settings.options.as_deref().unwrap_or_default();
        config.options(format!("{given} -c event_triggers=off").trim());
        self.log_in(&config, wire, shown).await.ok()?.ok()
    }

    fn config(&self, host: &HostPort, encrypted: bool) -> Config {
        let s = &self.settings;
        let mut config = Config::new();
        config.user(&self.user).dbname(&self.database).application_name("pgkeep").port(host.port);
        if !host.is_socket() {
            config.host(&host.host);
        }
        if let Some(address) = host.address {
            config.hostaddr(address);
        }
        if let Some(password) = &self.password {
            config.password(password.expose());
        }
        if let Some(options) = &s.options {
            config.options(options);
        }
        if let Some(limit) = s.tcp_user_timeout {
            config.tcp_user_timeout(limit);
        }
        // What is negotiated directly is up to the wire, which in clear says nothing.
        let negotiation = if encrypted { s.negotiation } else { SslNegotiation::Direct };
        config
            .ssl_mode(SslMode::Require)
            .ssl_negotiation(negotiation)
            .channel_binding(s.channel_binding)
            .target_session_attrs(s.attributes)
            .load_balance_hosts(s.balance)
            .connect_timeout(s.connect_timeout)
            .keepalives(s.keepalives)
            .keepalives_idle(s.keepalives_idle)
            .keepalives_interval(s.keepalives_interval)
            .keepalives_retries(s.keepalives_count);
        config
    }
}

/// A connection that has logged in.
type Established = (Client, Driver);

fn hosts(info: &Conninfo) -> Result<Vec<HostPort>> {
    let names: Vec<&str> = info.get("host").map_or_else(Vec::new, |h| h.split(',').collect());
    let addresses: Vec<&str> = info.get("hostaddr").map_or_else(Vec::new, |h| h.split(',').collect());
    let ports: Vec<&str> = info.get("port").map_or_else(Vec::new, |p| p.split(',').collect());
    let count = names.len().max(addresses.len()).max(1);
    if (names.len() > 1 || !addresses.is_empty()) && !names.is_empty() && !addresses.is_empty() && names.len() != addresses.len()
    {
        return Err(Error::usage("the connection string has different numbers of host and hostaddr"));
    }
    if ports.len() > 1 && ports.len() != count {
        return Err(Error::usage("the connection string has different numbers of hosts and ports"));
    }
    (0..count)
        .map(|i| {
            let port = match ports.get(i).or(ports.first()).copied().unwrap_or_default().trim() {
                "" => 5432,
                text => text.parse::<u16>().ok().filter(|p| *p > 0).ok_or_else(|| invalid("port"))?,
            };
            let address: Option<std::net::IpAddr> = match addresses.get(i).map(|a| a.trim()).unwrap_or_default() {
                "" => None,
                text => Some(text.parse().map_err(|_| invalid("hostaddr"))?),
            };
            let host = match (names.get(i).map(|n| n.trim()).unwrap_or_default(), address) {
                ("", Some(address)) => address.to_string(),
                ("", None) => default_host(port),
                (name, _) => name.to_owned(),
            };
            Ok(HostPort { host, address, port })
        })
        .collect()
}

/// libpq's default is the socket directory it was built with; these are the two in use.
fn default_host(port: u16) -> String {
    ["/var/run/postgresql", "/tmp"]
        .iter()
        .find(|d| Path::new(d).join(format!(".s.PGSQL.{port}")).exists())
        .map_or_else(|| "localhost".to_owned(), |d| (*d).to_owned())
}

fn invalid(parameter: &str) -> Error {
    Error::usage(format!("the connection parameter {parameter} has a value that cannot be used"))
}

fn security(info: &Conninfo, home: Option<&Path>) -> Result<(Mode, Check, Files)> {
    let default = |name: &str| home.map(|h| h.join(".postgresql").join(name)).filter(|f| f.exists());
    let file = |name: &str, standard: &str| info.get(name).map(PathBuf::from).or_else(|| default(standard));
    let roots = info.get("sslrootcert").map(str::to_owned);
    let stated = info.get("sslmode").unwrap_or(if roots.as_deref() == Some("system") { "verify-full" } else { "prefer" });
    let roots = roots.or_else(|| default("root.crt").map(|f| f.display().to_string()));
    let (mode, check) = match stated {
        "disable" => (Mode::Disable, Check::Nothing),
        "allow" => (Mode::Allow, Check::Nothing),
        "prefer" => (Mode::Prefer, Check::Nothing),
        // As libpq: with a root file at hand, "require" checks the authority.
        "require" if roots.as_deref().is_some_and(|r| r != "system") => (Mode::Require, Check::Authority),
        "require" => (Mode::Require, Check::Nothing),
        "verify-ca" => (Mode::Require, Check::Authority),
        "verify-full" => (Mode::Require, Check::Name),
        _ => {
            return Err(Error::usage("the connection parameter sslmode has an unknown value")
                .hint("one of disable, allow, prefer, require, verify-ca, verify-full"));
        }
    };
    if roots.is_none() && check == Check::Authority {
        return Err(
            Error::usage("sslmode=verify-ca needs sslrootcert").hint("name the file with the certificate of the authority")
        );
    }
    if roots.as_deref() == Some("system") && check != Check::Name {
        return Err(Error::usage("sslrootcert=system needs sslmode=verify-full")
            .hint("every owner of a public certificate could answer otherwise"));
    }
    let files = Files { roots, certificate: file("sslcert", "postgresql.crt"), key: file("sslkey", "postgresql.key") };
    Ok((mode, check, files))
}

impl Settings {
    fn read(info: &Conninfo) -> Result<Self> {
        let number = |name: &str| match info.get(name) {
            None => Ok(None),
            Some(text) => text.trim().parse::<u64>().map(Some).map_err(|_| invalid(name)),
        };
        let seconds =
            |name: &str, default: u64| Ok::<_, Error>(Duration::from_secs(number(name)?.filter(|n| *n > 0).unwrap_or(default)));
        Ok(Self {
            connect_timeout: seconds("connect_timeout", CONNECT_TIMEOUT.as_secs())?,
            options: info.get("options").map(str::to_owned),
            negotiation: choose(
                info,
                "sslnegotiation",
                &[("postgres", SslNegotiation::Postgres), ("direct", SslNegotiation::Direct)],
            )?,
            channel_binding: choose(
                info,
                "channel_binding",
                &[("prefer", ChannelBinding::Prefer), ("disable", ChannelBinding::Disable), ("require", ChannelBinding::Require)],
            )?,
            attributes: choose(
                info,
                "target_session_attrs",
                &[
                    ("any", TargetSessionAttrs::Any),
                    ("read-write", TargetSessionAttrs::ReadWrite),
                    ("read-only", TargetSessionAttrs::ReadOnly),
                ],
            )?,
            balance: choose(
                info,
                "load_balance_hosts",
                &[("disable", LoadBalanceHosts::Disable), ("random", LoadBalanceHosts::Random)],
            )?,
            keepalives: number("keepalives")? != Some(0),
            keepalives_idle: seconds("keepalives_idle", 60)?,
            keepalives_interval: seconds("keepalives_interval", 15)?,
            keepalives_count: number("keepalives_count")?.and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0).unwrap_or(4),
            tcp_user_timeout: number("tcp_user_timeout")?.filter(|n| *n > 0).map(Duration::from_millis),
        })
    }
}

/// The value of a parameter that has a fixed set of them, the first being the default.
fn choose<T: Copy>(info: &Conninfo, name: &str, values: &[(&str, T)]) -> Result<T> {
    let given = info.get(name).unwrap_or(values[0].0);
    values.iter().find(|(v, _)| *v == given).map(|(_, t)| *t).ok_or_else(|| {
        let known: Vec<&str> = values.iter().map(|(v, _)| *v).collect();
        invalid(name).hint(format!("one of {}", known.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Target {
        Target::parse_with(text, &|name| (name == "USER").then(|| "me".to_owned())).expect("parse")
    }

    #[test]
    fn descriptions_hold_no_secret() {
        let target = parse("postgresql://app:hunter2@db.example.com:5433/harena");
        assert_eq!(target.describe(), "app@db.example.com:5433/harena");
        assert!(!format!("{target:?}").contains("hunter2"));
        assert_eq!(target.with_database("x").database(), "x");
        assert_eq!(parse("host=/run/pg").describe(), "me@/run/pg:5432/me");
    }

    #[test]
    fn security_follows_libpq() {
        let of = |text: &str| {
            let t = parse(text);
            (t.mode, t.check)
        };
        assert_eq!(of("postgresql://h/d"), (Mode::Prefer, Check::Nothing));
        assert_eq!(of("postgresql://h/d?sslmode=require"), (Mode::Require, Check::Nothing));
        assert_eq!(of("postgresql://h/d?sslmode=require&sslrootcert=/ca.pem"), (Mode::Require, Check::Authority));
        assert_eq!(of("postgresql://h/d?sslrootcert=system"), (Mode::Require, Check::Name));
        assert_eq!(of("postgresql://h/d?sslmode=verify-ca&sslrootcert=/ca.pem"), (Mode::Require, Check::Authority));
        let error = Target::parse_with("postgresql://u@h/d?sslmode=verify", &|_| None).expect_err("refused");
        assert!(error.hint_text().is_some_and(|h| h.contains("verify-full")), "{error:?}");
    }

    #[test]
    fn several_hosts_have_their_own_ports() {
        let target = parse("postgresql://h1:1,h2:2/d");
        assert_eq!(target.describe(), "me@h1:1,h2:2/d");
        assert!(Target::parse_with("host=a,b,c port=1,2 user=u", &|_| None).is_err());
    }
}
