//! A child process that is watched: its output is kept, its readiness awaited, its crash told, its end certain.
//!
//! A [`ChildProcess`] ends with its owner in three ways: by [`ChildProcess::stop`] (SIGTERM, then SIGKILL), by drop (SIGKILL),
//! and, on Linux, by the kernel when the owner itself is killed (see [`spawn`]). On other systems the
//! third way is missing: a SIGKILL of the owner leaves its children.

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

/// How many of the last lines an error shows.
const LINES_IN_ERROR: usize = 30;

/// What to start, and under which name to speak of it.
#[derive(Debug, Clone)]
pub struct ProcessSpec {
    name: String,
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    forgotten: Vec<&'static str>,
    dir: Option<PathBuf>,
    echo: bool,
}

/// A running (or ended) child process.
pub struct ChildProcess {
    name: String,
    child: Mutex<Child>,
    log: Arc<OutputLog>,
}

/// A process that ended though nobody asked it to.
#[derive(Debug, Clone)]
pub struct ProcessCrash {
    /// The name given in [`ProcessSpec::new`].
    pub name: String,
    /// How it ended.
    pub status: ExitStatus,
    /// The last lines it wrote to stdout and stderr.
    pub log: Vec<String>,
}

// === impl Spec ===

impl ProcessSpec {
    /// `program`, spoken of as `name`.
    pub fn new(name: impl Into<String>, program: impl AsRef<Path>) -> Self {
        Self {
            name: name.into(),
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            forgotten: Vec::new(),
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

    /// Adds one variable to the environment inherited from this process.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Keeps inherited variables whose names begin with `prefix` from it, so that a developer's settings change nothing.
    #[must_use]
    pub fn forget_env(mut self, prefix: &'static str) -> Self {
        self.forgotten.push(prefix);
        self
    }

    /// Starts it in `dir` instead of this process's directory.
    #[must_use]
    pub fn dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.dir = Some(dir.as_ref().to_owned());
        self
    }

    /// Starts it through another program, which is given these arguments and then the whole command.
    #[must_use]
    pub fn within(mut self, command: impl IntoIterator<Item = OsString>) -> Self {
        let mut outer: Vec<OsString> = command.into_iter().collect();
        outer.push(self.program.into_os_string());
        outer.append(&mut self.args);
        self.program = outer.remove(0).into();
        self.args = outer;
        self
    }

    /// Also writes every line to stderr, as `name | line`.
    #[must_use]
    pub const fn echo(mut self, echo: bool) -> Self {
        self.echo = echo;
        self
    }

    /// Starts the process.
    ///
    /// # Errors
    /// When the program cannot be started, naming it.
    pub fn spawn(self) -> Result<ChildProcess> {
        ChildProcess::spawn(self)
    }
}

// === impl Process ===

impl ChildProcess {
    fn spawn(spec: ProcessSpec) -> Result<Self> {
        let mut command = Command::new(&spec.program);
        for (name, _) in std::env::vars_os() {
            if spec
                .forgotten
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

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child().id()
    }

    /// The last lines written to stdout and stderr, oldest first; at most a thousand are kept.
    pub fn log(&self) -> Vec<String> {
        self.log.lines()
    }

    /// Waits until a line on stdout makes `matches` give a value. `what` names that line in the error.
    ///
    /// # Errors
    /// When the process ends first, or `limit` passes; with the last lines of its log.
    pub fn wait_for_line<T>(
        &self,
        what: &str,
        limit: Duration,
        matches: impl Fn(&str) -> Option<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + limit;
        let mut after = 0;
        loop {
            let (found, seen) = self.log.find_stdout(after, &matches);
            if let Some(value) = found {
                return Ok(value);
            }
            if let Some(crash) = self.crashed() {
                // It may have said so and ended between the two looks.
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
                    tail(&self.log())
                );
            }
            after = seen;
            // An end without a further line is noticed by looking again, at the latest after 50 ms.
            self.log
                .wait_for_more(seen, left.min(Duration::from_millis(50)));
        }
    }

