//! Hosts of our own on one machine, as pods are: a network namespace and an address each, names for all of them, a bridge between.
//!
//! ```text
//!   this machine ──── bridge ──┬── pod `inventory`  10.231.N.11
//!   10.231.N.1     (a namespace├── pod `billing`    10.231.N.12
//!                   of its own)└── ...                           /etc/hosts of each pod names all
//! ```
//!
//! A namespace lives as long as a process in it, so all of it goes with us, also when we are killed: the process that holds a
//! namespace ends with us, and what connects two namespaces goes with either.
//!
//! Linux only. Needs root, and `ip`, `nft`, `nsenter`, `setpriv` and `unshare`: [`missing`] tells.

use std::ffi::OsString;
use std::io::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::NamedTempFile;

use crate::process::{ChildProcess, ProcessCrash, ProcessSpec};

/// Pods that reach each other, and this machine, by name.
#[derive(Debug)]
pub struct PodNetwork {
    pods: Vec<Pod>,
    bridge: ChildProcess,
    host: Ipv4Addr,
    // As long as there are pods: it is their /etc/hosts.
    _names: NamedTempFile,
}

/// A host of its own.
#[derive(Debug)]
pub struct Pod {
    name: String,
    address: Ipv4Addr,
    /// Does nothing, and by that keeps the namespace alive.
    pause: ChildProcess,
}

/// The group whose connections are not redirected: that of a pod's sidecar.
pub const EXEMPT: u32 = 1337;

const START_LIMIT: Duration = Duration::from_secs(20);
/// The last byte of the first pod's address.
const FIRST: u8 = 11;

/// Why there can be no network of our own here; [`None`] if there can.
pub fn missing() -> Option<String> {
    let works = |program: &str, args: &[&str]| {
        Command::new(program)
            .args(args)
            .output()
            .is_ok_and(|output| output.status.success())
    };
    let tools = [
        ("unshare", "util-linux"),
        ("nsenter", "util-linux"),
        ("setpriv", "util-linux"),
        ("nft", "nftables"),
    ];
    let absent = tools
        .into_iter()
        .find(|(tool, _)| !works(tool, &["--version"]));
    let absent = absent.or_else(|| (!works("ip", &["-Version"])).then_some(("ip", "iproute2")));
    if let Some((tool, package)) = absent {
        return Some(format!(
            "there is no {tool}; on Debian: apt-get install {package}"
        ));
    }
    let allowed = works("unshare", &["--net", "--mount", "true"]);
    (!allowed)
        .then(|| "network namespaces are for root; run it as root, or without --netns".to_owned())
}

// === impl Network ===

impl PodNetwork {
    /// Pods of these names. `aliases` are further names of this machine.
    ///
    /// # Errors
    /// When something is missing, or the system refuses; with its words.
    pub fn start(names: &[&str], aliases: &[&str]) -> Result<Self> {
        if let Some(missing) = missing() {
            anyhow::bail!("{missing}");
        }
        let id = std::process::id();
        // Several of them, of programs that run at the same time, differ in the third byte.
        let address = |last: u8| Ipv4Addr::new(10, 231, id.to_le_bytes()[0], last);
        let host = address(1);
        let addresses = (FIRST..=u8::MAX).map(address);
        let places: Vec<(&str, Ipv4Addr)> = names.iter().copied().zip(addresses).collect();
        let mut file = NamedTempFile::new().context("making the names of the network")?;
        let all = aliases
            .iter()
            .map(|alias| (*alias, host))
            .chain(places.iter().copied());
        writeln!(file, "127.0.0.1 localhost\n::1 localhost")?;
        all.into_iter()
            .try_for_each(|(name, address)| writeln!(file, "{address} {name}"))?;
        let bridge = hold(
            "the bridge",
            "ip link set lo up && ip link add bridge type bridge && ip link set bridge up",
        )?;
        let link = format!("tl{id}");
        run(
            "ip",
            &[
                "link",
                "add",
                &link,
                "type",
                "veth",
                "peer",
                "name",
                "host",
                "netns",
                &bridge.id().to_string(),
            ],
        )?;
        run("ip", &["addr", "add", &format!("{host}/24"), "dev", &link])?;
        run("ip", &["link", "set", &link, "up"])?;
        enslave(&bridge, "host")?;
        let names = file.path().to_string_lossy().into_owned();
        let pods = places
            .into_iter()
            .enumerate()
            .map(|(number, (name, address))| {
                let pause = hold(
                    name,
                    &format!("mount --bind '{names}' /etc/hosts && ip link set lo up"),
                )?;
                let pod = Pod {
                    name: name.to_owned(),
                    address,
                    pause,
                };
                pod.connect(&bridge, number)?;
                Ok(pod)
            });
        Ok(Self {
            pods: pods.collect::<Result<_>>()?,
            bridge,
            host,
            _names: file,
        })
    }

