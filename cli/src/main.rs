use std::process::ExitCode;

fn main() -> ExitCode {
    isotherm::main()
}
