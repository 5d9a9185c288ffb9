//! References to secrets that AWS keeps, through the real binary.

use pgkeep::base::ids::random_hex;
use pgkeep::policy::secrets::percent_encoded;
use serde_json::{Value, json};

use crate::support::aws::{Aws, fault};
use crate::support::cli::{Home, StoreKind, finance, s3_environment};
use crate::support::server::Server;

const SECRETS: Aws = Aws::new("secretsmanager", "eu-west-1");
const PARAMETERS: Aws = Aws::new("ssm", "eu-west-1");

#[track_caller]
fn secret(aws: Aws, name: &str, text: &str) -> String {
    let made = aws.json("secretsmanager.CreateSecret", &json!({ "Name": name, "SecretString": text }));
    made["ARN"].as_str().expect("ARN").to_owned()
}

fn parameter(name: &str, text: &str) {
    PARAMETERS.json("AmazonSSM.PutParameter", &json!({ "Name": name, "Value": text, "Type": "SecureString" }));
}

/// `postgres://user:password@rest` taken apart.
fn parts(url: &str) -> (String, String, String) {
    let rest = url.split_once("://").expect("a scheme").1;
    let (user, rest) = rest.split_once('@').expect("a user");
    let (user, password) = user.split_once(':').expect("a password");
    (user.to_owned(), password.to_owned(), rest.to_owned())
}

fn write_policy(home: &Home, url: &str, more: &str) {
    let text = format!("[source]\nkind = \"postgres\"\nurl = \"{url}\"\n[store]\nurl = \"{}\"\n{more}\n", home.store());
    std::fs::write(home.path().join("policies/books.toml"), text).expect("write the policy");
}

#[tokio::test]
async fn a_database_is_backed_up_with_what_aws_keeps_in_every_form_of_reference() {
    let server = Server::of(17);
    let source = finance(&server, 50).await;
    let home = Home::new(StoreKind::S3);
    let (user, password, rest) = parts(&source.url());
    let name = format!("prod/{}", random_hex(6));
    let arn = secret(SECRETS, &name, &json!({ "url": source.url(), "username": user, "password": password }).to_string());
    let elsewhere = format!("whole/{}", random_hex(6));
    secret(Aws::new("secretsmanager", "eu-central-1"), &elsewhere, &source.url());
    let path = format!("/books/{}", random_hex(6));
    parameter(&path, &source.url());
    for url in [
        format!("aws-secretsmanager:{name}#url"),
        format!("aws-secretsmanager:{arn}#url"),
        format!("aws-secretsmanager:eu-central-1:{elsewhere}"),
        format!("aws-ssm:{path}"),
        format!("aws-ssm:eu-west-1:{path}:1"),
        format!("postgres://${{aws-secretsmanager:{name}#username}}:${{aws-secretsmanager:{name}#password}}@{rest}"),
    ] {
        write_policy(&home, &url, "");
        let made = home.run(&["--json", "backup", "books"]).exits(0);
        assert!(!made.stdout.contains(&password) && !made.stderr.contains(&password), "{url}");
        home.run(&["policy", "check"]).exits(0);
    }
    // Every document of the vault, and nothing on the disk of this machine.
    for key in ["books/vault.json".to_owned()].into_iter().chain(home.keys("books/runs/")) {
        let text = home.get(&key).unwrap_or_default();
        assert!(!text.contains(&password) && !text.is_empty(), "{key}: {text}");
    }
    assert!(
        home.get("books/vault.json").expect("the vault").contains("aws-secretsmanager:"),
        "the policy's text has the reference"
    );
    let to = format!("aws-ssm:{path}");
    home.run(&["restore", "books", "--to", &to, "--plan"]).exits(5).says(&["is not empty"]);
    source.remove().await;
}

#[test]
fn what_aws_does_not_give_is_named_and_what_to_do_about_it() {
    let home = Home::new(StoreKind::S3);
    let name = format!("prod/{}", random_hex(6));
    secret(SECRETS, &name, &json!({ "url": "postgres://u:hunter2@127.0.0.1:1/x" }).to_string());
    let binary = format!("binary/{}", random_hex(6));
    SECRETS.json("secretsmanager.CreateSecret", &json!({ "Name": binary, "SecretBinary": "aHVudGVyMg==" }));
    for (url, code, says) in [
        ("aws-secretsmanager:nowhere/x".to_owned(), 4, vec!["nowhere/x", "no such secret"]),
        (format!("aws-secretsmanager:{name}#pw"), 4, vec!["has no key 'pw'"]),
        (format!("aws-secretsmanager:{binary}"), 8, vec!["is binary"]),
        ("aws-ssm:/nowhere/y".to_owned(), 4, vec!["/nowhere/y", "no such parameter"]),
        ("aws-secretsmanager:".to_owned(), 3, vec!["source.url", "does not name a secret"]),
    ] {
        write_policy(&home, &url, "");
        let ran = home.run(&["backup", "books"]).exits(code).says(&says);
        assert!(!ran.stderr.contains("hunter"), "{}", ran.stderr);
        // One look, and one place that says it to those who ask before it is needed.
        if code != 3 {
            home.run(&["doctor", "books"]).exits(code);
        }
    }
    let denied = format!("denied/{}", random_hex(6));
    secret(SECRETS, &denied, "postgres://u:hunter2@127.0.0.1:1/x");
    write_policy(&home, &format!("aws-secretsmanager:{denied}"), "");
    let asked = format!("secretsmanager.GetSecretValue SecretId={denied}");
    fault(&asked, "AccessDeniedException", 400, 1);
    home.run(&["backup", "books"]).exits(4).says(&["AccessDeniedException", "secretsmanager:GetSecretValue", "iam-policy"]);
    fault(&asked, "ThrottlingException", 400, 2);
    home.run(&["backup", "books"]).exits(4).says(&["127.0.0.1:1"]);
}

#[tokio::test]
async fn a_hook_that_prints_a_secret_of_aws_leaves_none_in_the_record() {
    let server = Server::of(17);
    let source = finance(&server, 50).await;
    let home = Home::new(StoreKind::File);
    let path = format!("/books/{}", random_hex(6));
    let token = format!("tok en/{}", random_hex(12));
    parameter(&path, &source.url());
    let url = source.url();
    let (_, password, _) = parts(&url);
    let hook = format!("echo seen {url} {password}; echo token {} {token}", percent_encoded(&token));
    let hooks_token = format!("/books/token-{}", random_hex(6));
    parameter(&hooks_token, &token);
    let more = format!("[notify]\nheartbeat = \"http://127.0.0.1:1/${{aws-ssm:{hooks_token}}}\"\n[hooks]\nafter = {hook:?}\n");
    write_policy(&home, &format!("aws-ssm:{path}"), &more);
    let mut command = home.command(&["backup", "books"]);
    command.envs(s3_environment());
    assert!(command.output().expect("run").status.success());
    let runs = home.keys("books/runs/");
    let record: Value = serde_json::from_str(&home.get(runs.last().expect("a run")).expect("a record")).expect("JSON");
    let output = record["hooks"][0]["output"].as_str().expect("output").to_owned();
    assert!(output.contains("seen") && output.contains("***"), "{output}");
    for hidden in [password.as_str(), token.as_str(), &percent_encoded(&token)] {
        assert!(!output.contains(hidden), "{output}");
    }
    source.remove().await;
}