    /// The address of this machine in it.
    pub const fn host(&self) -> Ipv4Addr {
        self.host
    }

    /// The pod of this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn pod(&self, name: &str) -> Result<&Pod> {
        self.pods
            .iter()
            .find(|pod| pod.name == name)
            .with_context(|| format!("no pod {name}"))
    }

    /// The first part that has ended though it should be there.
    pub fn crashed(&self) -> Option<ProcessCrash> {
        self.pods
            .iter()
            .map(|pod| &pod.pause)
            .chain([&self.bridge])
            .find_map(ChildProcess::crashed)
    }
}

// === impl Pod ===

impl Pod {
    /// Its address.
    pub const fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// The same process in here.
    #[must_use]
    pub fn place(&self, spec: ProcessSpec) -> ProcessSpec {
        spec.within(self.entrance())
    }

    /// The same process in here, and of the group whose connections are not redirected. It stays root, so that it can be started from
    /// anywhere.
    #[must_use]
    pub fn place_exempt(&self, spec: ProcessSpec) -> ProcessSpec {
        self.place_as(&["--regid"], spec)
    }

    /// The same process in here, as the user whose connections are not redirected, as a sidecar should be.
    #[must_use]
    pub fn place_unprivileged(&self, spec: ProcessSpec) -> ProcessSpec {
        self.place_as(&["--reuid", "--regid"], spec)
    }

    fn place_as(&self, who: &[&str], spec: ProcessSpec) -> ProcessSpec {
        let id = EXEMPT.to_string();
        let who = who.iter().flat_map(|option| [*option, &id]);
        let command = ["setpriv"].into_iter().chain(who).chain([
            "--clear-groups",
            "--pdeathsig",
            "keep",
            "--",
        ]);
        spec.within(
            self.entrance()
                .into_iter()
                .chain(command.map(OsString::from)),
        )
    }

    /// Its address of IPv6.
    pub const fn address_v6(&self) -> Ipv6Addr {
        v6(self.address)
    }

    /// What a program prints that runs in here to its end.
    ///
    /// # Errors
    /// When it fails; with its words.
    pub fn output(&self, program: &str, args: &[&str]) -> Result<String> {
        run_in(self.pause.id(), program, args)
    }

    /// Runs a program in here to its end.
    ///
    /// # Errors
    /// When it fails; with its words.
    pub fn run(&self, program: &str, args: &[&str]) -> Result<()> {
        self.output(program, args).map(drop)
    }

    fn entrance(&self) -> Vec<OsString> {
        [
            "nsenter",
            "--target",
            &self.pause.id().to_string(),
            "--net",
            "--mount",
            "--",
        ]
        .map(OsString::from)
        .into()
    }

    fn connect(&self, bridge: &ChildProcess, number: usize) -> Result<()> {
        let (end, bridge_id) = (format!("pod{number}"), bridge.id().to_string());
        self.run(
            "ip",
            &[
                "link", "add", "eth0", "type", "veth", "peer", "name", &end, "netns", &bridge_id,
            ],
        )?;
        self.run(
            "ip",
            &[
                "addr",
                "add",
                &format!("{}/24", self.address),
                "dev",
                "eth0",
            ],
        )?;
        // No other has it, and nobody waits until that is found out.
        self.run(
            "ip",
            &[
                "addr",
                "add",
                &format!("{}/64", self.address_v6()),
                "dev",
                "eth0",
                "nodad",
            ],
        )?;
        self.run("ip", &["link", "set", "eth0", "up"])?;
        enslave(bridge, &end)
    }
}

/// A process in namespaces of its own that does nothing once these are set up.
fn hold(name: &str, set_up: &str) -> Result<ChildProcess> {
    let script = format!("{set_up} && echo ready && exec sleep infinity");
    let process = ProcessSpec::new(name, "unshare")
        .args(["--net", "--mount", "sh", "-c", &script])
        .spawn()?;
    process.wait_for_line("ready", START_LIMIT, |line| (line == "ready").then_some(()))?;
    Ok(process)
}

fn enslave(bridge: &ChildProcess, link: &str) -> Result<()> {
    run_in(
        bridge.id(),
        "ip",
        &["link", "set", link, "master", "bridge", "up"],
    )
    .map(drop)
}

/// The same network in IPv6.
const fn v6(address: Ipv4Addr) -> Ipv6Addr {
    let [_, _, network, last] = address.octets();
    Ipv6Addr::new(0xfd31, 0, 0, network as u16, 0, 0, 0, last as u16)
}

fn run_in(process: u32, program: &str, args: &[&str]) -> Result<String> {
    let id = process.to_string();
    let entrance = ["--target", &id, "--net", "--mount", "--", program];
    run("nsenter", &[&entrance[..], args].concat())
}

fn run(program: &str, args: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(args)
        .output()
        .with_context(|| format!("starting {program}"))?;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{program} {}: {}",
        args.join(" "),
        words.trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
