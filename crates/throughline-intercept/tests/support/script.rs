//! Random conversation of a client and a broker, made from a seed.

use bytes::Bytes;
use throughline_intercept::Side;

use super::pair::{MILLISECOND, Pair};
use super::wire::{self, BatchSpec, FetchSpec, RecordSpec};

/// Conversation as a list of frames.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) lines: Vec<ScriptedFrame>,
}

/// Frame of one side.
#[derive(Debug)]
pub(crate) struct ScriptedFrame {
    pub(crate) from: Side,
    pub(crate) frame: Bytes,
    pub(crate) step: FrameKind,
    /// Milliseconds since the frame before.
    pause: u64,
}

/// Kind of a frame.
#[derive(Debug, Clone, Copy)]
pub(crate) enum FrameKind {
    Produce { records: usize },
    Fetch { delivered: usize },
    Commit,
    Other,
}

// === impl Script ===

impl Script {
    /// Returns requests of all kinds; responses come later, in order, some not at all.
    pub(crate) fn random(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut script = Self { lines: Vec::new() };
        let mut answers = std::collections::VecDeque::new();
        let mut offset = 0;
        for correlation in 0..random.i32(1..14) {
            let (question, step, answer) = exchange(&mut random, correlation, &mut offset);
            let (asking, answering) = match step {
                FrameKind::Fetch { .. } => (FrameKind::Other, step),
                FrameKind::Produce { .. } | FrameKind::Commit | FrameKind::Other => {
                    (step, FrameKind::Other)
                }
            };
            script.say(&mut random, Side::Client, question, asking);
            answers.extend(answer.map(|answer| (answer, answering)));
            while random.bool()
                && let Some((answer, step)) = answers.pop_front()
            {
                script.say(&mut random, Side::Broker, answer, step);
            }
        }
        let unanswered = random.usize(..4);
        while answers.len() > unanswered
            && let Some((answer, step)) = answers.pop_front()
        {
            script.say(&mut random, Side::Broker, answer, step);
        }
        script
    }

    fn say(&mut self, random: &mut fastrand::Rng, from: Side, frame: Bytes, step: FrameKind) {
        self.lines.push(ScriptedFrame {
            from,
            frame,
            step,
            pause: random.u64(..20),
        });
    }

    /// Plays the conversation through a session.
    pub(crate) fn play(&self, mut pair: Pair) -> Pair {
        for line in &self.lines {
            pair.wait(line.pause * MILLISECOND);
            match line.from {
                Side::Client => pair.client(&line.frame),
                Side::Broker => pair.broker(&line.frame),
            }
        }
        pair
    }

    /// Returns all bytes of one side.
    pub(crate) fn said(&self, side: Side) -> Vec<u8> {
        self.lines
            .iter()
            .filter(|line| line.from == side)
            .flat_map(|line| line.frame.to_vec())
            .collect()
    }

    /// Returns the number of records sent and delivered.
    pub(crate) fn records(&self) -> usize {
        let count = |line: &ScriptedFrame| match line.step {
            FrameKind::Produce { records } => records,
            FrameKind::Fetch { delivered } => delivered,
            FrameKind::Commit | FrameKind::Other => 0,
        };
        self.lines.iter().map(count).sum()
    }

    /// Returns the number of records delivered.
    pub(crate) fn deliveries(&self) -> usize {
        let count = |line: &ScriptedFrame| {
            if let FrameKind::Fetch { delivered } = line.step {
                delivered
            } else {
                0
            }
        };
        self.lines.iter().map(count).sum()
    }
}

/// Returns a request, its kind, and its response if it has one.
fn exchange(
    random: &mut fastrand::Rng,
    correlation: i32,
    offset: &mut i64,
) -> (Bytes, FrameKind, Option<Bytes>) {
    match random.u8(..10) {
        0..4 => {
            let (version, acks) = (random.i16(3..=12), random.choice([-1, -1, 1, 0]).unwrap());
            let records = records(random);
            let step = FrameKind::Produce {
                records: records.len(),
            };
            let batch = BatchSpec::of(records).attributes(random.i16(0..5));
            let answer = wire::produced(
                version,
                correlation,
                random.choice([0, 0, 0, 6]).unwrap(),
                random.i64(0..1000),
            );
            (
                wire::produce(version, correlation, acks, batch.bytes()),
                step,
                (acks != 0).then_some(answer),
            )
        }
        4..8 => {
            let version = random.i16(4..=12);
            let ask = FetchSpec {
                version,
                correlation,
                offset: Some(*offset),
                ..FetchSpec::default()
            };
            let records = records(random);
            let step = FrameKind::Fetch {
                delivered: records.len(),
            };
            let batch = BatchSpec::of(records)
                .at(*offset)
                .attributes(random.i16(0..5));
            *offset += i64::try_from(batch.records.len()).unwrap();
            let partial = &batch.bytes()[..random.usize(..60)];
            let records = [&batch.bytes()[..], partial].concat();
            (
                ask.frame(),
                step,
                Some(ask.answer(records, *offset + random.i64(0..5), &[])),
            )
        }
        8 => (
            wire::commit(correlation, "g", *offset),
            FrameKind::Commit,
            Some(wire::committed(correlation, 0)),
        ),
        _ => {
            let body: Vec<u8> = (0..random.usize(..50)).map(|_| random.u8(..)).collect();
            (
                wire::unknown(correlation, &body),
                FrameKind::Other,
                Some(wire::unknown_answer(correlation, &body)),
            )
        }
    }
}

/// Returns records, some with contexts, decisions or nonsense in their headers.
pub(crate) fn records(random: &mut fastrand::Rng) -> Vec<RecordSpec> {
    let count = random.usize(1..6);
    let one = |random: &mut fastrand::Rng| {
        let value: String = (0..random.usize(..100))
            .map(|_| random.alphanumeric())
            .collect();
        let record = RecordSpec::of(&value);
        match random.u8(..8) {
            0 => record.with(
                "traceparent",
                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            ),
            1 => record.with(
                "traceparent",
                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
            ),
            2 => record.with("b3", "0"),
            3 => record
                .with("traceparent", "nonsense")
                .with("traceparent", ""),
            4 => record.with(b"\xff", b"\0").with("a", "1").with("a", "2"),
            _ => record,
        }
    };
    (0..count).map(|_| one(random)).collect()
}
