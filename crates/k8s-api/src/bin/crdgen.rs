//! Prints the custom resource definition. `cargo xtask crdgen` writes it to `crds/`.

use std::io::{self, Write as _};

fn main() -> io::Result<()> {
    io::stdout().write_all(k8s_api::crd_yaml().as_bytes())
}
