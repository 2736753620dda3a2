//! Starting a child that does not outlive us, not even when we are killed with SIGKILL.
//!
//! Linux can send a child a signal when its parent dies (`PR_SET_PDEATHSIG`, prctl(2)). "Parent" means the *thread* that
//! made the child; a test's thread ends with the test, so all children are made by one thread that lives as long
//! as the process. Elsewhere children are started in the usual way.

use std::io;
use std::process::{Child, Command};
use std::sync::LazyLock;
use std::sync::mpsc::{SyncSender, sync_channel};

/// Starts `command` from the thread that never ends.
pub(super) fn spawn(command: Command) -> io::Result<Child> {
    let (answer, child) = sync_channel(1);
    let gone = |_| io::Error::other("the thread that starts processes has ended");
    PARENT
        .send(SpawnRequest { command, answer })
        .map_err(|error| gone(error.to_string()))?;
    child.recv().map_err(|error| gone(error.to_string()))?
}

struct SpawnRequest {
    command: Command,
    answer: SyncSender<io::Result<Child>>,
}

static PARENT: LazyLock<SyncSender<SpawnRequest>> = LazyLock::new(|| {
    let (orders, received) = sync_channel::<SpawnRequest>(0);
    std::thread::spawn(move || {
        for mut order in received {
            detach(&mut order.command);
            // Whoever ordered may have given up; the child is then dropped, and runs on until we end.
            drop(order.answer.send(order.command.spawn()));
        }
    });
    orders
});

/// Ties the child's life to ours, and takes it out of the terminal's foreground group: Ctrl-C reaches us alone, and we
/// end the children in the order that is right for them.
#[cfg(target_os = "linux")]
fn detach(command: &mut Command) {
    use std::os::unix::process::CommandExt;

    use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};

    let us = getpid();
    let die_with_us = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // We may have died before the child asked to be told.
        if getppid() == Some(us) {
            Ok(())
        } else {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    };
    command.process_group(0);
    #[expect(
        unsafe_code,
        reason = "there is no safe way to run code between fork and exec"
    )]
    // SAFETY: between fork and exec only async-signal-safe work is allowed. The closure makes two system calls and
    // compares two integers: it neither allocates nor locks.
    unsafe {
        command.pre_exec(die_with_us);
    }
}

#[cfg(not(target_os = "linux"))]
fn detach(command: &mut Command) {
    use std::os::unix::process::CommandExt;

    command.process_group(0);
}
