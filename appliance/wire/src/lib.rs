//!

pub mod agent;
pub mod image_map;
