

pub mod bentofile;
pub mod blocking;
pub mod build_time;
pub mod env;
pub mod fs;
pub mod http;
pub mod oci;
pub mod pack;
pub mod plan;
pub mod process;
pub mod pydeps;
pub mod redact;
pub mod registry;
pub mod report;
pub mod resolve;
pub mod serve;
pub mod store;
pub mod tag;
pub mod transport;
pub mod yaml;
