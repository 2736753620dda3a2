//! Servers under test: uvicorn and gunicorn in a virtual environment, and Go's, which is the client
//! as well.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::go;
use super::install::install;
use crate::tool::run_tool;

/// Returns the folder of the virtual environment.
pub(super) fn install_python(sources: &Path, progress: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    let requirements = sources.join("requirements.txt");
    install(
        "servers-python",
        std::slice::from_ref(&requirements),
        |into| {
            progress("fetching the Python servers (about 2 MB, once)");
            let mut venv = Command::new("python3");
            venv.args(["-m", "venv"]).arg(into);
            run_tool(&mut venv, "on Debian: apt-get install python3-venv")?;
            let mut pip = Command::new(into.join("bin/python"));
            pip.args(["-m", "pip", "install", "--quiet", "--requirement"])
                .arg(&requirements);
            run_tool(
                &mut pip,
                "the virtual environment is incomplete: remove its folder in .tools/",
            )
        },
    )
}

/// Returns the program of the Go server.
pub(super) fn install_go(
    sources: &Path,
    python: &Path,
    progress: &mut dyn FnMut(&str),
) -> Result<PathBuf> {
    let files = ["go.mod", "main.go", "server.go", "client.go", "messages.go"];
    let folder = install(
        "servers-go",
        &files.map(|name| sources.join(name)),
        |into| {
            let go = go::go(python, progress)?;
            progress("building the Go server");
            fs::create_dir_all(into)?;
            let mut build = Command::new(go);
            build
                .args(["build", "-trimpath", "-mod=readonly", "-o"])
                .arg(into.join("servers"))
                .arg(".")
                .current_dir(sources);
            run_tool(&mut build, "go was removed during the build")
        },
    )?;
    Ok(folder.join("servers"))
}
