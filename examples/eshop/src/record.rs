//! What both kinds of wiring do with records: follow one that was sent, read one that came, tell what went wrong.

use rdkafka::Message as _;
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::producer::future_producer::OwnedDeliveryResult;

/// What became of a record that was received: what its handler says, and whether its offset was stored.
pub(crate) type Received = Result<(Result<(), String>, Result<(), KafkaError>), KafkaError>;

/// Follows a record that was handed to the client library until the broker has it; its fate is only logged.
pub(crate) fn watch<D, R, E>(enqueued: Result<D, (KafkaError, R)>)
where
    D: Future<Output = Result<OwnedDeliveryResult, E>> + Send + 'static,
    E: Send,
{
    match enqueued {
        Ok(delivery) => {
            tokio::spawn(async move {
                if let Ok(Err((error, _))) = delivery.await {
                    crate::log(&format!("the record was not delivered: {error}"));
                }
            });
        }
        Err((error, _)) => crate::log(&format!("the record was not sent: {error}")),
    }
}

/// The order that a record is for: its key.
pub(crate) fn order(message: &BorrowedMessage<'_>) -> Option<String> {
    message
        .key()
        .map(|key| String::from_utf8_lossy(key).into_owned())
}

pub(crate) fn log_failure(received: Received) {
    match received {
        Err(error) => crate::log(&format!("cannot receive: {error}")),
        Ok((Err(error), _)) => crate::log(&format!("the record was not handled: {error}")),
        Ok((_, Err(error))) => crate::log(&format!("the record's offset was not stored: {error}")),
        Ok((Ok(()), Ok(()))) => {}
    }
}
