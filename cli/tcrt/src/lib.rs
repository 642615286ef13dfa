//! `tcrt`'s commands, which `tcc` has too once it has made an artifact. Arguments and printing; the work is `libtcrt`'s.

pub mod args;
pub mod bench;
pub mod chat;
pub mod draft;
pub mod generate;
pub mod info;
pub mod interrupt;
pub mod logits;
pub mod open;
pub mod options;
pub mod output;
pub mod run;
pub mod serve;
pub mod tokenize;
