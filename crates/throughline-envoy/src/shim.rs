//! The C ABI of Envoy 1.40 (`v0.2.0`): the hooks that Envoy calls, and its calls as host traits.
//!
//! The only module with unsafe code. It has no logic: each hook turns pointers into references,
//! calls safe code within `guard`, and turns the result back. The declarations are our own,
//! because Envoy's SDK is not on crates.io; they follow its `abi.h`, and the end-to-end tests run
//! them in the released binary.
//!
//! | module | content |
//! |---|---|
//! | `ffi` | types and calls of Envoy |
//! | `module` | load, log, configuration, guard of hooks |
//! | `fault` | panics on purpose, in development builds |
//! | `network` | hooks of network filters |
//! | `http` | hooks of HTTP filters |
//! | `unused_hooks` | hooks without a use that Envoy demands |
//! | `early_mutation` | hooks of early header mutations |
#![expect(
    unsafe_code,
    reason = "Envoy calls hooks with raw pointers, and takes them in its own calls"
)]

mod early_mutation;
mod fault;
mod ffi;
mod http;
mod module;
mod network;
mod unused_hooks;
