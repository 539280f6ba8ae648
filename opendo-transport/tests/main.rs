//! What holds for every transport, and for every input.

mod behaviour;
mod hostile;
