use std::{fs, io::Write as _, path::Path};

use super::{path, run, server::Server};

const DEFAULTS: [&str; 4] = ["--conversation", "old", "--type", "log.line"];

fn line(n: usize) -> String {
    format!("{{\"content\":\"line {n}\"}}\n")
}

/// Imports `file`: the exit status, stdout, stderr.
async fn import(server: &Server, file: &Path, more: &[&str]) -> (i32, String, String) {
    let args = [&[path(file)][..], &DEFAULTS, more].concat();
    run(server, "jsonl", &args).await
}

fn joined(server: &Server) -> String {
    let bytes = server.joined().remove("old").unwrap_or_default();
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn half_an_emoji_is_named_with_its_line_and_only_its_line_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("runs.ndjson");
    let mut lines: Vec<String> = (1..=1200).map(line).collect();
    lines[699] = "{\"content\":\"cut \\ud83d\"}\n".to_owned();
    fs::write(&file, lines.concat()).unwrap();
    let server = Server::start();

    let (code, _, stderr) = import(&server, &file, &[]).await;
    assert_eq!(code, 1);
    assert!(
        stderr.contains("runs.ndjson:700: malformed_json"),
        "{stderr}"
    );

    let (code, stdout, stderr) = import(&server, &file, &["--skip-bad"]).await;
    assert_eq!(code, 0, "{stderr}");
    assert!(
        stdout.contains(r#"{"bad":"malformed_json","lines":1,"#),
        "{stdout}"
    );
    assert_eq!(server.ids().len(), 1199);
}

#[tokio::test]
async fn a_byte_order_mark_and_other_line_ends_change_no_event() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("runs.ndjson");
    let text = "\u{feff}{\"content\":\"one\"}\r\n{\"content\":\"two \u{2028}\u{85}\"}\r\n\r\n";
    fs::write(&file, format!("{text}\u{feff}{{\"content\":\"three\"}}")).unwrap();
    let server = Server::start();
    let (code, _, stderr) = import(&server, &file, &[]).await;
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(joined(&server), "onetwo \u{2028}\u{85}three");
}

#[tokio::test]
async fn a_file_of_another_form_is_refused_by_name_with_the_command_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("runs.json");
    let utf16 = |bom: &[u8], unit: fn(u16) -> [u8; 2]| {
        let text: Vec<u8> = line(1).encode_utf16().flat_map(unit).collect();
        [bom, &text].concat()
    };
    let server = Server::start();
    for (bytes, words) in [
        (utf16(b"\xff\xfe", u16::to_le_bytes), ["UTF-16", "UTF-8"]),
        (utf16(b"\xfe\xff", u16::to_be_bytes), ["UTF-16", "UTF-8"]),
        (utf16(b"", u16::to_le_bytes), ["UTF-16", "UTF-8"]),
        (b"\x28\xb5\x2f\xfd\x04\x00".to_vec(), ["zstd", "zstd -dc"]),
        (
            b"[\n {\"content\":\"x\"}\n]\n".to_vec(),
            ["array", "jq -c '.[]'"],
        ),
        (
            b"{\n \"content\": \"x\"\n}\n".to_vec(),
            ["several lines", "jq -c ."],
        ),
    ] {
        fs::write(&file, bytes).unwrap();
        for more in [&[][..], &["--skip-bad"]] {
            let (code, _, stderr) = import(&server, &file, more).await;
            assert_eq!(code, 1, "{stderr}");
            for word in words {
                assert!(stderr.contains(word), "{word}: {stderr}");
            }
        }
    }
    assert_eq!(server.requests(), 0);
}

