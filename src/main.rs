//! The `pgkeep` binary: signals, logging, exit code.

use std::process::ExitCode;

use clap::Parser as _;
use pgkeep::base::shutdown::Shutdown;
use pgkeep::cli::{self, args::Cli};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return cli::usage_error(&error),
    };
    cli::init_logging(&cli);
    let shutdown = Shutdown::new();
    ExitCode::from(cli::run_blocking(cli, shutdown))
}
