use std::io::Write as _;

use super::*;

fn gzip(bytes: &[u8]) -> Bytes {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap().into()
}

fn code(result: Result<Bytes, Problem>) -> (u16, &'static str) {
    let problem = result.unwrap_err();
    (problem.status.as_u16(), problem.code)
}

#[test]
fn a_compressed_body_is_decompressed_completely() {
    let body = b"{\"a\":1}\n".repeat(1000);
    assert_eq!(Encoding::Gzip.decode(gzip(&body)).unwrap(), body);
    let packed = zstd::encode_all(&body[..], 3).unwrap();
    assert_eq!(Encoding::Zstd.decode(packed.into()).unwrap(), body);
    let twice = [gzip(&body), gzip(&body)].concat();
    assert_eq!(Encoding::Gzip.decode(twice.into()).unwrap().len(), 16_000);
}

#[test]
fn a_decompression_bomb_is_too_large() {
    let zeros = vec![0; MAX_BODY_BYTES + 1];
    let packed = zstd::encode_all(&zeros[..], 3).unwrap();
    assert!(packed.len() < 10_000);
    let too_large = (413, "body_too_large");
    assert_eq!(code(Encoding::Zstd.decode(packed.into())), too_large);
    assert_eq!(code(Encoding::Gzip.decode(gzip(&zeros))), too_large);
    let allowed = gzip(&zeros[1..]);
    assert_eq!(
        Encoding::Gzip.decode(allowed).unwrap().len(),
        MAX_BODY_BYTES
    );
}

#[test]
fn a_body_that_is_not_in_its_encoding_is_malformed() {
    let malformed = (400, "malformed_encoding");
    for bytes in [&b""[..], b"{}", b"\x1f\x8b\x08"] {
        let bytes = Bytes::copy_from_slice(bytes);
        assert_eq!(code(Encoding::Gzip.decode(bytes.clone())), malformed);
    }
    let complete = gzip(b"{\"a\":1}");
    let cut = complete.slice(..complete.len() - 4);
    assert_eq!(code(Encoding::Gzip.decode(cut)), malformed);
    let packed = zstd::encode_all(&b"{\"a\":1}"[..], 3).unwrap();
    let cut = Bytes::copy_from_slice(&packed[..packed.len() - 2]);
    assert_eq!(code(Encoding::Zstd.decode(cut)), malformed);
    let text = Bytes::from_static(b"{}");
    assert_eq!(code(Encoding::Zstd.decode(text)), malformed);
}

#[test]
fn a_zstd_window_that_is_too_large_is_named() {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
    encoder.window_log(MAX_WINDOW_LOG + 1).unwrap();
    encoder.write_all(b"{}").unwrap();
    let packed = encoder.finish().unwrap();
    let problem = Encoding::Zstd.decode(packed.into()).unwrap_err();
    assert_eq!(problem.code, "malformed_encoding");
    assert!(problem.detail.contains("window log"), "{}", problem.detail);
}

#[tokio::test]
async fn the_trace_of_a_request_is_counted_beside_its_body() {
    let budget = MemoryBudget::new(MIN_BUDGET_BYTES);
    let reserved = budget.process(4096, 16 * 1024).await.unwrap();
    assert_eq!(reserved.0.bytes(), PROCESSING_FACTOR * (4096 + 16 * 1024));
    // The largest body is processed whatever its headers are.
    budget.process(MAX_BODY_BYTES, 4096).await.unwrap();
}
