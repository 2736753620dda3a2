//! Starts children that do not outlive this process, even if it is killed with SIGKILL.
//!
//! Linux can send a child a signal when its parent dies (`PR_SET_PDEATHSIG`, prctl(2)). "Parent"
//! means the *thread* that forked, and a test's thread ends with the test. So one thread forks all
//! children and lives as long as the process. On other systems children are started in the usual
//! way.

use std::io;
use std::process::{Child, Command};
use std::sync::LazyLock;
use std::sync::mpsc::{SyncSender, sync_channel};

/// Starts `command` from the thread that never ends.
pub(super) fn spawn(command: Command) -> io::Result<Child> {
    let (reply, child) = sync_channel(1);
    let thread_gone = |_| io::Error::other("the thread that starts processes has ended");
    PARENT
        .send(SpawnRequest { command, reply })
        .map_err(|error| thread_gone(error.to_string()))?;
    child
        .recv()
        .map_err(|error| thread_gone(error.to_string()))?
}

struct SpawnRequest {
    command: Command,
    reply: SyncSender<io::Result<Child>>,
}

static PARENT: LazyLock<SyncSender<SpawnRequest>> = LazyLock::new(|| {
    // Capacity 0: `send` returns once the thread has taken the request.
    let (requests, received) = sync_channel::<SpawnRequest>(0);
    std::thread::spawn(move || {
        for mut request in received {
            detach(&mut request.command);
            // The receiver may be gone; the child is then dropped and runs until this process ends.
            drop(request.reply.send(request.command.spawn()));
        }
    });
    requests
});

/// Ties the child's life to this process and moves it into its own process group: Ctrl-C then
/// reaches this process alone, which stops the children in the right order.
#[cfg(target_os = "linux")]
fn detach(command: &mut Command) {
    use std::os::unix::process::CommandExt;

    use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};

    let parent = getpid();
    let die_with_us = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have died before prctl took effect; the kernel would then send no signal.
        if getppid() == Some(parent) {
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
    // SAFETY: only async-signal-safe calls are allowed between fork and exec. The closure makes two
    // system calls and compares two integers; it neither allocates nor locks.
    unsafe {
        command.pre_exec(die_with_us);
    }
}

#[cfg(not(target_os = "linux"))]
fn detach(command: &mut Command) {
    use std::os::unix::process::CommandExt;

    command.process_group(0);
}
