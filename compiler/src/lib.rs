pub mod chat;
pub mod checkpoint;
pub mod config;
pub mod hub;
pub mod passes;
