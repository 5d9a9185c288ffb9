//! Work done in processes of their own: this test binary started again with a role.
#![allow(clippy::disallowed_macros, clippy::print_stdout, reason = "a child answers on its standard output")]

use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use pgkeep::base::clock::SystemClock;
use pgkeep::base::ids::random_hex;
use pgkeep::store::local::LocalStore;
use pgkeep::store::{PutMode, SharedStore, StoreError, StoreExt as _, StoreOptions, open};
use sha2::{Digest as _, Sha256};

use super::{eager, key};

const ROLE: &str = "PGKEEP_TEST_STORE_ROLE";
const PLACE: &str = "PGKEEP_TEST_STORE_PLACE";
/// Starts the lines that the parent reads, among those of the test harness.
pub(super) const ANSWER: &str = "answer: ";

/// The command of a child that plays `role` at `place`.
pub(super) fn child(role: &str, place: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("path of the test binary"));
    command.args(["--exact", "store::children::play_a_role", "--nocapture"]).env(ROLE, role).env(PLACE, place);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Waits for a child that must succeed and gives its answers.
pub(super) fn answers(child: Child) -> Vec<String> {
    let output = child.wait_with_output().expect("wait for the child");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "the child failed:\n{stdout}\n{stderr}");
    stdout.lines().filter_map(|line| line.split_once(ANSWER)).map(|(_, answer)| answer.to_owned()).collect()
}

/// What a child does; in the parent's own run there is no role to play.
#[tokio::test]
async fn play_a_role() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let place = std::env::var(PLACE).expect("place");
    match role.as_str() {
        "race" => race(&folder(&place)).await,
        "write until killed" => write_until_killed(&folder(&place)).await,
        "open" => open_and_use(&place).await,
        other => panic!("unknown role {other}"),
    }
}

fn folder(path: &str) -> SharedStore {
    Arc::new(LocalStore::new(path, Arc::new(SystemClock)).expect("store"))
}

pub(super) const RACE_KEYS: usize = 40;
pub(super) const RACE_INCREMENTS: usize = 15;

/// Creates keys that others create too and answers those it won; increments a counter that others increment too.
async fn race(store: &SharedStore) {
    for i in 0..RACE_KEYS {
        let body = random_hex(8);
        match store.put(&key(&format!("race/{i}")), Bytes::from(body.clone()), PutMode::Create).await {
            Ok(_) => println!("{ANSWER}{i} {body}"),
            Err(StoreError::AlreadyExists(_)) => {}
            Err(e) => panic!("{e}"),
        }
    }
    for _ in 0..RACE_INCREMENTS {
        loop {
            let (body, etag) = store.get_versioned(&key("counter")).await.expect("read the counter");
            let count: usize = std::str::from_utf8(&body).expect("text").parse().expect("number");
            match store.put(&key("counter"), Bytes::from((count + 1).to_string()), PutMode::Replace(etag)).await {
                Ok(_) => break,
                Err(StoreError::Precondition(_)) => {}
                Err(e) => panic!("{e}"),
            }
        }
    }
}

/// An object that tells whether it is whole: its digest and `size` bytes.
fn whole(size: usize) -> Bytes {
    let content = random_hex(1).repeat(size / 2);
    let mut body = Sha256::digest(content.as_bytes()).to_vec();
    body.extend(content.into_bytes());
    body.into()
}

/// Whether `body` is as [`whole`] made it.
pub(super) fn is_whole(body: &[u8]) -> bool {
    body.len() >= 32 && Sha256::digest(&body[32..])[..] == body[..32]
}

async fn write_until_killed(store: &SharedStore) {
    println!("{ANSWER}ready");
    for i in 0.. {
        let size = if i % 4 == 0 { 4 << 20 } else { 1000 * (1 + i * 37 % 400) };
        let (create, overwrite) = (key(&format!("created/{}/{}", i % 7, random_hex(8))), key(&format!("overwritten/{}", i % 3)));
        store.put(&create, whole(size), PutMode::Create).await.expect("create");
        store.put(&overwrite, whole(size), PutMode::Overwrite).await.expect("overwrite");
        let (_, etag) = store.get_versioned(&overwrite).await.expect("read");
        store.put(&overwrite, whole(size / 2), PutMode::Replace(etag)).await.expect("replace");
        if i % 3 == 0 {
            store.delete(&create).await.expect("delete");
        }
    }
}

/// Opens the URL with nothing but the environment, uses it, and answers how that went.
async fn open_and_use(url: &str) {
    let options = StoreOptions { backoff: eager(2), ..StoreOptions::new(url) };
    match open(&options, Arc::new(SystemClock)).await {
        Ok(opened) => {
            opened.store.put(&key("a"), Bytes::from_static(b"1"), PutMode::Create).await.expect("write");
            println!("{ANSWER}{}", String::from_utf8_lossy(&opened.store.get(&key("a")).await.expect("read")));
        }
        Err(e) => println!("{ANSWER}{} {e:?}", e.kind().exit_code()),
    }
}
