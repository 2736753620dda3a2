//! Images for the demo: the Dockerfiles of `deploy/images`, with programs that this machine has
//! built in place of their build stages, and an image of Kafka from its jars.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::command::Podman;
use crate::build::{ProjectBinaries, STATIC_TARGET, repository_root, static_throughline};
use crate::kafka;

/// Modules of Java that a broker uses.
const JAVA_MODULES: &str = "java.base,java.desktop,java.logging,java.management,java.naming,\
    java.net.http,java.security.jgss,java.security.sasl,java.sql,java.xml,jdk.crypto.ec,\
    jdk.management,jdk.unsupported,jdk.zipfs";

/// Tag of our images, as in the manifests.
const TAG: &str = env!("CARGO_PKG_VERSION");

/// Builds the images that the manifests name.
pub(super) fn build_all(
    podman: &Podman,
    home: &Path,
    binaries: &ProjectBinaries,
    progress: &mut dyn FnMut(&str),
) -> Result<()> {
    progress("building throughline as a static program (the first time takes minutes)");
    let throughline = static_throughline()?;
    progress("building the images");
    let stage = home.join("throughline");
    copy(&throughline, &stage.join("out/throughline"))?;
    let authorities = Path::new("/etc/ssl/certs/ca-certificates.crt");
    if authorities.is_file() {
        let target = "out/etc/ssl/certs/ca-certificates.crt";
        copy(authorities, &stage.join(target))?;
    }
    build(
        podman,
        "throughline.Dockerfile",
        &stage,
        &format!("throughline:{TAG}"),
    )?;

    let stage = home.join("eshop");
    copy(&binaries.eshop_bare, &stage.join("out/eshop-bare"))?;
    copy_libraries(&binaries.eshop_bare, &stage.join("out"))?;
    build(
        podman,
        "eshop.Dockerfile",
        &stage,
        &format!("throughline-eshop:{TAG}"),
    )?;
    build_kafka(podman, home, progress)
}

/// Builds the image of the module for Envoy and returns its tag.
pub(super) fn build_module(podman: &Podman, home: &Path, module: &Path) -> Result<String> {
    let stage = home.join("module");
    copy(module, &stage.join("out/libthroughline_envoy.so"))?;
    let mut rustc = Command::new("rustc");
    rustc
        .args(["--edition", "2024", "--target", STATIC_TARGET])
        .args(["-C", "opt-level=s", "-C", "strip=symbols", "-o"])
        .arg(stage.join("out/copy"))
        .arg(repository_root().join("deploy/images/copy.rs"));
    let output = rustc.output().context("starting rustc")?;
    ensure!(
        output.status.success(),
        "rustc: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let tag = format!("throughline-envoy:{TAG}");
    build(podman, "envoy-module.Dockerfile", &stage, &tag)?;
    Ok(tag)
}

/// Builds a Dockerfile of ours with a folder in place of its stage `build`.
fn build(podman: &Podman, file: &str, stage: &Path, tag: &str) -> Result<()> {
    let file = repository_root().join("deploy/images").join(file);
    let context = format!("build={}", stage.display());
    let file = file.display().to_string();
    let here = stage.display().to_string();
    let args = [
        "bud",
        "--isolation",
        "chroot",
        "--build-context",
        &context,
        "--tag",
        tag,
        "--file",
        &file,
        &here,
    ];
    podman.run_program("buildah", &args).map(drop)
}

/// Builds an image with the layout of Apache Kafka's own: `java` on the PATH and the jars in
/// `/opt/kafka/libs`.
fn build_kafka(podman: &Podman, home: &Path, progress: &mut dyn FnMut(&str)) -> Result<()> {
    let tag = format!("docker.io/apache/kafka:{}", kafka::VERSION);
    if podman.run(&["image", "exists", &tag]).is_ok() {
        return Ok(());
    }
    let jars = kafka::fetch_apache(progress)?;
    progress("building an image of Apache Kafka");
    let root = home.join("kafka");
    fs::create_dir_all(root.join("opt/java"))?;
    let jre = root.join("opt/java/openjdk");
    let mut jlink = Command::new("jlink");
    jlink
        .args([
            "--add-modules",
            JAVA_MODULES,
            "--strip-debug",
            "--no-man-pages",
        ])
        .args(["--no-header-files", "--compress=2", "--output"])
        .arg(&jre);
    let output = jlink
        .output()
        .context("starting jlink, which comes with a JDK")?;
    ensure!(
        output.status.success(),
        "jlink: {}",
        String::from_utf8_lossy(&output.stdout)
    );
    copy_libraries(&jre.join("bin/java"), &root)?;
    copy_libraries(&jre.join("lib/server/libjvm.so"), &root)?;
    for jar in fs::read_dir(&jars)? {
        let jar = jar?.path();
        let name = jar.file_name().context("a jar has a name")?;
        copy(&jar, &root.join("opt/kafka/libs").join(name))?;
    }
    // Java and the JDK's native libraries look these up.
    fs::create_dir_all(root.join("etc"))?;
    fs::write(root.join("etc/nsswitch.conf"), "hosts: files dns\n")?;
    fs::write(root.join("etc/passwd"), "kafka:x:1000:1000::/:/\n")?;
    let dockerfile = home.join("kafka.Dockerfile");
    fs::write(
        &dockerfile,
        "FROM scratch\nADD . /\nENV PATH=/opt/java/openjdk/bin\nUSER 1000\n",
    )?;
    let file = dockerfile.display().to_string();
    let here = root.display().to_string();
    let args = [
        "bud",
        "--isolation",
        "chroot",
        "--tag",
        &tag,
        "--file",
        &file,
        &here,
    ];
    podman.run_program("buildah", &args).map(drop)
}

/// Copies the shared libraries that a program is linked to, under their own paths.
fn copy_libraries(program: &Path, root: &Path) -> Result<()> {
    let output = Command::new("ldd")
        .arg(program)
        .output()
        .context("starting ldd")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let linked = text.split_whitespace().filter(|word| word.starts_with('/'));
    // Loaded at run time: for DNS, and by the libraries of the JDK.
    let loaded = [
        "libresolv.so.2",
        "libdl.so.2",
        "libpthread.so.0",
        "librt.so.1",
    ];
    let loaded = loaded.map(|name| format!("/lib/x86_64-linux-gnu/{name}"));
    let loaded = loaded.iter().map(String::as_str);
    for path in linked.chain(loaded).map(Path::new) {
        // Libraries of the program's own folder are there already.
        if !path.starts_with(root) && path.is_file() {
            copy(path, &root.join(path.strip_prefix("/").unwrap_or(path)))?;
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::copy(from, to).with_context(|| format!("copying {}", from.display()))?;
    Ok(())
}
