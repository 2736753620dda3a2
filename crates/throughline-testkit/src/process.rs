//! A supervised child process: captured output, readiness line, crash detection, guaranteed end.
//!
//! A [`ChildProcess`] ends with its owner in three ways: by [`ChildProcess::stop`] (SIGTERM, then
//! SIGKILL), by drop (SIGKILL), and, on Linux, by the kernel when the owner is killed (see
//! [`spawn`]). Other systems lack the third way: SIGKILL of the owner leaves its children running.

mod log;
mod spawn;

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};

use self::log::{OutputLog, OutputStream};
use crate::wait;

/// Number of log lines at the end of an error message.
const MAX_LINES_IN_ERROR: usize = 30;

/// Description of a process to start, with a name for messages.
#[derive(Debug, Clone)]
pub struct ProcessSpec {
    name: String,
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    cleared_env: Vec<&'static str>,
    dir: Option<PathBuf>,
    echo: bool,
}

/// A child process, running or ended.
pub struct ChildProcess {
    name: String,
    child: Mutex<Child>,
    log: Arc<OutputLog>,
}

/// An unexpected end of a process.
#[derive(Debug, Clone)]
pub struct ProcessCrash {
    /// The name from [`ProcessSpec::new`].
    pub name: String,
    /// The exit status.
    pub status: ExitStatus,
    /// The last lines it wrote to stdout and stderr.
    pub log: Vec<String>,
}

// === impl ProcessSpec ===

impl ProcessSpec {
    /// Creates a spec for `program`, called `name` in messages.
    pub fn new(name: impl Into<String>, program: impl AsRef<Path>) -> Self {
        Self {
            name: name.into(),
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            cleared_env: Vec::new(),
            dir: None,
            echo: false,
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets a variable on top of the inherited environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Removes inherited variables whose names begin with `prefix`, so that the developer's shell
    /// does not influence the process.
    #[must_use]
    pub fn clear_env(mut self, prefix: &'static str) -> Self {
        self.cleared_env.push(prefix);
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.dir = Some(dir.as_ref().to_owned());
        self
    }

    /// Starts the process through a wrapper command, which receives the whole command line as its
    /// last arguments.
    #[must_use]
    pub fn wrapped_by(mut self, command: impl IntoIterator<Item = OsString>) -> Self {
        let mut outer: Vec<OsString> = command.into_iter().collect();
        outer.push(self.program.into_os_string());
        outer.append(&mut self.args);
        self.program = outer.remove(0).into();
        self.args = outer;
        self
    }

    /// Also writes every output line to stderr, as `name | line`.
    #[must_use]
    pub const fn echo(mut self, echo: bool) -> Self {
        self.echo = echo;
        self
    }

    /// Starts the process.
    ///
    /// # Errors
    /// Fails if the program cannot be started; names it.
    pub fn spawn(self) -> Result<ChildProcess> {
        ChildProcess::spawn(self)
    }
}

// === impl ChildProcess ===

impl ChildProcess {
    fn spawn(spec: ProcessSpec) -> Result<Self> {
        let mut command = Command::new(&spec.program);
        for (name, _) in std::env::vars_os() {
            if spec
                .cleared_env
                .iter()
                .any(|prefix| name.as_encoded_bytes().starts_with(prefix.as_bytes()))
            {
                command.env_remove(name);
            }
        }
        command
            .args(&spec.args)
            .envs(spec.env.iter().map(|(name, value)| (name, value)));
        command
            // A child that reads the terminal would compete with the shell for input.
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(dir) = &spec.dir {
            command.current_dir(dir);
        }
        let mut child = spawn::spawn(command).with_context(|| {
            format!(
                "{} could not be started from {}",
                spec.name,
                spec.program.display()
            )
        })?;
        let log = Arc::new(OutputLog::new(spec.echo.then(|| spec.name.clone())));
        if let Some(stdout) = child.stdout.take() {
            log::follow(&log, OutputStream::Stdout, stdout);
        }
        if let Some(stderr) = child.stderr.take() {
            log::follow(&log, OutputStream::Stderr, stderr);
        }
        Ok(Self {
            name: spec.name,
            child: Mutex::new(child),
            log,
        })
    }

    /// The name given in [`ProcessSpec::new`].
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the process id.
    pub fn id(&self) -> u32 {
        self.child().id()
    }

    /// Returns the last lines of stdout and stderr, oldest first, at most a thousand.
    pub fn log(&self) -> Vec<String> {
        self.log.lines()
    }

    /// Waits until `matches` returns a value for a line on stdout. `what` names that line in the
    /// error.
    ///
    /// # Errors
    /// Fails if the process ends first or `limit` passes; shows the last lines of its log.
    pub fn wait_for_line<T>(
        &self,
        what: &str,
        limit: Duration,
        matches: impl Fn(&str) -> Option<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + limit;
        // The search continues behind the lines of the last poll: a chatty process would make it
        // quadratic.
        let mut after = 0;
        loop {
            let (found, seen) = self.log.find_stdout(after, &matches);
            if let Some(value) = found {
                return Ok(value);
            }
            if let Some(crash) = self.crashed() {
                // The process may have written the line and ended since the last search.
                return self
                    .log
                    .find_stdout(0, &matches)
                    .0
                    .ok_or_else(|| anyhow!("{crash}"));
            }
            if wait::is_interrupted() {
                bail!("interrupted while waiting for {}", self.name);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!(
                    "{} did not write {what} within {limit:?}; it is still running.{}",
                    self.name,
                    log_tail(&self.log())
                );
            }
            after = seen;
            // The log signals new lines only, so an exit without output is noticed by this poll.
            self.log
                .wait_for_more(seen, left.min(Duration::from_millis(50)));
        }
    }

    /// Returns the CPU seconds of the process and its threads, user and system (proc(5),
    /// `/proc/PID/stat`), in steps of 10 ms.
    ///
    /// # Errors
    /// Fails if the process has ended, or on a system without `/proc`.
    pub fn cpu_seconds(&self) -> Result<f64> {
        const TICKS_PER_SECOND: f64 = 100.0;
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id()))
            .context("reading the CPU time of a process that has ended")?;
        // The second field is the program name in brackets, which may contain spaces and brackets
        // itself.
        let (_, fields) = stat
            .rsplit_once(") ")
            .context("/proc/PID/stat has no program name")?;
        let mut ticks = fields
            .split(' ')
            .skip(11)
            .map_while(|field| field.parse::<f64>().ok());
        let (user, system) = (
            ticks.next().context("/proc/PID/stat has no user time")?,
            ticks.next().context("/proc/PID/stat has no system time")?,
        );
        Ok((user + system) / TICKS_PER_SECOND)
    }

