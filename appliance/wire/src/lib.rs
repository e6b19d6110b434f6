//! The JSON that crosses a wire, as serde types shared by its two ends.
//!
//! In: nothing. Out: types for the agent's protocol and the image map, readable by the appliance, the agent and (built for
//! wasm) the console. No domain type, no I/O, no clock: whoever speaks translates.

pub mod agent;
pub mod image_map;
