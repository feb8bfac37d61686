//! Prints the definition of the resource that the argument names. `cargo xtask crdgen` writes them to
//! `crds/`.

use std::{
    env,
    io::{self, Write as _},
};

fn main() -> io::Result<()> {
    let plural = env::args().nth(1).unwrap_or_default();
    let yaml = k8s_api::crd_yaml(&plural)
        .ok_or_else(|| io::Error::other(format!("name one of {:?}", k8s_api::DEFINITIONS)))?;
    io::stdout().write_all(yaml.as_bytes())
}
