//! The runtime of exporters over gRPC. It is separate from the application's, so that neither a
//! busy application nor the lack of a runtime stops the export.
//!
//! Without the feature `export-grpc` there is none, and the types here have no values.

#[cfg(feature = "export-grpc")]
pub(crate) use with_tokio::{ExportRuntime, RuntimeHandle, enter};
#[cfg(not(feature = "export-grpc"))]
pub(crate) use without_tokio::{ExportRuntime, RuntimeHandle, enter};

#[cfg(feature = "export-grpc")]
mod with_tokio {
    use tokio::runtime::{Builder, EnterGuard, Handle, Runtime};

    #[derive(Debug)]
    pub(crate) struct ExportRuntime(Runtime);

    #[derive(Debug, Clone)]
    pub(crate) struct RuntimeHandle(Handle);

    impl ExportRuntime {
        pub(crate) fn start() -> std::io::Result<Self> {
            let runtime = Builder::new_multi_thread()
                // One thread is enough: each signal exports one request at a time.
                .worker_threads(1)
                .thread_name("throughline-export")
                .enable_all()
                .build()?;
            Ok(Self(runtime))
        }

        pub(crate) fn handle(&self) -> RuntimeHandle {
            RuntimeHandle(self.0.handle().clone())
        }

        /// Stops the runtime. Dropping it would block, and panic inside of another runtime.
        pub(crate) fn stop(self) {
            self.0.shutdown_background();
        }
    }

    /// Makes the runtime the current one of this thread: transports look it up.
    pub(crate) fn enter(runtime: Option<&RuntimeHandle>) -> Option<EnterGuard<'_>> {
        runtime.map(|RuntimeHandle(handle)| handle.enter())
    }
}

#[cfg(not(feature = "export-grpc"))]
mod without_tokio {
    use std::convert::Infallible;

    #[derive(Debug)]
    pub(crate) struct ExportRuntime(Infallible);

    #[derive(Debug, Clone)]
    pub(crate) struct RuntimeHandle(Infallible);

    impl ExportRuntime {
        #[cfg(feature = "export")]
        pub(crate) const fn handle(&self) -> RuntimeHandle {
            RuntimeHandle(self.0)
        }

        pub(crate) fn stop(self) {
            match self.0 {}
        }
    }

    pub(crate) fn enter(runtime: Option<&RuntimeHandle>) -> Option<Infallible> {
        runtime.map(|RuntimeHandle(never)| *never)
    }
}
