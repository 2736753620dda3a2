//! Programs that a task requires: finds them, installs them, or names the command that does.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::runner;

/// A program and the Debian package that brings it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Requirement {
    /// Names of the program, any of which will do.
    programs: &'static [&'static str],
    /// Arguments with which a complete installation succeeds; none when its presence is enough.
    probe: &'static [&'static str],
    /// Debian package.
    package: &'static str,
    /// Use of the program, beginning with a verb.
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
    purpose: "runs Apache Kafka and compiles the Java client under test",
};

/// Maven, for the jars of Apache Kafka.
pub(crate) const MAVEN: Requirement = Requirement {
    programs: &["mvn"],
    probe: &[],
    package: "maven",
    purpose: "fetches the jars of Apache Kafka",
};

/// A browser for the tests of the web UI.
pub(crate) const CHROMIUM: Requirement = Requirement {
    programs: &["chromium", "chromium-browser", "google-chrome"],
    probe: &[],
    package: "chromium",
    purpose: "shows the web UI to its tests",
};

/// Python with virtual environments, for a stock OpenTelemetry SDK and Kafka clients.
pub(crate) const PYTHON: Requirement = Requirement {
    programs: &["python3"],
    probe: &["-c", "import ensurepip, venv"],
    package: "python3-venv",
    purpose: "runs a stock OpenTelemetry SDK and Kafka clients under test",
};

/// An HTTP server, for the tests of the sidecar.
pub(crate) const NGINX: Requirement = Requirement {
    programs: &["nginx"],
    probe: &["-v"],
    package: "nginx",
    purpose: "serves HTTP to the tests of the sidecar",
};

/// A C compiler, for librdkafka.
pub(crate) const COMPILER: Requirement = Requirement {
    programs: &["cc"],
    probe: &[],
    package: "build-essential",
    purpose: "compiles librdkafka",
};

/// An HTTP load generator, for the benchmark.
pub(crate) const WRK: Requirement = Requirement {
    programs: &["wrk"],
    probe: &[],
    package: "wrk",
    purpose: "generates HTTP load",
};

/// `make`, for librdkafka.
pub(crate) const MAKE: Requirement = Requirement {
    programs: &["make"],
    probe: &[],
    package: "build-essential",
    purpose: "builds librdkafka",
};

/// Target of static programs.
const STATIC_TARGET: &str = "x86_64-unknown-linux-musl";

/// A C compiler for static programs.
const MUSL: Requirement = Requirement {
    programs: &["musl-gcc", "x86_64-linux-musl-gcc"],
    probe: &[],
    package: "musl-tools",
    purpose: "compiles the C parts of a static program",
};

/// Pods on this machine.
const PODMAN: Requirement = Requirement {
    programs: &["podman"],
    probe: &["--version"],
    package: "podman",
    purpose: "runs pods",
};

/// Images for pods.
const BUILDAH: Requirement = Requirement {
    programs: &["buildah"],
    probe: &["--version"],
    package: "buildah",
    purpose: "builds images",
};

/// The runtime of containers; crun does not run with hybrid cgroups.
const RUNC: Requirement = Requirement {
    programs: &["runc"],
    probe: &["--version"],
    package: "runc",
    purpose: "runs containers",
};

/// A base for images.
pub(crate) const DEBOOTSTRAP: Requirement = Requirement {
    programs: &["debootstrap"],
    probe: &["--version"],
    package: "debootstrap",
    purpose: "makes the base images of the Dockerfiles",
};

/// The network of pods.
const NETAVARK: Requirement = Requirement {
    programs: &["/usr/lib/podman/netavark"],
    probe: &[],
    package: "netavark",
    purpose: "connects pods",
};

/// The names of pods.
const AARDVARK: Requirement = Requirement {
    programs: &["/usr/lib/podman/aardvark-dns"],
    probe: &[],
    package: "aardvark-dns",
    purpose: "resolves the names of pods",
};