    /// CPU seconds that it and its threads have taken so far, of user and system (proc(5), `/proc/PID/stat`), in ticks of 10 ms.
    ///
    /// # Errors
    /// When it has ended, or on a system without `/proc`.
    pub fn cpu_seconds(&self) -> Result<f64> {
        const TICKS_PER_SECOND: f64 = 100.0;
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id()))
            .context("a process has ended")?;
        // The name, in brackets, may hold anything.
        let (_, fields) = stat.rsplit_once(") ").context("/proc/PID/stat")?;
        let mut ticks = fields
            .split(' ')
            .skip(11)
            .map_while(|field| field.parse::<f64>().ok());
        let (user, system) = (
            ticks.next().context("user time")?,
            ticks.next().context("system time")?,
        );
        Ok((user + system) / TICKS_PER_SECOND)
    }

    /// How the process ended, if it has.
    pub fn status(&self) -> Option<ExitStatus> {
        self.child().try_wait().ok().flatten()
    }

    /// The crash, if the process has ended. Ask this only of a process that should be running.
    pub fn crashed(&self) -> Option<ProcessCrash> {
        let status = self.status()?;
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
    /// When it still runs after `limit`; with the last lines of its log.
    pub fn wait(&self, limit: Duration) -> Result<ExitStatus> {
        let status = wait::until_uninterrupted(limit, || self.status()).ok_or_else(|| {
            anyhow!(
                "{} did not end within {limit:?}.{}",
                self.name,
                tail(&self.log())
            )
        })?;
        self.log.wait_for_end(Duration::from_secs(1));
        Ok(status)
    }

    /// Asks the process to end (SIGTERM), and ends it (SIGKILL) when it has not after `grace`.
    ///
    /// # Errors
    /// When SIGKILL was needed: a program of ours must end within seconds of being asked.
    pub fn stop(&self, grace: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM);
        if let Ok(status) = self.wait(grace) {
            return Ok(status);
        }
        self.kill();
        bail!(
            "{} did not end within {grace:?} of SIGTERM and was killed.{}",
            self.name,
            tail(&self.log())
        )
    }

    /// Asks the process to end (SIGTERM) and does not wait.
    pub fn ask_to_stop(&self) {
        self.signal(Signal::TERM);
    }

    /// Ends the process at once (SIGKILL), as a crash of the machine would.
    pub fn kill(&self) {
        let mut child = self.child();
        // Both fail only when it is gone already, which is what is wanted.
        drop(child.kill());
        drop(child.wait());
    }

    /// Makes the process stand still (SIGSTOP): its sockets stay open and nobody answers on them.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets a paused process go on (SIGCONT).
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Sends a signal, unless the process has been waited for: its id may belong to another by then.
    fn signal(&self, signal: Signal) {
        let mut child = self.child();
        if let Ok(None) = child.try_wait()
            && let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw)
        {
            // It may end between the look and the signal, which is as good.
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

/// Stops all of them together: all are asked first, then all are waited for.
///
/// # Errors
/// When one or more had to be killed, naming them.
pub fn stop_all<'a>(
    processes: impl IntoIterator<Item = &'a ChildProcess>,
    grace: Duration,
) -> Result<()> {
    let processes: Vec<&ChildProcess> = processes.into_iter().collect();
    for process in &processes {
        process.ask_to_stop();
    }
    let stubborn: Vec<String> = processes
        .iter()
        .filter_map(|process| process.stop(grace).err())
        .map(|error| error.to_string())
        .collect();
    if stubborn.is_empty() {
        Ok(())
    } else {
        bail!("{}", stubborn.join("\n"))
    }
}

// === impl Crash ===

impl fmt::Display for ProcessCrash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ended by itself ({}).{}",
            self.name,
            self.status,
            tail(&self.log)
        )
    }
}

/// The last lines, as the end of a message.
fn tail(log: &[String]) -> String {
    if log.is_empty() {
        return " It wrote nothing.".to_owned();
    }
    let last = log.iter().skip(log.len().saturating_sub(LINES_IN_ERROR));
    let lines: Vec<String> = last.map(|line| format!("    {line}")).collect();
    format!(" Its last lines:\n{}", lines.join("\n"))
}

#[cfg(test)]
mod tests;
