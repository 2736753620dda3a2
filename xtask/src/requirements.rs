//! What a task needs of the machine: is it there, can it be installed, what must the person do.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::runner;

/// A thing that is there or comes with a Debian package.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Requirement {
    /// Programs, any of which will do.
    programs: &'static [&'static str],
    /// Arguments with which it succeeds when it is whole; none when its presence is enough.
    probe: &'static [&'static str],
    /// The Debian package that brings one.
    package: &'static str,
    /// What it is for.
    purpose: &'static str,
}

/// A JVM for Apache Kafka.
pub(crate) const JAVA: Requirement = Requirement {
    programs: &["java"],
    probe: &["-version"],
    package: "default-jre-headless",
    purpose: "runs a real Apache Kafka",
};

/// A JVM with its compiler, for a program of one file.
pub(crate) const JDK: Requirement = Requirement {
    programs: &["javac"],
    probe: &["-version"],
    package: "default-jdk-headless",
    purpose: "runs Apache Kafka, and compiles what starts another proxy, and the Java client under test",
};

/// Maven, for the jars of Apache Kafka.
pub(crate) const MAVEN: Requirement = Requirement {
    programs: &["mvn"],
    probe: &[],
    package: "maven",
    purpose: "fetches the jars of Apache Kafka",
};

/// A browser for the tests of the web page.
pub(crate) const CHROMIUM: Requirement = Requirement {
    programs: &["chromium", "chromium-browser", "google-chrome"],
    probe: &[],
    package: "chromium",
    purpose: "shows the web page to its tests",
};

/// Python with its virtual environments, for a client of OpenTelemetry that is not ours.
pub(crate) const PYTHON: Requirement = Requirement {
    programs: &["python3"],
    probe: &["-c", "import ensurepip, venv"],
    package: "python3-venv",
    purpose: "sends OpenTelemetry's own OTLP, and is a Kafka client under test",
};

/// A C compiler, for librdkafka.
pub(crate) const COMPILER: Requirement = Requirement {
    programs: &["cc"],
    probe: &[],
    package: "build-essential",
    purpose: "compiles librdkafka",
};

/// A load of HTTP, for the benchmark.
pub(crate) const WRK: Requirement = Requirement {
    programs: &["wrk"],
    probe: &[],
    package: "wrk",
    purpose: "asks as fast as it goes",
};

/// `make`, for librdkafka.
pub(crate) const MAKE: Requirement = Requirement {
    programs: &["make"],
    probe: &[],
    package: "build-essential",
    purpose: "builds librdkafka",
};

/// Makes sure that all of `needs` are there: installs what is missing as root on Debian and its children.
///
/// # Errors
/// Elsewhere, naming all that is missing, what for, and the command that installs it on Debian.
pub(crate) fn provide(needs: &[Requirement]) -> Result<()> {
    let missing: Vec<Requirement> = needs
        .iter()
        .copied()
        .filter(|need| need.find().is_none())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    packages.dedup();
    if !rustix::process::geteuid().is_root() || find_program("apt-get").is_none() {
        let lines: Vec<String> = missing
            .iter()
            .map(|need| {
                format!(
                    "    {} ({}, which {})",
                    need.programs.join(" or "),
                    need.package,
                    need.purpose
                )
            })
            .collect();
        bail!(
            "this machine lacks:\n{}\n  on Debian and Ubuntu: sudo apt-get install {}",
            lines.join("\n"),
            packages.join(" ")
        );
    }
    eprintln!("installing {}", packages.join(" "));
    apt_get(&["update", "-q"])?;
    apt_get(
        &[
            &["install", "-q", "-y", "--no-install-recommends"],
            packages.as_slice(),
        ]
        .concat(),
    )
}

fn apt_get(args: &[&str]) -> Result<()> {
    let mut apt_get = Command::new("apt-get");
    apt_get
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdout(std::io::stderr());
    runner::run(&mut apt_get).context("installing with apt-get")
}

// === impl Requirement ===

impl Requirement {
    /// The path of the first of its programs that is there and works.
    pub(crate) fn find(&self) -> Option<PathBuf> {
        self.programs
            .iter()
            .filter_map(|program| find_program(program))
            .find(|program| self.works(program))
    }

    fn works(&self, program: &Path) -> bool {
        self.probe.is_empty()
            || Command::new(program)
                .args(self.probe)
                .output()
                .is_ok_and(|run| run.status.success())
    }
}

/// Where `name` is on the PATH.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|candidate| candidate.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_on_the_path_is_found_and_another_is_not() {
        assert!(find_program("sh").is_some());
        assert!(find_program("no-such-program-here").is_none());
    }

    fn need(programs: &'static [&'static str], probe: &'static [&'static str]) -> Requirement {
        Requirement {
            programs,
            probe,
            package: "no-such-package",
            purpose: "is only a test",
        }
    }

    #[test]
    fn nothing_is_installed_when_nothing_is_missing() {
        provide(&[need(&["no-such-program-here", "sh"], &["-c", "exit 0"])]).unwrap();
    }

    #[test]
    fn a_program_that_does_not_work_is_missing() {
        assert_eq!(need(&["sh"], &["-c", "exit 1"]).find(), None);
    }
}
