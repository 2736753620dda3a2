//! The reasons for which a store refuses spans.

use std::io;

/// The reason for which a store refuses spans. The sender should send them again, later.
#[derive(Debug, thiserror::Error)]
pub enum InsertError {
    /// The disk has no room that the store may use.
    #[error("the disk of the store is full; free space, or lower --retention-bytes")]
    Full,
    /// The local folder has no room for further spans until others are uploaded.
    #[error("the local folder is full until segments are uploaded to the object store")]
    NotUploaded,
    /// Spans arrive faster than they are written.
    #[error("the store is busy writing, try again later")]
    Busy,
    /// The disk fails.
    #[error("the store cannot write: {0}")]
    Write(#[source] io::Error),
    /// The store belongs to others, and is only read here.
    #[error("this collector answers queries only; send spans to one that stores them")]
    QueryOnly,
    /// The spans are forwarded, and the next collector or broker does not accept them.
    #[error("the spans cannot be forwarded: {0}")]
    Forward(String),
}
