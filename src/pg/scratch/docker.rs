//! A container as throwaway server, published on loopback only.

use std::process::Stdio;

use tokio::process::Command;

use super::{Needs, connection};
use crate::base::ids::random_hex;
use crate::base::{Error, Result};
use crate::pg::connect::Target;

/// Names the image; `{major}` stands for the major version.
const IMAGE_VARIABLE: &str = "PGKEEP_SCRATCH_IMAGE";

/// A running container; dropping it removes it.
#[derive(Debug)]
pub(super) struct Container {
    name: String,
    stopped: bool,
}

impl Container {
    /// `docker run`; does not wait until the server answers.
    pub(super) async fn start(needs: &Needs) -> Result<(Target, Self)> {
        let image = std::env::var(IMAGE_VARIABLE).unwrap_or_else(|_| "postgres:{major}".to_owned());
        let image = image.replace("{major}", &needs.major.to_string());
        let name = format!("pgkeep-drill-{}", random_hex(6));
        let password = random_hex(16);
        let mut command = Command::new("docker");
        command.args(["run", "--detach", "--rm", "--name", &name, "--publish", "127.0.0.1::5432", "--shm-size", "256m"]);
        // The values travel through the environment: argument lists are visible to every user of the machine.
        command.args(["--env", "POSTGRES_PASSWORD", "--env", "POSTGRES_USER"]);
        command.env("POSTGRES_PASSWORD", &password).env("POSTGRES_USER", &needs.superuser);
        command.args([
            image.as_str(),
            "postgres",
            "-c",
            "fsync=off",
            "-c",
            "synchronous_commit=off",
            "-c",
            "full_page_writes=off",
        ]);
        command.args(["-c", "max_wal_size=8GB", "-c", "max_locks_per_transaction=1024", "-c", "autovacuum=off"]);
        run(command, &format!("start a container of {image}")).await?;
        let container = Self { name, stopped: false };
        let mut port = Command::new("docker");
        port.args(["port", &container.name, "5432/tcp"]);
        let published = run(port, "read the container's port").await?;
        let number =
            published.lines().find_map(|l| l.trim().strip_prefix("127.0.0.1:")).and_then(|p| p.parse().ok()).ok_or_else(
                || Error::unsupported(format!("docker published no port on 127.0.0.1 (it said '{}')", published.trim())),
            )?;
        let target = Target::parse(&connection("127.0.0.1", number, &needs.superuser, &password))?;
        Ok((target, container))
    }

    /// Removes the container.
    pub(super) async fn stop(mut self) -> Result<()> {
        self.stopped = true;
        let mut remove = Command::new("docker");
        remove.args(["rm", "--force", "--volumes", &self.name]);
        run(remove, "remove the drill's container").await.map(drop)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if !self.stopped {
            let _ = std::process::Command::new("docker")
                .args(["rm", "--force", "--volumes", &self.name])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
        }
    }
}

/// Version of the engine, if one answers.
pub(super) async fn available() -> Result<String> {
    let mut command = Command::new("docker");
    command.args(["version", "--format", "{{.Server.Version}}"]);
    run(command, "ask the Docker engine").await.map(|version| version.trim().to_owned())
}

async fn run(mut command: Command, what: &str) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|e| Error::unsupported(format!("{what}: the docker command cannot be run")).source(e))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::unsupported(format!("{what}: {}", said.trim().lines().next().unwrap_or("docker failed without a message"))))
}
