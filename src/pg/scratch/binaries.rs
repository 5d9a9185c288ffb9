//! Finds `initdb` and `postgres` of a major version on this machine.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::base::{Error, Result};

/// Folder of the server binaries of `major`: `PGKEEP_PG_BIN` (folders separated by `:`), `PATH`, then where packages put them.
pub(super) async fn find(major: u32) -> Result<PathBuf> {
    let mut seen = Vec::new();
    for folder in candidates(major) {
        if !folder.join("initdb").is_file() || !folder.join("postgres").is_file() {
            continue;
        }
        match major_of(&folder).await {
            Some(found) if found == major => return Ok(folder),
            Some(found) if !seen.contains(&found) => seen.push(found),
            _ => {}
        }
    }
    seen.sort_unstable();
    let have =
        if seen.is_empty() { "none".to_owned() } else { seen.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ") };
    Err(Error::unsupported(format!("no server binaries of PostgreSQL {major} on this machine (found: {have})")))
}

fn candidates(major: u32) -> Vec<PathBuf> {
    let listed =
        |variable: &str| std::env::var_os(variable).map(|v| std::env::split_paths(&v).collect::<Vec<_>>()).unwrap_or_default();
    let mut folders = listed("PGKEEP_PG_BIN");
    folders.push(PathBuf::from(format!("/usr/lib/postgresql/{major}/bin")));
    folders.push(PathBuf::from(format!("/usr/pgsql-{major}/bin")));
    folders.push(PathBuf::from("/usr/local/pgsql/bin"));
    folders.push(PathBuf::from(format!("/opt/homebrew/opt/postgresql@{major}/bin")));
    folders.extend(listed("PATH"));
    folders
}

/// `postgres (PostgreSQL) 17.10 …` → 17.
async fn major_of(folder: &Path) -> Option<u32> {
    let output = Command::new(folder.join("postgres")).arg("--version").kill_on_drop(true).output().await.ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let number = text.split_whitespace().find(|w| w.starts_with(|c: char| c.is_ascii_digit()))?;
    number.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok()
}
