use proptest::prelude::*;

use super::*;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_micros(millis * 1000)
}

#[test]
fn output_becomes_an_event_after_the_window() {
    let mut chunker = Chunker::default();
    assert_eq!(chunker.push(b"a", at(0)), []);
    assert_eq!(chunker.push(b"b", at(30)), []);
    assert_eq!(chunker.tick(at(49)), None);
    let chunk = chunker.tick(at(50)).unwrap();
    assert_eq!((chunk.bytes.as_slice(), chunk.at), (&b"ab"[..], at(0)));
    assert_eq!(chunker.due(), None);
    assert_eq!(chunker.finish(at(60)), None);
}

#[test]
fn a_character_is_not_cut_in_two() {
    let mut chunker = Chunker::default();
    let text = "x".repeat(MAX_CHUNK_BYTES - 1) + "é!";
    let chunks = chunker.push(text.as_bytes(), at(0));
    assert_eq!(chunks[0].bytes.len(), MAX_CHUNK_BYTES - 1);
    assert_eq!(chunker.finish(at(0)).unwrap().bytes, "é!".as_bytes());

    chunker.push(&"😀".as_bytes()[..3], at(0));
    assert_eq!(
        chunker.tick(at(100)),
        None,
        "the beginning of a character waits"
    );
    chunker.push(&"😀".as_bytes()[3..], at(200));
    assert_eq!(chunker.tick(at(300)).unwrap().bytes, "😀".as_bytes());
}

#[test]
fn what_never_becomes_a_character_is_still_kept() {
    let mut chunker = Chunker::default();
    chunker.push(&[0xe2, 0x82], at(0));
    assert_eq!(chunker.finish(at(1)).unwrap().bytes, [0xe2, 0x82]);
}

proptest! {
    #[test]
    fn no_byte_is_lost_moved_or_doubled(
        reads in prop::collection::vec(
            (prop::sample::select(vec![b'a', 0xc3, 0xa9, 0xf0, 0x9f, 0x98, 0x80, 0xff]), 0..20_000_usize, 0_i64..120),
            0..12,
        )
    ) {
        let reads: Vec<(Vec<u8>, i64)> = reads
            .into_iter()
            .map(|(byte, length, pause)| (vec![byte; length], pause))
            .collect();
        let mut chunker = Chunker::default();
        let (mut joined, mut now) = (Vec::new(), 0);
        for (read, pause) in &reads {
            now += pause;
            let ticked = chunker.tick(at(now));
            let cut: Vec<Chunk> = ticked.into_iter().chain(chunker.push(read, at(now))).collect();
            for chunk in cut {
                prop_assert!(!chunk.bytes.is_empty() && chunk.bytes.len() <= MAX_CHUNK_BYTES);
                joined.extend(chunk.bytes);
            }
        }
        joined.extend(chunker.finish(at(now)).map(|chunk| chunk.bytes).unwrap_or_default());
        prop_assert_eq!(joined, reads.into_iter().flat_map(|(read, _)| read).collect::<Vec<u8>>());
    }

    #[test]
    fn text_is_cut_into_texts(text in "\\PC{0,200}", size in 1_usize..9) {
        let mut chunker = Chunker::default();
        let mut now = 0;
        for part in text.as_bytes().chunks(size) {
            now += 100;
            let ticked = chunker.tick(at(now));
            for chunk in ticked.into_iter().chain(chunker.push(part, at(now))) {
                prop_assert!(std::str::from_utf8(&chunk.bytes).is_ok());
            }
        }
    }
}
