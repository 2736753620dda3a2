//! Bytes that pass as they are: upgraded connections, CONNECT, and what is no HTTP.

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};

use crate::transport::drain::Stop;

/// Passes bytes both ways until both sides have ended, one has broken, or the proxy ends.
pub(crate) async fn pass<A, B>(mut one: A, mut other: B, stop: &Stop)
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    tokio::select! {
        passed = copy_bidirectional(&mut one, &mut other) => {
            if let Err(error) = passed {
                tracing::debug!(%error, "a tunnel broke");
            }
        }
        () = stop.over() => {}
    }
}

/// Waits for both sides of an upgrade, and passes their bytes.
pub(crate) async fn upgraded(
    ours: hyper::upgrade::OnUpgrade,
    theirs: hyper::upgrade::OnUpgrade,
    stop: &Stop,
) {
    match tokio::try_join!(ours, theirs) {
        Ok((ours, theirs)) => pass(TokioIo::new(ours), TokioIo::new(theirs), stop).await,
        Err(error) => tracing::debug!(%error, "an upgrade came to nothing"),
    }
}

/// As [`upgraded`], where the other side is there already.
pub(crate) async fn connected<S>(ours: hyper::upgrade::OnUpgrade, theirs: S, stop: &Stop)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match ours.await {
        Ok(ours) => pass(TokioIo::new(ours), theirs, stop).await,
        Err(error) => tracing::debug!(%error, "a tunnel came to nothing"),
    }
}
