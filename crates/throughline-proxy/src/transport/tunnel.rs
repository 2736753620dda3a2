//! Bytes that pass unchanged: upgraded connections, CONNECT, and unknown protocols.

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};

use crate::transport::drain::Drain;

/// Copies bytes both ways until both sides end, one fails, or the proxy aborts.
pub(crate) async fn copy_both_ways<A, B>(mut downstream: A, mut upstream: B, drain: &Drain)
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    tokio::select! {
        // A stream that is half closed stays open in the other direction.
        copied = copy_bidirectional(&mut downstream, &mut upstream) => {
            if let Err(error) = copied {
                tracing::debug!(%error, "tunnel failed");
            }
        }
        () = drain.aborted() => {}
    }
}

/// Waits for the upgrade of both sides, then copies bytes between them.
pub(crate) async fn join_upgrades(downstream: OnUpgrade, upstream: OnUpgrade, drain: &Drain) {
    match tokio::try_join!(downstream, upstream) {
        Ok((downstream, upstream)) => {
            copy_both_ways(TokioIo::new(downstream), TokioIo::new(upstream), drain).await;
        }
        Err(error) => tracing::debug!(%error, "upgrade failed"),
    }
}
