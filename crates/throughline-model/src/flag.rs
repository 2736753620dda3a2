//! The bits of `flags` in spans and links (opentelemetry-proto v1, `SpanFlags`): the low 8 bits are
//! the W3C trace flags.

/// W3C flag: the sender asks for recording.
pub const SAMPLED: u8 = 0x01;
/// W3C level 2 flag: the low 7 bytes of the trace id are random.
pub const RANDOM: u8 = 0x02;
/// The bit [`IS_REMOTE`] has a meaning; older senders leave both bits unset.
pub const HAS_IS_REMOTE: u32 = 0x100;
/// The parent, or the linked span, is in another process.
pub const IS_REMOTE: u32 = 0x200;