    /// Returns the exit status, or [`None`] while the process runs.
    pub fn status(&self) -> Option<ExitStatus> {
        self.child().try_wait().ok().flatten()
    }

    /// Returns the crash if the process has ended. Only for a process that should be running.
    pub fn crashed(&self) -> Option<ProcessCrash> {
        let status = self.status()?;
        // The reader threads may be behind the exit; the last lines often name the cause.
        self.log.wait_for_end(Duration::from_secs(1));
        Some(ProcessCrash {
            name: self.name.clone(),
            status,
            log: self.log(),
        })
    }

    /// Waits until the process has ended by itself.
    ///
    /// # Errors
    /// Fails if the process still runs after `limit`; shows the last lines of its log.
    pub fn wait(&self, limit: Duration) -> Result<ExitStatus> {
        let status = wait::until_uninterrupted(limit, || self.status()).ok_or_else(|| {
            anyhow!(
                "{} did not end within {limit:?}.{}",
                self.name,
                log_tail(&self.log())
            )
        })?;
        self.log.wait_for_end(Duration::from_secs(1));
        Ok(status)
    }

    /// Sends SIGTERM, and SIGKILL if the process still runs after `grace`.
    ///
    /// # Errors
    /// Fails if SIGKILL was needed: our programs must end within seconds of SIGTERM.
    pub fn stop(&self, grace: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM);
        if let Ok(status) = self.wait(grace) {
            return Ok(status);
        }
        self.kill();
        bail!(
            "{} did not end within {grace:?} of SIGTERM and was killed.{}",
            self.name,
            log_tail(&self.log())
        )
    }

    /// Sends SIGTERM and returns at once.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Stops the process from running until [`Self::resume`]: its connections stay open, and
    /// nothing is answered.
    pub fn suspend(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets a suspended process run again.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Sends SIGKILL, which looks to others like a crash of the machine.
    pub fn kill(&self) {
        let mut child = self.child();
        // Both calls fail only if the process is gone already.
        drop(child.kill());
        drop(child.wait());
    }

    /// Sends a signal, unless the process has been waited for: its id may belong to another process
    /// by then.
    fn signal(&self, signal: Signal) {
        let mut child = self.child();
        if let Ok(None) = child.try_wait()
            && let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw)
        {
            // The process may end before the signal arrives, with the same result.
            kill_process(pid, signal).unwrap_or_default();
        }
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

impl fmt::Debug for ChildProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("name", &self.name)
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}

/// Stops all processes together: first SIGTERM to each, then waits for each.
///
/// # Errors
/// Fails if a process had to be killed; names each one.
pub fn stop_all<'a>(
    processes: impl IntoIterator<Item = &'a ChildProcess>,
    grace: Duration,
) -> Result<()> {
    let processes: Vec<&ChildProcess> = processes.into_iter().collect();
    for process in &processes {
        process.terminate();
    }
    // All processes are awaited before an error is returned, so that none is left behind.
    let failures: Vec<String> = processes
        .iter()
        .filter_map(|process| process.stop(grace).err())
        .map(|error| error.to_string())
        .collect();
    if failures.is_empty() {
        Ok(())
    } else {
        bail!("{}", failures.join("\n"))
    }
}

// === impl ProcessCrash ===

impl fmt::Display for ProcessCrash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ended by itself ({}).{}",
            self.name,
            self.status,
            log_tail(&self.log)
        )
    }
}

/// Formats the last log lines as the end of a message.
fn log_tail(log: &[String]) -> String {
    if log.is_empty() {
        return " No output.".to_owned();
    }
    let last = log
        .iter()
        .skip(log.len().saturating_sub(MAX_LINES_IN_ERROR));
    let lines: Vec<String> = last.map(|line| format!("    {line}")).collect();
    format!(" Last output lines:\n{}", lines.join("\n"))
}

#[cfg(test)]
mod tests;
