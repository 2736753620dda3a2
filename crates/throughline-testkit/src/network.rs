//! Network namespaces that behave like pods: an address each, host names for all, one bridge.
//!
//! ```text
//!   this machine ──── bridge ──┬── pod `inventory`  10.231.N.11
//!   10.231.N.1     (a namespace├── pod `billing`    10.231.N.12
//!                   of its own)└── ...                           /etc/hosts of each pod names all
//! ```
//!
//! A namespace lives as long as a process in it, so everything ends with this process, even if it
//! is killed: the process that holds a namespace ends with us, and a veth pair goes with either of
//! its namespaces.
//!
//! Linux only. Needs root, and `ip`, `nft`, `nsenter`, `setpriv` and `unshare`; see [`missing`].

use std::ffi::OsString;
use std::io::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::NamedTempFile;

use crate::process::{ChildProcess, ProcessCrash, ProcessSpec};

/// Pods that reach each other and this machine by name.
#[derive(Debug)]
pub struct PodNetwork {
    pods: Vec<Pod>,
    bridge: ChildProcess,
    host: Ipv4Addr,
    // Bind-mounted as /etc/hosts of each pod, so it lives as long as the pods.
    _names: NamedTempFile,
}

/// A network namespace with an address.
#[derive(Debug)]
pub struct Pod {
    name: String,
    address: Ipv4Addr,
    /// Sleeps forever, which keeps the namespace alive.
    pause: ChildProcess,
}

/// Group id whose connections are not redirected: that of a pod's sidecar.
pub const EXEMPT_GID: u32 = 1337;

const START_TIMEOUT: Duration = Duration::from_secs(20);
/// Last byte of the first pod's address.
const FIRST_POD_BYTE: u8 = 11;

/// Returns whether a test that needs namespaces is skipped, and prints why.
///
/// # Panics
/// In CI, which must support them.
#[must_use]
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
pub fn is_skipped() -> bool {
    let missing = missing();
    if let Some(missing) = &missing {
        assert!(
            std::env::var_os("CI").is_none(),
            "CI must support network namespaces: {missing}"
        );
        eprintln!("skipped: {missing}");
    }
    missing.is_some()
}

/// Returns the reason why namespaces cannot be created here, or [`None`] if they can.
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
    // `ip` has no `--version`.
    let absent = absent.or_else(|| (!works("ip", &["-Version"])).then_some(("ip", "iproute2")));
    if let Some((tool, package)) = absent {
        return Some(format!(
            "{tool} is not installed; on Debian: apt-get install {package}"
        ));
    }
    let allowed = works("unshare", &["--net", "--mount", "true"]);
    (!allowed).then(|| "network namespaces need root; run as root or without --netns".to_owned())
}

// === impl PodNetwork ===

