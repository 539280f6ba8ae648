//! Writes the service's client and server as `protoc` would have them written, without needing `protoc`.

use tonic_build::manual::{Builder, Method, Service};

fn main() {
    let method = |name: &str, route: &str, message: &str| {
        Method::builder()
            .name(name)
            .route_name(route)
            .input_type(message)
            .output_type(message)
            .codec_path("tonic_prost::ProstCodec")
            .build()
    };
    let service = Service::builder()
        .name("Counter")
        .package("counter")
        .method(method("increment", "Increment", "crate::Number"))
        .method(method("echo", "Echo", "crate::Data"))
        .build();
    Builder::new().compile(&[service]);
}
