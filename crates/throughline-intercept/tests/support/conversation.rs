//! Properties of any conversation, well-formed or not. Shared by the tests and the fuzz target.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use throughline_intercept::kafka::{
    ApiKey, ClusterHandle, ClusterState, ConnectionEndpoints, DeliveryMode, InjectionMode,
    KafkaSession, NodeId, SessionEvent, SessionLimits, Settings, TopicSettings,
};
use throughline_intercept::{Side, Timestamp};

/// Limits that short inputs can reach.
const LIMITS: SessionLimits = SessionLimits {
    max_frame_bytes: 64 * 1024,
    max_inflated_bytes: 256 * 1024,
    max_request_bytes: 80 * 1024,
    max_in_flight: 8,
    max_open_spans: 64,
    max_partitions: 16,
    request_timeout: 1_000_000_000,
};

#[derive(Clone)]
struct Process {
    known: Rc<RefCell<ClusterState>>,
    is_addressed: bool,
}

/// Session with the bytes of both sides before and after it.
struct Run {
    session: KafkaSession<Process>,
    process: Process,
    now: Timestamp,
    went_in: [Vec<u8>; 2],
    came_out: [Vec<u8>; 2],
    has_seen_versions: bool,
    /// Whether bytes of the broker changed the treatment of the client's.
    has_broker_a_say: bool,
}

impl ClusterHandle for Process {
    fn with_state<T>(&self, operation: impl FnOnce(&mut ClusterState) -> T) -> T {
        operation(&mut self.known.borrow_mut())
    }

    fn is_addressed(&self) -> bool {
        self.is_addressed
    }

    fn local_address(&self, node_id: NodeId, _: &str, _: i32) -> Option<(Arc<str>, i32)> {
        self.is_addressed
            .then(|| ("a.local.address".into(), node_id.0.saturating_add(1)))
    }
}

const fn index(side: Side) -> usize {
    match side {
        Side::Client => 0,
        Side::Broker => 1,
    }
}

impl Run {
    fn new(settings: Settings, is_addressed: bool) -> Self {
        let process = Process {
            known: Rc::default(),
            is_addressed,
        };
        Self {
            session: KafkaSession::new(
                Arc::new(settings),
                process.clone(),
                ConnectionEndpoints::default(),
                7,
            ),
            process,
            now: 1_700_000_000_000_000_000,
            went_in: [Vec::new(), Vec::new()],
            came_out: [Vec::new(), Vec::new()],
            has_seen_versions: false,
            has_broker_a_say: false,
        }
    }

    fn say(&mut self, from: Side, bytes: &[u8]) {
        self.went_in[index(from)].extend_from_slice(bytes);
        self.session
            .handle_bytes(from, self.now, Bytes::copy_from_slice(bytes));
        self.drain();
    }

    fn wait(&mut self, nanoseconds: u64) {
        self.now += nanoseconds;
        while self
            .session
            .poll_timeout()
            .is_some_and(|due| due <= self.now)
        {
            let before = self.session.poll_timeout();
            self.session.handle_timeout(self.now);
            assert_ne!(
                self.session.poll_timeout(),
                before,
                "a timeout makes progress"
            );
            self.drain();
        }
    }

    fn close(&mut self) {
        for side in [Side::Client, Side::Broker] {
            self.session.handle_close(side, self.now);
            self.drain();
        }
        assert_eq!(
            self.session.poll_timeout(),
            None,
            "nothing is awaited any more"
        );
        assert_eq!(
            self.process.known.borrow().held_bytes(),
            0,
            "nothing is held any more"
        );
    }

    fn drain(&mut self) {
        while let Some((to, bytes)) = self.session.poll_transmit() {
            assert!(!bytes.is_empty());
            self.came_out[index(to.opposite())].extend_from_slice(&bytes);
        }
        while let Some(span) = self.session.poll_span() {
            assert!(span.end >= span.start);
        }
        while let Some(event) = self.session.poll_event() {
            self.has_seen_versions |= event == SessionEvent::Request(ApiKey::API_VERSIONS);
            self.has_broker_a_say |= matches!(
                event,
                SessionEvent::InjectionRejected { .. }
                    | SessionEvent::FramingFailed {
                        side: Side::Broker,
                        ..
                    }
            );
        }
    }
}

/// Checks a conversation. The first byte selects settings; each step is a side or a pause, a length
/// of two bytes, and bytes.
pub(crate) fn check_conversation(input: &[u8]) {
    let Some((how, said)) = input.split_first() else {
        return;
    };
    let (injects, patches, is_addressed) = (how & 1 != 0, how & 2 != 0, how & 4 != 0);
    let settings = Settings {
        inject: match (injects, how & 16 != 0) {
            (false, _) => InjectionMode::Never,
            (true, false) => InjectionMode::Always,
            (true, true) => InjectionMode::Uncompressed,
        },
        default: TopicSettings {
            deliver: if patches {
                DeliveryMode::Patch
            } else {
                DeliveryMode::Observe
            },
            ..TopicSettings::default()
        },
        sample_ratio: if how & 8 == 0 { 1.0 } else { 0.5 },
        limits: LIMITS,
        ..Settings::default()
    };
    let mut run = Run::new(settings.clone(), is_addressed);
    play(&mut run, said);
    run.close();
    if !injects {
        assert_eq!(
            run.came_out[0], run.went_in[0],
            "nothing is injected, so nothing changes"
        );
    }
    if !patches && !is_addressed && !run.has_seen_versions {
        assert_eq!(
            run.came_out[1], run.went_in[1],
            "nothing is to be changed for the client"
        );
    }
    if run.has_broker_a_say {
        return;
    }
    // A second proxy finds contexts in all records and changes nothing.
    let mut again = Run::new(settings, is_addressed);
    again.say(Side::Client, &run.came_out[0]);
    again.close();
    // Not assert_eq: it would print thousands of numbers.
    assert!(
        again.came_out[0] == run.came_out[0],
        "a second proxy leaves what the first has written"
    );
}

fn play(run: &mut Run, mut said: &[u8]) {
    while let [what, high, low, rest @ ..] = said {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (bytes, behind) = rest.split_at(length);
        match what % 8 {
            0 => run.wait(u64::from(*what) * 10_000_000),
            1..4 => run.say(Side::Broker, bytes),
            _ => run.say(Side::Client, bytes),
        }
        said = behind;
    }
}
