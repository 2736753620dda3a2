//! Raw configuration: command line, environment variables and the YAML file merged, values still
//! text.
//!
//! Values of the file become arguments in front of the typed ones, unless an argument or a variable
//! sets the same option; then everything is parsed again. So options, variables and file share one
//! definition and one parser. Options under a former name are merged in the same way.

mod file;

use std::collections::BTreeMap;
use std::ffi::OsString;

use clap::parser::ValueSource;
use clap::{ArgMatches, Command, FromArgMatches as _};
use throughline_model::environment::EnvironmentReader;

use crate::args;
use crate::args::sidecar::{RENAMED, SidecarArgs};

/// Variable with the attributes of the resource: `key=value,key=value`, percent-encoded.
const RESOURCE_ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";

const SUBCOMMAND: &str = "sidecar";
const VARIABLE_PREFIX: &str = "THROUGHLINE_SIDECAR_";

/// The merged options, and where each comes from.
#[derive(Debug, Clone)]
pub(crate) struct RawConfig {
    pub(crate) options: SidecarArgs,
    /// Source of each value that is set, by configuration key.
    sources: BTreeMap<String, OptionSource>,
    /// Text of the configuration file, if there is one.
    pub(crate) file: Option<String>,
    /// Warnings to log: options under a former name, and variables that are not well-formed.
    pub(crate) warnings: Vec<String>,
}

/// Where a value was set.
#[derive(Debug, Clone, PartialEq, Eq)]
enum OptionSource {
    Argument,
    Variable(String),
    File,
}

/// Values by configuration key; [`None`] for a switch that is on.
type RawValues = BTreeMap<String, Option<String>>;

// === impl RawConfig ===

