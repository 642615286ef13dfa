//! Passes are held to exact text by the `.ir` files here, and to the same results by the reference interpreter.

mod equivalence;
mod goldens;
mod models;
