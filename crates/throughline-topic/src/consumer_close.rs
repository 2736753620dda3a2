//! The end of a consumer, which waits for no one.

use std::sync::mpsc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, ConsumerContext};

/// Time that a consumer has to leave its group.
///
/// librdkafka has no limit of its own: a commit waits as long as `socket.timeout.ms` (60 s), and
/// leaving as long as `session.timeout.ms` (45 s), where Kafka has stopped or does not answer.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(8);

/// Closes a consumer on a thread of its own, which is left alone after a while; returns whether the
/// consumer is closed. The process is about to end.
pub(crate) fn close<C: ConsumerContext + 'static>(consumer: BaseConsumer<C>) -> bool {
    let (sender, closed) = mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name("kafka-close".to_owned());
    let closing = thread.spawn(move || {
        // Leaves the group, and commits what is given up.
        drop(consumer);
        // Nobody waits for it any more.
        sender.send(()).unwrap_or_default();
    });
    closing.is_ok() && closed.recv_timeout(CLOSE_TIMEOUT).is_ok()
}
