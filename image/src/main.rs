//! All programs of Isotherm in one executable, for the container image: the name by which it is
//! called selects the program.

use std::{env, ffi::OsString, path::Path, process::ExitCode};

use clap::Parser as _;

fn main() -> ExitCode {
    let called = env::args_os().next().unwrap_or_default();
    match name(&called).as_str() {
        "archiver" => service_runtime::main(|| archiver::run(archiver::Args::parse())),
        "compactor" => service_runtime::main(|| compactor::run(compactor::Args::parse())),
        "executor" => executor::main(),
        "hot-writer" => service_runtime::main(|| hot_writer::run(hot_writer::Args::parse())),
        "ingest" => service_runtime::main(|| ingest::run(ingest::Args::parse())),
        "operator" => service_runtime::main(|| operator::run(operator::Args::parse())),
        "query" => query::main(),
        // `isotherm`, the name of this file, or an unknown name.
        _ => isotherm::main(),
    }
}

fn name(called: &OsString) -> String {
    let file = Path::new(called).file_name().unwrap_or_default();
    file.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn a_program_is_selected_by_the_last_part_of_its_path() {
        assert_eq!(name(&"/usr/local/bin/hot-writer".into()), "hot-writer");
        assert_eq!(name(&"query".into()), "query");
        assert_eq!(name(&"".into()), "");
    }
}
