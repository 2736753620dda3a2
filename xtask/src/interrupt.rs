//! Ctrl-C: running tasks give up waiting and stop what they started.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use throughline_testkit::process::ProcessCrash;
use throughline_testkit::wait;

/// Exit code of a program that Ctrl-C ended before it was done (128 + SIGINT).
pub(crate) const EXIT_CODE: u8 = 130;

/// How long one wait lasts before it is started again; any time will do.
const WATCH_INTERVAL: Duration = Duration::from_secs(3600);

/// Makes SIGINT, SIGTERM and SIGHUP end every wait; a second one ends the process at once.
///
/// # Errors
/// When a signal handler cannot be registered.
pub(crate) fn install_handlers() -> Result<()> {
    for signal in [
        signal_hook::consts::SIGINT,
        signal_hook::consts::SIGTERM,
        signal_hook::consts::SIGHUP,
    ] {
        let flag = || Arc::clone(&wait::INTERRUPTED);
        // In this order: the first signal finds the flag unset, sets it, and only the second exits.
        let exit_code = i32::from(EXIT_CODE);
        signal_hook::flag::register_conditional_shutdown(signal, exit_code, flag())?;
        signal_hook::flag::register(signal, flag())?;
    }
    Ok(())
}

/// Waits for a crash; returns [`None`] when a signal ended the wait.
pub(crate) fn wait_for_crash(crashed: impl Fn() -> Option<ProcessCrash>) -> Option<ProcessCrash> {
    loop {
        let crash = wait::until(WATCH_INTERVAL, &crashed);
        if crash.is_some() || wait::is_interrupted() {
            return crash;
        }
    }
}
