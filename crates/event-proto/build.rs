//! Generates the wire types from `proto/`, without a `protoc` to install.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let proto = "../../proto";
    println!("cargo::rerun-if-changed={proto}");
    let files = protox::compile(["isotherm/v1/event.proto"], [proto])?;
    prost_build::Config::new().bytes(["."]).compile_fds(files)?;
    Ok(())
}
