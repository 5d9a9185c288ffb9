//! What several subjects share: servers, databases, the corpus.

pub(crate) mod catalogs;
pub(crate) mod cli;
pub(crate) mod corpus;
pub(crate) mod rows;
pub(crate) mod server;
