use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    process::Command,
};

use tempfile::TempDir;

use super::{Dev, ISOTHERM, free_base, run, text};

#[test]
fn nothing_is_executed_from_the_folder_in_which_it_is_started() {
    let dir = TempDir::new().unwrap();
    let alone = dir.path().join("isotherm");
    fs::copy(ISOTHERM, &alone).unwrap();
    let (here, ran) = (dir.path().join("here/below"), dir.path().join("ran"));
    fs::create_dir_all(&here).unwrap();
    for planted in [
        ".tools/bin",
        "here/.tools/bin",
        "here/below/.tools/bin",
        "here/below",
    ] {
        let bin = dir.path().join(planted);
        fs::create_dir_all(&bin).unwrap();
        for name in ["nats-server", "valkey-server", "ingest"] {
            let program = bin.join(name);
            fs::write(&program, format!("#!/bin/sh\ntouch {}\n", ran.display())).unwrap();
            fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        }
    }
    // Beside this program its own services are found, and then it would start the servers.
    for name in ["ingest", "hot-writer", "compactor", "query", "archiver"] {
        fs::write(dir.path().join(name), "").unwrap();
    }
    for path in [".", ".tools/bin", "", "../below:"] {
        let mut command = Command::new(&alone);
        command.arg("dev").current_dir(&here).env("PATH", path);
        let output = run(command);
        assert_eq!(output.status.code(), Some(1), "{path:?}");
        let said = text(&output.stderr);
        assert!(
            said.contains("nats-server is not on the PATH"),
            "{path:?}: {said}"
        );
        assert!(!ran.exists(), "{path:?}");
    }
}

#[tokio::test]
async fn what_is_stored_is_its_owners_alone_and_browsers_from_elsewhere_get_nothing() {
    // Another test may have been first.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let base = free_base();
    let dev = Dev::start(&data, base, &["--cors-origin", "http://app.example"]).await;
    let mut folders = vec![data];
    while let Some(folder) = folders.pop() {
        let mode = fs::metadata(&folder).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}: {mode:o}", folder.display());
        let inner = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        folders.extend(inner.filter(|path| path.is_dir()));
    }
    let ask = async |offset: u16, path: &str, header: [&str; 2]| {
        let request = reqwest::Client::new()
            .get(format!("http://127.0.0.1:{}{path}", base + offset))
            .header(header[0], header[1]);
        request.send().await.unwrap().status().as_u16()
    };
    for (offset, path) in [(1, "/v1/store"), (2, "/v1/watermarks"), (13, "/metrics")] {
        assert_eq!(ask(offset, path, ["host", "rebound.example"]).await, 421);
        assert_eq!(
            ask(offset, path, ["origin", "http://evil.example"]).await,
            403
        );
        assert_eq!(
            ask(offset, path, ["origin", "http://app.example"]).await,
            200
        );
    }
    // The monitor of NATS asks for no name, so its paths are a secret.
    for path in ["/", "/varz", "/jsz", "/connz", "/healthz"] {
        assert_eq!(
            ask(24, path, ["host", "rebound.example"]).await,
            404,
            "{path}"
        );
    }
    dev.stop().await;
}
