use std::process::ExitCode;

fn main() -> ExitCode {
    query::main()
}