#[tokio::test]
async fn a_last_line_without_an_end_is_known_again_when_the_file_has_grown() {
    for end in ["\n", "\r\n"] {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("runs.ndjson");
        let one = format!("{}{end}", line(1).trim());
        fs::write(&file, one + line(2).trim()).unwrap();
        let server = Server::start();
        assert_eq!(import(&server, &file, &[]).await.0, 0);
        append(&file, &format!("{end}{}{end}", line(3).trim()));
        let (code, _, stderr) = import(&server, &file, &[]).await;
        assert_eq!(code, 0, "{stderr}");
        assert_eq!(joined(&server), "line 1line 2line 3");
        assert_eq!(server.ids().len(), 3);
        fs::remove_file(dir.path().join("runs.ndjson.isotherm-import.json")).unwrap();
        assert_eq!(import(&server, &file, &[]).await.0, 0);
        assert_eq!(server.ids().len(), 3, "the same lines have the same ids");
    }
}

#[tokio::test]
async fn a_line_that_is_still_being_written_is_read_again_when_it_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("runs.ndjson");
    fs::write(&file, line(1) + "{\"content\":\"li").unwrap();
    let server = Server::start();
    let (code, _, stderr) = import(&server, &file, &[]).await;
    assert_eq!(code, 1);
    assert!(stderr.contains("runs.ndjson:2: "), "{stderr}");
    assert_eq!(joined(&server), "line 1", "what is whole is stored");
    let (code, stdout, stderr) = import(&server, &file, &["--skip-bad"]).await;
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains(r#""lines":1,"#), "{stdout}");

    append(&file, "ne 2\"}\n");
    let (code, _, stderr) = import(&server, &file, &["--skip-bad"]).await;
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(joined(&server), "line 1line 2");
}

#[tokio::test]
async fn cut_and_spliced_lines_are_counted_and_hide_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("runs.ndjson");
    let cut = "{\"content\":\"trunc".to_owned();
    let two = line(3).trim().to_owned() + &line(4);
    let nul = "\0\0\0\0".to_owned() + &line(5);
    fs::write(&file, [line(1), cut + &line(2), two, nul, line(6)].concat()).unwrap();
    let server = Server::start();
    let (code, stdout, stderr) = import(&server, &file, &["--skip-bad"]).await;
    assert_eq!(code, 0, "{stderr}");
    assert!(
        stdout.contains(r#"{"bad":"invalid_json","lines":3,"#),
        "{stdout}"
    );
    assert_eq!(joined(&server), "line 1line 6");
}

#[tokio::test]
async fn a_line_over_the_limit_is_named_or_left_out_and_its_neighbours_stay() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("runs.ndjson");
    let long = format!("{{\"content\":\"{}\"}}\n", "A".repeat(17 << 20));
    fs::write(&file, [line(1), long, line(3)].concat()).unwrap();
    let server = Server::start();
    let (code, _, stderr) = import(&server, &file, &[]).await;
    assert_eq!(code, 1);
    assert!(stderr.contains("runs.ndjson:2: line_too_long"), "{stderr}");
    let (code, stdout, stderr) = import(&server, &file, &["--skip-bad"]).await;
    assert_eq!(code, 0, "{stderr}");
    assert!(
        stdout.contains(r#"{"bad":"line_too_long","lines":1,"#),
        "{stdout}"
    );
    assert_eq!(joined(&server), "line 1line 3");
}

#[tokio::test]
async fn an_import_that_stores_nothing_is_no_success() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("runs.ndjson");
    let server = Server::start();
    for text in [
        "",
        "\n \r\n",
        "nonsense\nmore of it\n",
        "{\"refuse\":true}\n",
    ] {
        fs::write(&file, text).unwrap();
        let (code, stdout, stderr) = import(&server, &file, &["--skip-bad"]).await;
        assert_eq!(code, 1, "{text:?}: {stdout}{stderr}");
        assert!(stderr.contains("nothing"), "{text:?}: {stderr}");
        let _ = fs::remove_file(dir.path().join("runs.ndjson.isotherm-import.json"));
    }
}

fn append(file: &Path, text: &str) {
    let mut file = fs::File::options().append(true).open(file).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}
