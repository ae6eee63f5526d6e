//! Workers: the Python processes that run the user's code, the sockets to them, and who gets which call.

pub mod batches;
pub mod call;
pub mod frame;
pub mod link;
pub mod memory;
pub mod message;
pub mod pace;
pub mod placement;
pub mod pool;
pub mod process;
pub mod queue;
pub mod report;
pub mod restarts;
pub mod roster;
pub mod sealed;
pub mod socket_message;
pub mod sockets;
pub mod stream;
pub mod supervisor;
pub mod switchboard;
#[cfg(test)]
mod vectors;
