//! Options of tracing as users write them: one definition of their words, limits and messages, for
//! the sidecar (command line, variables, YAML) and for the module in Envoy (JSON).
//!
//! It reads no file and no environment. An [`OptionReader`] has the texts and keeps the mistakes,
//! so that all of them are reported together. Keys are those of the sidecar's file.
//!
//! | module | content |
//! |---|---|
//! | [`source`] | the trait, and values of common types |
//! | [`value`] | the parsers of these types, with their messages |
//! | [`kafka`] | settings of Kafka connections, formats and service included |
//! | [`correlation`] | rules for the parents of outbound messages |

mod correlation;
mod kafka;
mod source;
mod value;

pub use self::correlation::correlation_settings;
pub use self::kafka::{check_limits, kafka_settings};
pub use self::source::OptionReader;
pub use self::value::{parse_byte_size, parse_number, parse_ratio, parse_word};
