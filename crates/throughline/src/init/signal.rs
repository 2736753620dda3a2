//! The shutdown at a signal.

use std::sync::Arc;
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level;

use super::shutdown::PipelineShutdown;

/// Starts a thread that waits for SIGTERM and SIGINT, sends queued spans, and then lets the signal
/// end the process as it would have.
pub(super) fn shut_down_at(pipeline: Arc<PipelineShutdown>) -> std::io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let wait = move || {
        for signal in signals.forever() {
            pipeline.stop();
            // The exit status names the signal, as supervisors expect.
            low_level::emulate_default_handler(signal).ok();
        }
    };
    thread::Builder::new()
        .name("throughline-signal".to_owned())
        .spawn(wait)?;
    Ok(())
}
