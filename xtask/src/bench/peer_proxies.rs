//! Proxies to compare with, in their released versions, fetched once into `.tools/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use throughline_testkit::build::repository_root;
use throughline_testkit::envoy;
use throughline_testkit::tool::run_tool;

/// A proxy that the benchmarks run beside ours.
struct PeerProxy {
    /// Option of the benchmark that takes its path.
    option: &'static str,
    /// Name of its folder below `.tools/`, with the version.
    folder: &'static str,
    /// Path of the program below the folder; empty for the folder itself.
    program: &'static str,
    fetch: fn(&Path) -> Result<()>,
}

const PEERS: [PeerProxy; 3] = [
    PeerProxy {
        option: "--envoy",
        folder: envoy::ENVOY_FOLDER,
        program: envoy::ENVOY_PROGRAM,
        fetch: envoy::fetch_into,
    },
    PeerProxy {
        option: "--kafka-proxy",
        folder: "kafka-proxy-0.4.3",
        program: "kafka-proxy",
        fetch: fetch_kafka_proxy,
    },
    PeerProxy {
        option: "--kroxylicious",
        folder: "kroxylicious-0.12.0",
        program: "",
        fetch: fetch_kroxylicious,
    },
];

/// Proxies for Kafka connections.
pub(super) const KAFKA: [&str; 3] = ["--envoy", "--kafka-proxy", "--kroxylicious"];

/// Proxies for HTTP.
pub(super) const HTTP: [&str; 1] = ["--envoy"];

/// Fetches the `wanted` proxies and returns the benchmark's arguments for them. A proxy that cannot
/// be fetched is reported and left out; the comparison with the others is still worth having.
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
            Err(error) => eprintln!("without {}: {error:#}", peer.folder),
        }
    }
    Ok(args)
}

// === impl PeerProxy ===

impl PeerProxy {
    /// Fetches into a temporary folder and renames it, so an interrupted fetch is repeated.
    fn provide(&self, tools: &Path) -> Result<PathBuf> {
        let folder = tools.join(self.folder);
        if !folder.is_dir() {
            eprintln!("fetching {} into {}", self.folder, folder.display());
            // The process id keeps two runs at the same time apart.
            let unfinished =
                tools.join(format!("unfinished-{}-{}", self.folder, std::process::id()));
            let fetched =
                // The rename is atomic: a folder with the final name is complete.
                (self.fetch)(&unfinished).and_then(|()| Ok(fs::rename(&unfinished, &folder)?));
            if fetched.is_err() {
                // The fetch may have failed before it created the folder.
                fs::remove_dir_all(&unfinished).unwrap_or_default();
            }
            fetched?;
        }
        Ok(if self.program.is_empty() {
            folder
        } else {
            folder.join(self.program)
        })
    }
}

fn fetch_kafka_proxy(into: &Path) -> Result<()> {
    let mut go = Command::new("go");
    go.args(["install", "github.com/grepplabs/kafka-proxy@v0.4.3"]);
    // By default the program would go into the user's own Go folder.
    run_tool(go.env("GOBIN", into), "install Go")
}

fn fetch_kroxylicious(into: &Path) -> Result<()> {
    fs::create_dir_all(into)?;
    let pom = into.join("pom.xml");
    fs::write(&pom, include_str!("kroxylicious.xml"))?;
    let mut maven = Command::new("mvn");
    maven.args(["--batch-mode", "--quiet", "--file"]).arg(&pom);
    // Kroxylicious is a class path, so its jars are copied with all that they depend on.
    maven.args(["dependency:copy-dependencies", "-DincludeScope=runtime"]);
    maven.arg(format!("-DoutputDirectory={}", into.display()));
    run_tool(&mut maven, "on Debian: apt-get install maven")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_names_the_version_that_is_fetched() {
        let [_, _, kroxylicious] = PEERS;
        let version = kroxylicious.folder.rsplit('-').next().unwrap();
        assert!(
            include_str!("kroxylicious.xml")
                .contains(&format!("<kroxylicious.version>{version}</"))
        );
    }

    #[test]
    fn a_failed_fetch_leaves_no_folder() {
        let tools = tempfile::tempdir().unwrap();
        let fetch = |into: &Path| {
            fs::create_dir(into)?;
            anyhow::bail!("sorry")
        };
        let peer = PeerProxy {
            option: "--peer",
            folder: "peer-1",
            program: "peer",
            fetch,
        };
        let error = peer.provide(tools.path()).unwrap_err().to_string();
        assert_eq!(error, "sorry");
        assert_eq!(fs::read_dir(tools.path()).unwrap().count(), 0);
    }
}
