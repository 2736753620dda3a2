//! Settings of one pod, from the command and from its annotations.

use std::collections::BTreeMap;
use std::ffi::OsString;

use clap::ArgAction;
use serde_json::{Map, Value};

use crate::args::inject::InjectedPodArgs;
use crate::{init, sidecar};

/// Prefix of the annotations.
pub(super) const PREFIX: &str = "throughline.dev/";

/// Options of the sidecar that the injection sets, or that have no place in a redirected pod.
const RESERVED: [&str; 18] = [
    "admin",
    "advertise",
    "allow_connect",
    "broker_ports",
    "check",
    "client_tls_cert",
    "client_tls_key",
    "config",
    "connect_ports",
    "inbound",
    "inbound_tls_cert",
    "inbound_tls_key",
    "json",
    "kafka",
    "listen",
    "listen_inbound",
    "outbound",
    "state_dir",
];

/// Options whose values are files in the sidecar's container, which do not exist here.
const FILES: [&str; 4] = [
    "broker_tls_ca",
    "broker_tls_cert",
    "broker_tls_key",
    "outbound_tls_ca",
];

/// Options of a command by name; [`None`] for a switch that is on.
pub(super) type OptionValues = BTreeMap<String, Option<String>>;

/// Settings of one pod: those of the command, and what its annotations override.
#[derive(Debug, Clone)]
pub(super) struct PodOptions {
    /// Whether the pod is to have the sidecar.
    pub(super) inject: bool,
    pub(super) image: String,
    pub(super) image_pull_policy: String,
    pub(super) resources: Value,
    /// Volumes of the pod in the sidecar's container, with their paths.
    pub(super) volume_mounts: Vec<(String, String)>,
    /// Options of the sidecar by name.
    pub(super) sidecar: OptionValues,
    /// Options of `throughline init` by name.
    pub(super) init: OptionValues,
}

// === impl PodOptions ===

impl PodOptions {
    /// Parses the settings of the command.
    ///
    /// # Errors
    /// Every error, each with its remedy.
    pub(super) fn new(args: &InjectedPodArgs) -> Result<Self, Vec<String>> {
        let mut errors = Vec::new();
        let mut options = Self {
            inject: true,
            image: args.image.clone(),
            image_pull_policy: String::new(),
            resources: Value::Null,
            volume_mounts: Vec::new(),
            sidecar: OptionValues::new(),
            init: OptionValues::new(),
        };
        options.set_sidecar("collector", &args.collector, "--collector", &mut errors);
        options.set_pull_policy("--image-pull-policy", &args.image_pull_policy, &mut errors);
        options.set_resources("--resources", &args.resources, &mut errors);
        for option in &args.option {
            match option.split_once('=') {
                Some((name, value)) => {
                    let source = format!("--option {name}");
                    options.set_sidecar(&name.replace('-', "_"), value, &source, &mut errors);
                }
                None => errors.push(format!(
                    "--option {option:?} has no value; write it as sample=0.1"
                )),
            }
        }
        options.check(&mut errors);
        if errors.is_empty() {
            Ok(options)
        } else {
            Err(errors)
        }
    }

    /// Returns these settings with those of the annotations in their place.
    ///
    /// # Errors
    /// Every error, each with the annotation.
    pub(super) fn with_annotations(
        &self,
        annotations: Option<&Map<String, Value>>,
    ) -> Result<Self, Vec<String>> {
        let mut options = self.clone();
        let mut errors = Vec::new();
        for (key, value) in annotations.into_iter().flatten() {
            let Some(name) = key.strip_prefix(PREFIX) else {
                continue;
            };
            // Kubernetes accepts text only; a number or a boolean lacks its quotes.
            match value.as_str() {
                Some(text) => options.set(name, text, key, &mut errors),
                None => errors.push(format!("annotation {key} is not text; put it in quotes")),
            }
        }
        // The options of a pod that is left alone do not matter.
        if options.inject {
            options.check(&mut errors);
        } else {
            errors.clear();
        }
        if errors.is_empty() {
            Ok(options)
        } else {
            Err(errors)
        }
    }

    /// Returns the arguments of the sidecar.
    pub(super) fn sidecar_args(&self) -> Vec<String> {
        arguments(&self.sidecar)
    }

    /// Returns the arguments of `throughline init`.
    pub(super) fn init_args(&self) -> Vec<String> {
        arguments(&self.init)
    }

