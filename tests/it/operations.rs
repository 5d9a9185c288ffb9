//! What docs/OPERATIONS.md promises: the role that it makes can back up, and a disaster is survived with the binary and the bucket alone.

use std::path::Path;
use std::process::Command;

use pgkeep::base::ids::random_hex;

use crate::support::cli::{Home, StoreKind, drop_database, finance, finish, new_name};
use crate::support::server::Server;

const PAGE: &str = include_str!("../../docs/OPERATIONS.md");

#[tokio::test]
async fn a_disaster_is_survived_with_the_binary_and_the_bucket() {
    let server = Server::of(17);
    for kind in [StoreKind::S3, StoreKind::File] {
        let source = finance(&server, 2000).await;
        let home = Home::new(kind);
        home.policy("harena-db", &source, "[verify]\nlevel = \"content\"\n");
        home.json(&["backup", "harena-db"]);
        let count = "SELECT count(*), sum(amount)::text FROM finance.transactions";
        let before = source.connect().await.query_one(count, &[]).await.expect("count");
        let (rows, sum): (i64, String) = (before.get(0), before.get(1));
        // The machine is gone: database, policies, secrets.
        source.remove().await;
        std::fs::remove_dir_all(home.path().join("policies")).expect("remove");

        let target = new_name("disaster");
        let prepared = home.command(&[]);
        let binary = Path::new(env!("CARGO_BIN_EXE_pgkeep")).parent().expect("folder");
        let mut drill = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/disaster-drill"));
        drill.args([home.store(), "harena-db"]).envs(prepared.get_envs().filter_map(|(k, v)| Some((k, v?))));
        drill.env("PATH", format!("{}:{}", binary.display(), std::env::var("PATH").expect("PATH")));
        let ran = finish_drill(drill.env("RESTORE_URL", server.url(&target)));
        assert!(!ran.contains(&password(&server)), "no password is printed");

        let after = server.connect(&target).await.query_one(count, &[]).await.expect("count");
        assert_eq!((after.get::<_, i64>(0), after.get::<_, String>(1)), (rows, sum));
        if kind == StoreKind::File {
            let vault: serde_json::Value =
                serde_json::from_slice(&std::fs::read(home.vault("harena-db").join("vault.json")).expect("read")).expect("JSON");
            std::fs::create_dir(home.path().join("policies")).expect("folder");
            let text = vault["policy_text"].as_str().expect("the policy's text");
            std::fs::write(home.path().join("policies/harena-db.toml"), text).expect("write");
            home.run(&["policy", "check"]).exits(0);
            assert_eq!(home.json(&["list", "harena-db"])["backups"].as_array().map(Vec::len), Some(1), "the old history goes on");
        }
        drop_database(&server, &target).await;
    }
}

/// Runs the script; what it said, on success.
fn finish_drill(command: &mut Command) -> String {
    let output = command.output().expect("run scripts/disaster-drill");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    said
}

fn password(server: &Server) -> String {
    let url = url::Url::parse(&server.url("postgres")).expect("URL");
    url.password().expect("the test server has a password").to_owned()
}

#[tokio::test]
async fn the_role_of_the_page_backs_up_what_a_superuser_does() {
    let server = Server::of(17);
    let source = finance(&server, 500).await;
    let role = format!("pgkeep_role_{}", random_hex(4));
    let sql = PAGE.split("```sql\n").nth(1).and_then(|rest| rest.split("```").next()).expect("the statements");
    let sql = sql.replace("ROLE pgkeep", &format!("ROLE {role}")).replace("TO pgkeep", &format!("TO {role}"));
    assert_eq!(sql.matches(&role).count(), 2, "{sql}");
    source.connect().await.batch_execute(&sql).await.expect("the page's statements");
    let mut url = url::Url::parse(&source.url()).expect("URL");
    url.set_username(&role).expect("user");
    url.set_password(Some("change me")).expect("password");
    let home = Home::new(StoreKind::File);
    home.policy("superuser", &source, "");
    home.policy_of("role", url.as_str(), "", "");
    home.run(&["doctor", "role"]).exits(0);
    let tables = |policy: &str| {
        home.run(&["backup", policy]).exits(0);
        home.json(&["show", policy])["tables"].clone()
    };
    assert_eq!(tables("role"), tables("superuser"), "every row of every table");
    source.remove().await;
    finish(home.command(&["list"]), &["list"]).exits(0);
    server.admin(&[format!("DROP ROLE {role}")]).await;
}

#[test]
fn the_sections_of_the_page_are_valid() {
    let sections: Vec<&str> = PAGE.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!sections.is_empty());
    let home = Home::new(StoreKind::File);
    for (i, section) in sections.iter().enumerate() {
        home.policy_of(&format!("page-{i}"), "postgres://localhost/db", "", section);
    }
    home.run(&["policy", "check"]).exits(0);
}
