//! The conformance suite on every host.

mod tokio {
    burdock_tests::conformance!(burdock_tests::tokio_host::TokioHost);
}
