//! Names what is in the catalogs and no kind covers.

use tokio_postgres::Client;

use super::kind::Context;
use crate::base::Result;

/// One sentence for each object that no kind covers.
pub(crate) async fn probe(_client: &Client, _cx: &Context) -> Result<Vec<String>> {
    Ok(Vec::new())
}
