//! Python programs, with the packages of their requirements in a virtual environment.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::install::install;
use crate::tool::run_tool;

/// Returns the folder of the virtual environment.
pub(super) fn install_client(sources: &Path, progress: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    let requirements = sources.join("requirements.txt");
    install_requirements("client-python", &requirements, || {
        progress("fetching the Python clients (about 30 MB, once)");
    })
}

/// Returns the folder of the virtual environment of kafka-python 1.4.
pub(super) fn install_earlier_client(sources: &Path) -> Result<PathBuf> {
    let requirements = sources.join("requirements-1.4.txt");
    install_requirements("client-python-earlier", &requirements, || {})
}

/// Returns the folder of a virtual environment; `name` is its name in `.tools/`, `what` is fetched.
pub(super) fn install_packages(
    name: &str,
    what: &str,
    sources: &Path,
    progress: &mut dyn FnMut(&str),
) -> Result<PathBuf> {
    let requirements = sources.join("requirements.txt");
    install_requirements(name, &requirements, || {
        progress(&format!("fetching {what}"));
    })
}

fn install_requirements(
    name: &str,
    requirements: &PathBuf,
    begin: impl FnOnce(),
) -> Result<PathBuf> {
    install(name, std::slice::from_ref(requirements), |into| {
        begin();
        // The system's Python may forbid installations outside of a virtual environment (PEP 668).
        let mut venv = Command::new("python3");
        venv.args(["-m", "venv"]).arg(into);
        run_tool(&mut venv, "on Debian: apt-get install python3-venv")?;
        let mut pip = Command::new(into.join("bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--requirement"])
            .arg(requirements);
        run_tool(
            &mut pip,
            "the virtual environment is incomplete: remove its folder in .tools/",
        )
    })
}
