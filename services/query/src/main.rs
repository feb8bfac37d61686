use std::process::ExitCode;

use clap::Parser as _;
use query::config::Args;
use service_runtime::Runtime;

fn main() -> ExitCode {
    let args = Args::parse();
    service_runtime::main(|| async move {
        let config = args.validate()?;
        let runtime = Runtime::start("query", args.runtime).await?;
        query::run(config, runtime).await
    })
}