    fn set(&mut self, name: &str, text: &str, key: &str, errors: &mut Vec<String>) {
        let source = format!("annotation {key}");
        match name {
            "inject" => match text {
                "true" | "enabled" => self.inject = true,
                "false" | "disabled" => self.inject = false,
                _ => errors.push(format!("{source} {text:?} is neither true nor false")),
            },
            "image" => text.clone_into(&mut self.image),
            "image-pull-policy" => self.set_pull_policy(&source, text, errors),
            "resources" => self.set_resources(&source, text, errors),
            "volume-mounts" => self.set_volume_mounts(&source, text, errors),
            "exclude-inbound" | "exclude-outbound" | "exclude-networks" => {
                self.init
                    .insert(name.replace('-', "_"), Some(text.to_owned()));
            }
            "inject-batches" => {
                self.sidecar
                    .insert("inject".to_owned(), Some(text.to_owned()));
            }
            _ => self.set_sidecar(&name.replace('-', "_"), text, &source, errors),
        }
    }

    /// Sets an option of the sidecar. Its value is checked with all others, by [`Self::check`].
    fn set_sidecar(&mut self, name: &str, text: &str, source: &str, errors: &mut Vec<String>) {
        let renamed = crate::args::sidecar::RENAMED;
        let present = renamed.iter().find(|(former, _)| *former == name);
        let name = present.map_or(name, |(_, present)| *present);
        if RESERVED.contains(&name) || name == "transparent" {
            return errors.push(format!("{source} cannot be set: the injection decides it"));
        }
        let command = sidecar::definition();
        let Some(option) = command
            .get_arguments()
            .find(|argument| argument.get_id() == name)
        else {
            return errors.push(format!(
                "{source} is unknown; throughline sidecar --help lists the options, and \
                 throughline inject --help the other annotations"
            ));
        };
        let is_switch = matches!(option.get_action(), ArgAction::SetTrue);
        match text {
            "false" if is_switch => drop(self.sidecar.remove(name)),
            "true" if is_switch => drop(self.sidecar.insert(name.to_owned(), None)),
            _ if is_switch => errors.push(format!("{source} {text:?} is neither true nor false")),
            _ => drop(self.sidecar.insert(name.to_owned(), Some(text.to_owned()))),
        }
    }

    fn set_pull_policy(&mut self, source: &str, text: &str, errors: &mut Vec<String>) {
        if ["Always", "IfNotPresent", "Never"].contains(&text) {
            text.clone_into(&mut self.image_pull_policy);
        } else {
            errors.push(format!(
                "{source} {text:?} is not a policy; use Always, IfNotPresent or Never"
            ));
        }
    }

    fn set_resources(&mut self, source: &str, text: &str, errors: &mut Vec<String>) {
        match serde_saphyr::from_str::<Value>(text) {
            Ok(resources) if resources.is_object() => self.resources = resources,
            _ => errors.push(format!(
                "{source} {text:?} is not a map; write it as {{requests: {{cpu: 10m}}}}"
            )),
        }
    }

    fn set_volume_mounts(&mut self, source: &str, text: &str, errors: &mut Vec<String>) {
        for mount in text.split(',').map(str::trim).filter(|it| !it.is_empty()) {
            match mount.split_once('=') {
                Some((volume, path)) if path.starts_with('/') => {
                    self.volume_mounts
                        .push((volume.to_owned(), path.to_owned()));
                }
                _ => errors.push(format!(
                    "{source}: {mount:?} is not a mount; write it as kafka-ca=/etc/kafka-ca"
                )),
            }
        }
    }

    /// Checks the options as the processes in the pod will.
    fn check(&self, errors: &mut Vec<String>) {
        let mut sidecar = self.sidecar.clone();
        for file in FILES {
            sidecar.remove(file);
        }
        // A switch without files needs the certificate authorities of the image, not of this host.
        sidecar.remove("broker_tls");
        sidecar.remove("broker_tls_name");
        let words = |command: &str, options: &OptionValues| -> Vec<OsString> {
            let head = ["throughline", command].map(OsString::from);
            let rest = arguments(options).into_iter().map(OsString::from);
            head.into_iter().chain(rest).collect()
        };
        let mut sidecar = words("sidecar", &sidecar);
        sidecar.push("--transparent".into());
        errors.extend(sidecar::check(&sidecar).err().into_iter().flatten());
        let init = words("init", &self.init);
        errors.extend(init::check(&init).err().into_iter().flatten());
    }
}

/// Returns options as arguments. `--name=value`: a value may begin with a dash.
fn arguments(options: &OptionValues) -> Vec<String> {
    let argument = |(name, value): (&String, &Option<String>)| {
        let option = format!("--{}", name.replace('_', "-"));
        match value {
            None => option,
            Some(text) => format!("{option}={text}"),
        }
    };
    options.iter().map(argument).collect()
}