/// The first process of a pod.
const CATATONIT: Requirement = Requirement {
    programs: &["/usr/libexec/podman/catatonit", "catatonit"],
    probe: &[],
    package: "catatonit",
    purpose: "is the first process of a pod",
};

/// Installs the missing ones of `requirements`, as root on Debian and its derivatives.
///
/// # Errors
/// Elsewhere, naming every missing program, its use, and the command that installs it on Debian.
pub(crate) fn install_missing(requirements: &[Requirement]) -> Result<()> {
    let missing: Vec<Requirement> = requirements
        .iter()
        .copied()
        .filter(|requirement| requirement.find().is_none())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut packages: Vec<&str> = missing
        .iter()
        .map(|requirement| requirement.package)
        .collect();
    // Only the compiler and make share a package, and every list has them side by side.
    packages.dedup();
    // Without root the command is named: a task must not ask for a password.
    if !rustix::process::geteuid().is_root() || find_program("apt-get").is_none() {
        let lines: Vec<String> = missing
            .iter()
            .map(|requirement| {
                format!(
                    "    {} ({}: {})",
                    requirement.programs.join(" or "),
                    requirement.package,
                    requirement.purpose
                )
            })
            .collect();
        bail!(
            "missing programs:\n{}\n  on Debian and Ubuntu: sudo apt-get install {}",
            lines.join("\n"),
            packages.join(" ")
        );
    }
    eprintln!("installing {}", packages.join(" "));
    // A fresh container has no package lists.
    apt_get(&["update", "-q"])?;
    apt_get(
        &[
            &["install", "-q", "-y", "--no-install-recommends"],
            packages.as_slice(),
        ]
        .concat(),
    )
}

/// Installs what is missing to run `deploy/` as pods: podman with its parts, and the target and the
/// compiler of the static program.
///
/// # Errors
/// As [`install_missing`]; also if rustup cannot install the target.
pub(crate) fn install_for_pods() -> Result<()> {
    install_missing(&[
        JDK, MUSL, PODMAN, BUILDAH, RUNC, NETAVARK, AARDVARK, CATATONIT,
    ])?;
    // Without rustup, the toolchain must have the target already.
    let Some(rustup) = find_program("rustup") else {
        return Ok(());
    };
    let mut add = Command::new(rustup);
    add.args(["target", "add", STATIC_TARGET])
        .stdout(std::io::stderr());
    runner::run(&mut add).context("installing the target of static programs")
}

fn apt_get(args: &[&str]) -> Result<()> {
    let mut apt_get = Command::new("apt-get");
    apt_get
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive")
        // stdout belongs to the task's own output.
        .stdout(std::io::stderr());
    runner::run(&mut apt_get).context("installing with apt-get")
}

// === impl Requirement ===

impl Requirement {
    /// Returns the path of the first of its programs that exists and works.
    pub(crate) fn find(&self) -> Option<PathBuf> {
        self.programs
            .iter()
            .filter_map(|program| find_program(program))
            .find(|program| self.works(program))
    }

    fn works(&self, program: &Path) -> bool {
        // A program can be there without a part of it, such as venv of Python on Debian.
        self.probe.is_empty()
            || Command::new(program)
                .args(self.probe)
                .output()
                .is_ok_and(|run| run.status.success())
    }
}

/// Returns the path of `name` on the PATH.
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
    fn a_program_on_the_path_is_found() {
        assert!(find_program("sh").is_some());
        assert!(find_program("no-such-program-here").is_none());
    }

    fn requirement(
        programs: &'static [&'static str],
        probe: &'static [&'static str],
    ) -> Requirement {
        Requirement {
            programs,
            probe,
            package: "no-such-package",
            purpose: "is only a test",
        }
    }

    #[test]
    fn nothing_is_installed_when_nothing_is_missing() {
        install_missing(&[requirement(
            &["no-such-program-here", "sh"],
            &["-c", "exit 0"],
        )])
        .unwrap();
    }

    #[test]
    fn a_program_that_fails_its_probe_is_missing() {
        assert_eq!(requirement(&["sh"], &["-c", "exit 1"]).find(), None);
    }
}
