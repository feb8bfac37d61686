//! Generates events like those of agents from a seed: 256 conversations at a time, mostly chunks of
//! output, about 460 bytes of NDJSON each. The content is as repetitive as answers and code: zstd at
//! level 3 compresses it to 1/3.5. Deterministic: the same seed gives the same events.

use std::fmt::Write as _;

/// Conversations that are written at the same time.
const LIVE_CONVERSATIONS: usize = 256;
/// Most events of a conversation; the mean is half of it.
const MAX_CONVERSATION_EVENTS: u64 = 3_400;
const WORD_COUNT: usize = 2_000;
/// Number of phrases: two to four words that are repeated together.
const PHRASE_COUNT: usize = 500;
/// Upper bound for the length of a phrase.
const MAX_PHRASE_BYTES: usize = 60;
/// Percentage of phrases among phrases and single words.
const PHRASE_PERCENT: u64 = 20;
/// First event time, with 2 ms between events: 2026-01-05T00:00:00Z in ms since 1970.
const START_MILLIS: u64 = 1_767_571_200_000;
const START_DAY: u64 = 5;
const STEP_MICROS: u64 = 2_000;
const DAY_MICROS: u64 = 86_400_000_000;

/// Event types, each with its percentage of the events.
const TYPE_PERCENTS: [(&str, u64); 6] = [
    ("output.chunk", 86),
    ("tool.call", 5),
    ("tool.result", 5),
    ("file.created", 2),
    ("intervention", 1),
    ("error", 1),
];

/// The pseudo-random generator SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// A number below `bound`, small ones more often: the product of two fractions.
    fn skewed(&mut self, bound: u64) -> u64 {
        let fraction = self.below(1 << 16) * self.below(1 << 16);
        (fraction * bound) >> 32
    }

    /// A UUID of `version`; its first 48 bits are `millis` if given.
    fn uuid(&mut self, version: u128, millis: Option<u64>) -> Uuid {
        let mut bits = (u128::from(self.next()) << 64) | u128::from(self.next());
        if let Some(millis) = millis {
            bits = (bits & ((1 << 80) - 1)) | (u128::from(millis) << 80);
        }
        bits = (bits & !(0xf << 76)) | (version << 76);
        Uuid((bits & !(0b11 << 62)) | (0b10 << 62))
    }
}

#[derive(Clone, Copy)]
struct Uuid(u128);

impl std::fmt::Display for Uuid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bits = self.0;
        write!(
            f,
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            bits >> 96,
            (bits >> 80) & 0xffff,
            (bits >> 64) & 0xffff,
            (bits >> 48) & 0xffff,
            bits & 0xffff_ffff_ffff
        )
    }
}

struct Conversation {
    id: Uuid,
    task: Uuid,
    step: u64,
    left: u64,
}

pub(super) struct Generator {
    random: Random,
    words: Vec<String>,
    phrases: Vec<String>,
    live: Vec<Conversation>,
    written: u64,
}

impl Generator {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let words: Vec<_> = (0..WORD_COUNT).map(|_| word(&mut random)).collect();
        let phrases = (0..PHRASE_COUNT)
            .map(|_| phrase(&mut random, &words))
            .collect();
        let live = (0..LIVE_CONVERSATIONS)
            .map(|_| conversation(&mut random))
            .collect();
        Self {
            random,
            words,
            phrases,
            live,
            written: 0,
        }
    }

    /// Appends the next event to `line`, with a newline.
    pub(super) fn write_next(&mut self, line: &mut String) {
        let slot =
            usize::try_from(self.random.below(LIVE_CONVERSATIONS as u64)).expect("it is small");
        if self.live[slot].left == 0 {
            self.live[slot] = conversation(&mut self.random);
        }
        let micros = self.written * STEP_MICROS;
        let random = &mut self.random;
        let event_id = random.uuid(7, Some(START_MILLIS + micros / 1000));
        let (kind, tokens, ms) = (kind(random), random.below(100), random.below(900) + 100);
        let conversation = &mut self.live[slot];
        conversation.left -= 1;
        conversation.step += 1;
        let Conversation { id, task, step, .. } = conversation;
        let time = Time(micros);
        write!(
            line,
            r#"{{"event_id":"{event_id}","conversation_id":"{id}","task_id":"{task}","type":"{kind}","timestamp":"{time}","metadata":{{"model":"agent-2","step":{step},"tokens":{tokens},"ms":{ms},"stream":"stdout"}},"content":""#
        )
        .expect("a String takes everything");
        self.write_content(line);
        line.push_str("\"}\n");
        self.written += 1;
    }

    /// 20 to 400 bytes of words and code, about 143 in the mean, escaped as JSON wants it.
    fn write_content(&mut self, line: &mut String) {
        let fraction = self.random.below(1 << 16);
        let length = 20 + ((fraction * fraction * 370) >> 32);
        let end = line.len() + usize::try_from(length).expect("it is small");
        loop {
            let phrase =
                self.random.below(100) < PHRASE_PERCENT && line.len() + MAX_PHRASE_BYTES <= end;
            let from = match phrase {
                true => &self.phrases,
                false => &self.words,
            };
            line.push_str(one_of(&mut self.random, from));
            if line.len() >= end {
                return;
            }
            line.push_str(separator(&mut self.random));
        }
    }
}

/// Picks a text, the first ones more often.
fn one_of<'t>(random: &mut Random, texts: &'t [String]) -> &'t str {
    let index = random.skewed(texts.len() as u64);
    &texts[usize::try_from(index).expect("it is small")]
}

fn separator(random: &mut Random) -> &'static str {
    match random.below(24) {
        0 => "\\n",
        1 => ": \\\"",
        2 => ", ",
        3 => ".\\n    ",
        4 => "(",
        5 => ") ",
        _ => " ",
    }
}

fn phrase(random: &mut Random, words: &[String]) -> String {
    let mut phrase = one_of(random, words).to_owned();
    for _ in 0..=random.below(3) {
        phrase.push_str(separator(random));
        phrase.push_str(one_of(random, words));
    }
    phrase
}

fn conversation(random: &mut Random) -> Conversation {
    Conversation {
        id: random.uuid(4, None),
        task: random.uuid(4, None),
        step: 0,
        left: 1 + random.below(MAX_CONVERSATION_EVENTS),
    }
}

fn kind(random: &mut Random) -> &'static str {
    let mut chance = random.below(100);
    for (kind, share) in TYPE_PERCENTS {
        if chance < share {
            return kind;
        }
        chance -= share;
    }
    unreachable!("the shares make 100")
}

/// A pronounceable word of two to ten letters.
fn word(random: &mut Random) -> String {
    let letter = |random: &mut Random, from: &[u8]| {
        let index = random.below(from.len() as u64);
        char::from(from[usize::try_from(index).expect("it is small")])
    };
    let mut word = String::new();
    for _ in 0..=random.below(5) {
        word.push(letter(random, b"bcdfghklmnprstvwz"));
        word.push(letter(random, b"aeiou"));
    }
    word
}

/// Microseconds since the start, in RFC 3339.
struct Time(u64);

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (day, rest) = (START_DAY + self.0 / DAY_MICROS, self.0 % DAY_MICROS);
        let (seconds, micros) = (rest / 1_000_000, rest % 1_000_000);
        let (hour, minute) = (seconds / 3600, seconds / 60 % 60);
        let second = seconds % 60;
        write!(
            f,
            "2026-01-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z"
        )
    }
}

#[cfg(test)]
mod tests;
