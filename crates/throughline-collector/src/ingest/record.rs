//! Records with spans that the collector reads itself, from a topic of Kafka: the way from their
//! reader into the pipeline.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use throughline_otlp::decode_json;
use throughline_store::InsertError;
use tokio_util::sync::CancellationToken;

use super::destination::SpanDestination;
use super::error::IngestError;
use super::{IngestPipeline, Insertion};
use crate::access::IngestGrant;
use crate::metrics::{CounterKey, IngestSource};

/// First byte of a document in JSON. In protobuf it would begin a group of field 15, which no
/// message of OTLP has.
const JSON_START: u8 = b'{';

/// A reader of records, which runs beside the listeners.
pub trait RecordSource: Send {
    /// Reads records until `stopping` is cancelled; blocks its thread. An earlier return stops the
    /// collector.
    fn run(self: Box<Self>, ingest: RecordIngest, stopping: CancellationToken);
}

/// The entry of the pipeline for records.
#[derive(Clone)]
pub struct RecordIngest {
    pipeline: Arc<IngestPipeline>,
}

/// The reason for which a record is not stored.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It never will be: it has no spans in a format that is known.
    #[error("{reason}")]
    Poisoned {
        /// Why not.
        reason: String,
        /// Its number.
        record: u64,
    },
    /// The store refuses it for now.
    #[error(transparent)]
    Refused(InsertError),
}

/// The outcome of reading a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordOutcome {
    /// Its spans are stored.
    Stored,
    /// It was skipped, see [`RecordError::Poisoned`].
    Poisoned,
    /// It waits until the store accepts it.
    Refused,
}

// === impl RecordIngest ===

impl RecordIngest {
    pub(crate) const fn new(pipeline: Arc<IngestPipeline>) -> Self {
        Self { pipeline }
    }

    /// Stores the spans of a record: a request of OTLP in protobuf or JSON. `are_fragments` means
    /// that they may be parts of spans. Returns the number of the record; one that is poisoned has
    /// a number as well.
    ///
    /// # Errors
    /// [`RecordError`], after which nothing of the record is stored.
    pub fn store(&self, value: &[u8], are_fragments: bool) -> Result<u64, RecordError> {
        let weaving = &self.pipeline.weaving;
        let record = weaving.begin_record(value.len());
        let record = record.ok_or(RecordError::Refused(InsertError::Busy))?;
        let stored = self.store_record(value, are_fragments);
        weaving.end_record(record);
        match stored {
            Ok(()) => Ok(record),
            Err(RecordError::Poisoned { reason, .. }) => {
                Err(RecordError::Poisoned { reason, record })
            }
            Err(error @ RecordError::Refused(_)) => Err(error),
        }
    }

    fn store_record(&self, value: &[u8], are_fragments: bool) -> Result<(), RecordError> {
        let source = IngestSource::Topic { are_fragments };
        // A record that makes the decoder fail must not end the reader: it would come again.
        let inserted = catch_unwind(AssertUnwindSafe(|| self.insert(source, value)));
        match inserted.unwrap_or(Err(IngestError::Internal)) {
            Ok(insertion) => {
                self.pipeline.count(insertion, &IngestGrant::default());
                Ok(())
            }
            Err(IngestError::Store(error)) => Err(RecordError::Refused(error)),
            Err(error) => Err(RecordError::Poisoned {
                reason: error.to_string(),
                record: 0,
            }),
        }
    }

    fn insert(&self, source: IngestSource, value: &[u8]) -> Result<Insertion, IngestError> {
        let (pipeline, grant) = (&self.pipeline, IngestGrant::default());
        let max_bytes = pipeline.limits.max_body_bytes;
        if value.len() > max_bytes {
            return Err(IngestError::TooLarge(max_bytes));
        }
        if value.first() == Some(&JSON_START) {
            let decoded = decode_json(value);
            let decoded = decoded.map_err(|error| IngestError::Malformed(error.to_string()))?;
            return pipeline.insert(source, &grant, decoded, None);
        }
        pipeline.insert_otlp(source, &grant, value)
    }

    /// Makes all stored records durable, as far as the store does that. Returns the number below
    /// which they are; with a store that is all of them.
    ///
    /// # Errors
    /// [`InsertError`]: the records must be read again after a failure of the machine.
    pub fn sync(&self) -> Result<u64, InsertError> {
        if let SpanDestination::Store(store) = &self.pipeline.destination {
            // The ends of records that others need, first: their spans are not read again.
            self.pipeline.weaving.flush()?;
            store.sync()?;
        }
        Ok(self.pipeline.weaving.delivered_records())
    }

    /// Returns whether records are refused only until earlier ones are delivered.
    #[must_use]
    pub fn is_passing_on(&self) -> bool {
        self.pipeline.weaving.is_tracking()
    }

    /// Counts a record. Returns true for the first one of an outcome.
    pub fn count(&self, outcome: RecordOutcome) -> bool {
        let outcome = match outcome {
            RecordOutcome::Stored => "stored",
            RecordOutcome::Poisoned => "poisoned",
            RecordOutcome::Refused => "refused",
        };
        self.pipeline.metrics.add(CounterKey::Records(outcome), 1)
    }

    /// Counts a commit of offsets.
    pub fn count_commit(&self, has_succeeded: bool) {
        let outcome = if has_succeeded { "ok" } else { "failed" };
        let key = CounterKey::OffsetCommits(outcome);
        self.pipeline.metrics.add(key, 1);
    }

    /// Sets the number of records that are not committed yet, as far as it is known.
    pub fn set_lag(&self, records: u64) {
        self.pipeline.metrics.set(CounterKey::RecordLag, records);
    }

    /// Sets the number of partitions that are assigned.
    pub fn set_partitions(&self, partitions: u64) {
        let key = CounterKey::AssignedPartitions;
        self.pipeline.metrics.set(key, partitions);
    }
}

impl fmt::Debug for RecordIngest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordIngest").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
