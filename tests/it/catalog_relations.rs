//! Relations and what hangs on them survive the round trip through entries.

use crate::support::corpus::{cases, make_roles, round_trip};
use crate::support::server::Server;

const KINDS: &[&str] = &[
    "table",
    "column_default",
    "constraint",
    "foreign_key",
    "index",
    "partition",
    "inheritance",
    "sequence",
    "identity",
    "view",
    "materialized_view",
    "rule",
    "trigger",
    "policy",
    "statistics",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn corpus_of_relations_survives_the_round_trip() {
    let cases = cases(|kind| KINDS.contains(&kind));
    let mut failures = Vec::new();
    for server in Server::all() {
        make_roles(&server).await;
        for case in &cases {
            failures.extend(round_trip(&server, case).await.err());
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n\n"));
}
