//! A container as throwaway server, published on loopback only.

use std::process::Stdio;

use tokio::process::Command;

use super::{Needs, connection};
use crate::base::ids::random_hex;
use crate::base::{Error, Result, process};
use crate::pg::connect::Target;

/// Names the image; `{major}` stands for the major version.
const IMAGE_VARIABLE: &str = "PGKEEP_SCRATCH_IMAGE";

/// Label of a container with the identity of the process that made it.
const LABEL: &str = "pgkeep.process";

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
        remove_leftovers().await;
        let mut command = Command::new("docker");
        if let Some(owner) = process::own() {
            command.args(["run", "--label", &format!("{LABEL}={owner}")]);
        } else {
            command.arg("run");
        }
        command.args(["--detach", "--rm", "--name", &name, "--publish", "127.0.0.1::5432", "--shm-size", "256m"]);
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
        // Before the run: one that is given up half-way may have made the container.
        let container = Self { name, stopped: false };
        run(command, &format!("start a container of {image}")).await?;
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

/// Removes containers of drills whose pgkeep is known to be dead. What fails is left to the next drill.
async fn remove_leftovers() {
    let mut list = Command::new("docker");
    list.args(["ps", "--all", "--no-trunc", "--filter", &format!("label={LABEL}")]);
    list.args(["--format", &format!("{{{{.ID}}}} {{{{.Label \"{LABEL}\"}}}}")]);
    let Ok(listed) = run(list, "list the containers of earlier drills").await else { return };
    for id in of_dead(&listed) {
        let mut remove = Command::new("docker");
        remove.args(["rm", "--force", "--volumes", id]);
        if let Err(error) = run(remove, "remove the container of an earlier drill").await {
            tracing::debug!(id, %error, "leftover of an earlier drill stays");
        }
    }
}

/// Of lines with an id and a process identity, the ids of those whose process is dead.
fn of_dead(listed: &str) -> Vec<&str> {
    listed
        .lines()
        .filter_map(|line| line.trim().split_once(' '))
        .filter(|(_, owner)| process::is_dead(owner))
        .map(|(id, _)| id)
        .collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_of_dead_processes_are_told_apart() {
        let own = process::own().expect("Linux tells");
        let (ours, _) = own.rsplit_once(' ').expect("fields");
        let listed = format!("aaa {own}\nbbb {ours} 1\nccc\nddd elsewhere {ours} 1\n");
        assert_eq!(of_dead(&listed), ["bbb"]);
    }
}
