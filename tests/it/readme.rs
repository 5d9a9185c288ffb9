//! Every command that the README and docs/OPERATIONS.md show is run as it stands; only the times of day are replaced by the present one.

use std::path::Path;

use crate::support::cli::{Home, StoreKind, drop_database, finish, new_name};
use crate::support::server::Server;

/// Lines of a page's `sh` blocks that call pgkeep, without comments. Blocks of the disaster drill are left out: `scripts/disaster-drill` runs them.
fn commands(page: &str) -> Vec<String> {
    let blocks = page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default());
    let lines = blocks.filter(|b| !b.contains("# drill: ")).flat_map(str::lines);
    let lines = lines.map(|l| l.split(" # ").next().unwrap_or_default().trim().to_owned());
    lines.filter(|l| l.starts_with("pgkeep ")).collect()
}

async fn every_command_works(page: &str, purpose: &str, at_least: usize) {
    let server = Server::of(17);
    let source = server.database(purpose).await;
    let client = source.connect().await;
    client
        .batch_execute("CREATE TABLE public.orders (id int PRIMARY KEY); INSERT INTO orders SELECT generate_series(1, 9)")
        .await
        .expect("load");
    let home = Home::new(StoreKind::File);
    home.policy("harena-db", &source, "[retention]\nkeep_last = 1\n\n[verify]\nlevel = \"restore\"\nscratch = \"local\"\n");
    let commands = commands(page);
    assert!(commands.len() >= at_least, "{commands:?}");
    let binary = Path::new(env!("CARGO_BIN_EXE_pgkeep")).parent().expect("folder").to_owned();
    let path = std::env::join_paths([binary].into_iter().chain(std::env::split_paths(&std::env::var_os("PATH").expect("PATH"))))
        .expect("PATH");
    for line in commands {
        let target = new_name("readme_copy");
        let typed = line.replace("\"14:05\"", "now").replace("\"2h ago\"", "now");
        let prepared = home.command(&[]);
        let mut command = std::process::Command::new("sh");
        command.envs(prepared.get_envs().filter_map(|(k, v)| Some((k, v?)))).current_dir(home.path());
        command.env("PATH", &path).env("GIT_SHA", "0123abc").env("RESTORE_URL", server.url(&target));
        if typed.starts_with("pgkeep serve") {
            command.args(["-c", &format!("exec {typed} --listen 127.0.0.1:0")]);
            serves_until_told(command);
        } else {
            command.args(["-c", &typed]);
            finish(command, &[&line]).exits(0);
        }
        drop_database(&server, &target).await;
    }
    source.remove().await;
}

/// A daemon starts, and ends well when it is asked to.
fn serves_until_told(mut command: std::process::Command) {
    use std::io::BufRead as _;
    let mut daemon = command.stderr(std::process::Stdio::piped()).spawn().expect("start pgkeep serve");
    let mut lines = std::io::BufReader::new(daemon.stderr.take().expect("stderr")).lines();
    assert!(lines.any(|line| line.expect("a line").contains("listening")), "it never listens");
    let told = std::process::Command::new("kill").arg(daemon.id().to_string()).status().expect("kill");
    assert!(told.success());
    lines.for_each(drop);
    assert!(daemon.wait().expect("wait").success());
}

#[tokio::test]
async fn every_command_of_the_readme_works() {
    every_command_works(include_str!("../../README.md"), "readme", 8).await;
}

#[tokio::test]
async fn every_command_of_the_operations_page_works() {
    every_command_works(include_str!("../../docs/OPERATIONS.md"), "operations", 10).await;
}
