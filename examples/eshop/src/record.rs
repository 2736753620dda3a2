//! Records, as both kinds of wiring use them: log failed deliveries, read their keys.

use rdkafka::Message as _;
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::producer::future_producer::OwnedDeliveryResult;

use crate::output;

/// A received record: the result of its handler, and of storing its offset.
pub(crate) type ReceiveResult = Result<(Result<(), String>, Result<(), KafkaError>), KafkaError>;

/// Logs the failed delivery of an enqueued record.
pub(crate) fn log_delivery<D, R, E>(enqueued: Result<D, (KafkaError, R)>)
where
    D: Future<Output = Result<OwnedDeliveryResult, E>> + Send + 'static,
    E: Send,
{
    match enqueued {
        Ok(delivery) => {
            // In a task, because the caller does not wait for the delivery.
            tokio::spawn(async move {
                // A cancelled delivery means that the producer is gone.
                if let Ok(Err((error, _))) = delivery.await {
                    output::log(&format!("record delivery failed: {error}"));
                }
            });
        }
        Err((error, _)) => output::log(&format!("record enqueue failed: {error}")),
    }
}

/// Returns the key of a record as text.
pub(crate) fn key(message: &BorrowedMessage<'_>) -> Option<String> {
    message
        .key()
        .map(|key| String::from_utf8_lossy(key).into_owned())
}

pub(crate) fn log_failure(received: ReceiveResult) {
    match received {
        Err(error) => output::log(&format!("receive failed: {error}")),
        Ok((Err(error), _)) => output::log(&format!("record handler failed: {error}")),
        Ok((_, Err(error))) => output::log(&format!("storing the offset failed: {error}")),
        Ok((Ok(()), Ok(()))) => {}
    }
}
