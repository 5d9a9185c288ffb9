//! `pgkeep serve`.

use super::args::ServeArgs;
use crate::base::Result;
use crate::daemon::serve::{ServeOptions, serve};
use crate::jobs::Context;

/// Serves until a signal ends it.
pub(super) async fn run(cx: &Context, args: &ServeArgs) -> Result<()> {
    let options = ServeOptions {
        listen: args.listen,
        max_runs: usize::from(args.max_runs),
        token_file: args.token_file.clone(),
        ..ServeOptions::default()
    };
    serve(cx, &options).await
}
