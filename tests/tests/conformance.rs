//! The conformance suite on every host.

mod tokio {
    burdock_tests::conformance!(burdock_tests::tokio_host::TokioHost);
}

mod sim {
    burdock_tests::conformance!(burdock_tests::sim_host::SimHost);
}
