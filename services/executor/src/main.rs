use std::process::ExitCode;

fn main() -> ExitCode {
    executor::main()
}