impl RawConfig {
    /// Merges arguments, environment variables and the configuration file that they name, if any.
    ///
    /// # Errors
    /// All errors that show before values are parsed.
    pub(crate) fn load(
        arguments: &[OsString],
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Vec<String>> {
        let (options, matches) =
            parse_arguments(arguments).map_err(|error| vec![error.to_string()])?;
        let mut config = Self {
            options,
            // A default is not a source, so that the file may replace them.
            sources: argument_sources(&matches),
            file: None,
            warnings: renamed_arguments(arguments),
        };
        config.warnings.extend(resource_warning(environment));
        // Precedence: arguments, variables, variables with a former name, file.
        let mut values = config.renamed_variables(environment);
        if let Some(path) = config.options.config.clone() {
            let text = std::fs::read_to_string(&path)
                .map_err(|error| vec![format!("--config {path}: cannot be read: {error}")])?;
            let from_file = file::parse_values(&path, &text, &command())?;
            config.warnings.extend(
                from_file.renamed.iter().map(|(former, present)| {
                    rename_warning(&format!("{former} in {path}"), present)
                }),
            );
            for (key, value) in from_file.values {
                // Arguments and variables take precedence over the file.
                if !config.is_set(&key) {
                    config.sources.insert(key.clone(), OptionSource::File);
                    values.insert(key, value);
                }
            }
            config.file = Some(text);
        }
        if !values.is_empty() {
            // Parsed by clap again, which keeps one set of rules for values and conflicts.
            let merged = with_values(arguments, &values);
            let (options, _) = parse_arguments(&merged).map_err(|error| {
                let path = config.options.config.as_deref().unwrap_or("environment");
                vec![format!("{path}: {error}")]
            })?;
            config.options = options;
        }
        Ok(config)
    }

    /// Returns the name under which an option was set, for messages: the option, the environment
    /// variable, or the key and its file.
    pub(crate) fn name(&self, key: &str) -> String {
        match self.sources.get(key) {
            Some(OptionSource::Variable(name)) => name.clone(),
            Some(OptionSource::File) => format!(
                "{key} in {}",
                self.options.config.as_deref().unwrap_or("the file")
            ),
            Some(OptionSource::Argument) | None => option_name(key),
        }
    }

    /// Whether an option is set anywhere.
    pub(crate) fn is_set(&self, key: &str) -> bool {
        self.sources.contains_key(key)
    }

    /// Takes the values of variables with a former name, where nothing under the present name is
    /// set.
    fn renamed_variables(&mut self, environment: &dyn Fn(&str) -> Option<String>) -> RawValues {
        let mut values = RawValues::new();
        for (former, present) in RENAMED {
            let name = variable_name(former);
            let Some(value) = environment(&name) else {
                continue;
            };
            self.warnings
                .push(rename_warning(&name, &variable_name(present)));
            if !self.is_set(present) {
                self.sources
                    .insert(present.to_owned(), OptionSource::Variable(name));
                values.insert(present.to_owned(), Some(value));
            }
        }
        values
    }
}

/// Warns of resource attributes that cannot be percent-decoded.
fn resource_warning(environment: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let (_, raw_count) = EnvironmentReader::new(environment).pairs_or_raw(RESOURCE_ATTRIBUTES);
    (raw_count > 0).then(|| {
        format!(
            "{RESOURCE_ATTRIBUTES} has an invalid percent escape: the attribute is used as \
             written; write %25 for a percent sign"
        )
    })
}

/// Returns the definition of the subcommand, with its options.
pub(crate) fn command() -> Command {
    args::definition()
        .find_subcommand(SUBCOMMAND)
        .cloned()
        .unwrap_or_default()
}

/// Returns the option of a configuration key: `--broker-ports` for `broker_ports`.
fn option_name(key: &str) -> String {
    format!("--{}", key.replace('_', "-"))
}

/// Returns the environment variable of a configuration key.
fn variable_name(key: &str) -> String {
    format!("{VARIABLE_PREFIX}{}", key.to_ascii_uppercase())
}

/// Returns the warning for an option, variable or key under its former name.
fn rename_warning(former: &str, present: &str) -> String {
    format!("{former} has been renamed; write it as {present}")
}

fn parse_arguments(arguments: &[OsString]) -> Result<(SidecarArgs, ArgMatches), clap::Error> {
    let matches = args::definition().try_get_matches_from(arguments)?;
    // Another subcommand in the arguments leaves the defaults.
    let matches = matches
        .subcommand_matches(SUBCOMMAND)
        .cloned()
        .unwrap_or_default();
    Ok((SidecarArgs::from_arg_matches(&matches)?, matches))
}

/// Returns a warning for each argument that has a former name. clap parses it by its alias.
fn renamed_arguments(arguments: &[OsString]) -> Vec<String> {
    let texts = || arguments.iter().filter_map(|argument| argument.to_str());
    let is_used = |option: &str| {
        // Values cannot begin with two dashes, so a match is an option.
        texts().any(|text| text.split_once('=').map_or(text, |(name, _)| name) == option)
    };
    RENAMED
        .iter()
        .map(|(former, present)| (option_name(former), option_name(present)))
        .filter(|(former, _)| is_used(former))
        .map(|(former, present)| rename_warning(&former, &present))
        .collect()
}

fn argument_sources(matches: &ArgMatches) -> BTreeMap<String, OptionSource> {
    let command = command();
    let source = |key: &str| match matches.value_source(key)? {
        ValueSource::CommandLine => Some(OptionSource::Argument),
        // Errors name the variable that was set, not the option.
        ValueSource::EnvVariable => {
            let argument = command
                .get_arguments()
                .find(|argument| argument.get_id() == key)?;
            Some(OptionSource::Variable(
                argument.get_env()?.to_string_lossy().into_owned(),
            ))
        }
        ValueSource::DefaultValue | _ => None,
    };
    let ids = matches.ids().map(|id| id.as_str());
    ids.filter_map(|key| Some((key.to_owned(), source(key)?)))
        .collect()
}

/// Returns the arguments with these values right behind the subcommand.
fn with_values(arguments: &[OsString], values: &RawValues) -> Vec<OsString> {
    let split = arguments
        .iter()
        // No option comes before the subcommand, so the first match is it.
        .position(|argument| argument == SUBCOMMAND)
        .map_or(arguments.len(), |position| position + 1);
    let (front, rest) = arguments
        .split_at_checked(split)
        .unwrap_or((arguments, &[]));
    let inserted = values.iter().map(|(key, value)| match value {
        // `--name=value`: a value may begin with a dash.
        Some(value) => OsString::from(format!("{}={value}", option_name(key))),
        None => OsString::from(option_name(key)),
    });
    front
        .iter()
        .cloned()
        .chain(inserted)
        .chain(rest.iter().cloned())
        .collect()
}

#[cfg(test)]
mod tests;
