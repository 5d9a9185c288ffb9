//! Schemas, extensions, types, routines, default privileges and large objects survive the round trip through entries.

use crate::support::corpus::{cases, make_roles, round_trip};
use crate::support::server::Server;

const KINDS: &[&str] = &[
    "schema",
    "extension",
    "enum_type",
    "composite_type",
    "range_type",
    "domain",
    "function",
    "procedure",
    "aggregate",
    "default_privileges",
    "large_object",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn corpus_of_objects_survives_the_round_trip() {
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