impl PodNetwork {
    /// Creates pods with these names. `aliases` are further names of this machine.
    ///
    /// # Errors
    /// Fails if a tool is missing or the system refuses; shows the system's message.
    pub fn start(names: &[&str], aliases: &[&str]) -> Result<Self> {
        if let Some(missing) = missing() {
            anyhow::bail!("{missing}");
        }
        let id = std::process::id();
        // The third byte comes from the process id, so that parallel test programs get different
        // networks.
        let address = |last: u8| Ipv4Addr::new(10, 231, id.to_le_bytes()[0], last);
        let host = address(1);
        let addresses = (FIRST_POD_BYTE..=u8::MAX).map(address);
        let named_addresses: Vec<(&str, Ipv4Addr)> = names.iter().copied().zip(addresses).collect();
        let mut file = NamedTempFile::new().context("creating the hosts file of the network")?;
        let all_names = aliases
            .iter()
            .map(|alias| (*alias, host))
            .chain(named_addresses.iter().copied());
        writeln!(file, "127.0.0.1 localhost\n::1 localhost")?;
        all_names
            .into_iter()
            .try_for_each(|(name, address)| writeln!(file, "{address} {name}"))?;
        let bridge = start_holder(
            "the bridge",
            "ip link set lo up && ip link add bridge type bridge && ip link set bridge up",
        )?;
        // Interface names hold at most 15 bytes (IFNAMSIZ).
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
        attach_to_bridge(&bridge, "host")?;
        let names = file.path().to_string_lossy().into_owned();
        let pods = named_addresses
            .into_iter()
            .enumerate()
            .map(|(number, (name, address))| {
                let pause = start_holder(
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

    /// Returns the address of this machine in the network.
    pub const fn host(&self) -> Ipv4Addr {
        self.host
    }

    /// Returns the pod with this name.
    ///
    /// # Errors
    /// Fails if no pod has this name.
    pub fn pod(&self, name: &str) -> Result<&Pod> {
        self.pods
            .iter()
            .find(|pod| pod.name == name)
            .with_context(|| format!("no pod named {name}"))
    }

    /// Returns the first process of the network that has ended.
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
    /// Returns the IPv4 address.
    pub const fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Moves a process into this pod.
    #[must_use]
    pub fn enter(&self, spec: ProcessSpec) -> ProcessSpec {
        spec.wrapped_by(self.nsenter_command())
    }

    /// Moves a process into this pod, in the group whose connections are not redirected. It stays
    /// root, so that its binary may lie in any folder.
    #[must_use]
    pub fn enter_exempt(&self, spec: ProcessSpec) -> ProcessSpec {
        self.enter_as(&["--regid"], spec)
    }

    /// Moves a process into this pod, as the unprivileged user whose connections are not
    /// redirected. This is how a sidecar should run.
    #[must_use]
    pub fn enter_unprivileged(&self, spec: ProcessSpec) -> ProcessSpec {
        self.enter_as(&["--reuid", "--regid"], spec)
    }

    fn enter_as(&self, id_options: &[&str], spec: ProcessSpec) -> ProcessSpec {
        let id = EXEMPT_GID.to_string();
        let id_options = id_options.iter().flat_map(|option| [*option, &id]);
        // `keep`: setpriv would otherwise clear the parent death signal, and the process would
        // outlive us.
        let command = ["setpriv"].into_iter().chain(id_options).chain([
            "--clear-groups",
            "--pdeathsig",
            "keep",
            "--",
        ]);
        spec.wrapped_by(
            self.nsenter_command()
                .into_iter()
                .chain(command.map(OsString::from)),
        )
    }

    /// Returns the IPv6 address.
    pub const fn address_v6(&self) -> Ipv6Addr {
        ipv6_of(self.address)
    }

    /// Runs a program in this pod and returns its stdout.
    ///
    /// # Errors
    /// Fails if the program fails; shows its stderr.
    pub fn output(&self, program: &str, args: &[&str]) -> Result<String> {
        run_in(self.pause.id(), program, args)
    }

    /// Runs a program in this pod.
    ///
    /// # Errors
    /// Fails if the program fails; shows its stderr.
    pub fn run(&self, program: &str, args: &[&str]) -> Result<()> {
        self.output(program, args).map(drop)
    }

    fn nsenter_command(&self) -> Vec<OsString> {
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
        // Duplicate address detection would delay the address for a second; no other host can have
        // it.
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
        attach_to_bridge(bridge, &end)
    }
}

/// Starts a process that sets up its own namespaces and then only sleeps.
fn start_holder(name: &str, set_up: &str) -> Result<ChildProcess> {
    let script = format!("{set_up} && echo ready && exec sleep infinity");
    let process = ProcessSpec::new(name, "unshare")
        .args(["--net", "--mount", "sh", "-c", &script])
        .spawn()?;
    process.wait_for_line("ready", START_TIMEOUT, |line| {
        (line == "ready").then_some(())
    })?;
    Ok(process)
}

fn attach_to_bridge(bridge: &ChildProcess, link: &str) -> Result<()> {
    run_in(
        bridge.id(),
        "ip",
        &["link", "set", link, "master", "bridge", "up"],
    )
    .map(drop)
}

/// Maps an IPv4 address of the network to its IPv6 address.
const fn ipv6_of(address: Ipv4Addr) -> Ipv6Addr {
    let [_, _, network, last] = address.octets();
    Ipv6Addr::new(0xfd31, 0, 0, network as u16, 0, 0, 0, last as u16)
}

fn run_in(process: u32, program: &str, args: &[&str]) -> Result<String> {
    let id = process.to_string();
    let nsenter_command = ["--target", &id, "--net", "--mount", "--", program];
    run("nsenter", &[&nsenter_command[..], args].concat())
}

fn run(program: &str, args: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(args)
        .output()
        .with_context(|| format!("starting {program}"))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{program} {}: {}",
        args.join(" "),
        stderr.trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
