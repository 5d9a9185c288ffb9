//! Everything in the corpus that is no relation (schemas, extensions, types, routines, operators, text search, …) survives the round trip
//! through entries.

use crate::catalog_relations::KINDS as RELATIONS;
use crate::support::corpus::{cases, make_roles, round_trip};
use crate::support::server::Server;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn corpus_of_objects_survives_the_round_trip() {
    let cases = cases(|kind| !RELATIONS.contains(&kind));
    let mut failures = Vec::new();
    for server in Server::all() {
        make_roles(&server).await;
        for case in &cases {
            failures.extend(round_trip(&server, case).await.err());
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n\n"));
}
