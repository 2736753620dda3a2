//! Texts of the help of `throughline sidecar`: its examples, and what the registry of formats says.

use throughline_model::context::{Format, FormatList};

pub(crate) const EXAMPLES: &str = "\
Examples:
  throughline sidecar --kafka localhost:9092
      Trace Kafka only: clients connect to 127.0.0.1:19092 in place of localhost:9092.
  throughline sidecar --inbound 8080 --kafka kafka:9092
      Trace HTTP as well: the sidecar takes port 8080, the service listens on 18080 instead.
  throughline sidecar --transparent
      Trace a whole pod, whose connections throughline init has redirected.
  throughline sidecar --kafka broker-1:9093,broker-2:9093 --broker-tls-ca ca.pem --sample 0.1
      Connect to the brokers with TLS and record a tenth of the traces.
  throughline sidecar --config sidecar.yaml --check
      Validate a configuration file without starting.

Only the bootstrap servers of a client change:
  kafka-console-producer.sh --bootstrap-server 127.0.0.1:19092 --topic orders

A configuration file has the same options, with _ for - in their names:
  kafka: [broker-1:9092, broker-2:9092]
  sample: 0.1
  topics:
    - topic: audit-*
      inject: never

Precedence: option, environment variable, configuration file, default.
The full reference is docs/sidecar.md.";

/// Returns the help of `--propagation`, with the formats of the registry.
pub(super) fn propagation_help() -> String {
    let formats = FormatList::names(Format::contexts());
    format!(
        "Context formats to write, comma-separated: {formats}, none; all of them are read. \
         Default: OTEL_PROPAGATORS, else tracecontext"
    )
}
